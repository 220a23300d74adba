"""What the compilations during a run cost it, from the pauses in which the engine's log has them. Pure.

The log tells the second of a compilation, not its length. A compilation delays the step that needs it, so each line can
explain one pause at most: the longest one left that overlaps its second, less the usual gap between tokens. That is an
upper bound: pauses of another cause may be counted, none of a compilation is missed.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from vbench.metrics.definitions import hidden_tokens
from vbench.metrics.stalls import LOG_S, ends_of_replies, find_silences
from vbench.schema.record import Floats, Ints, Requests

Bools = npt.NDArray[np.bool_]

QUANTILES = (50.0, 90.0, 95.0, 99.0)  # those that a record quotes


def compile_share(requests: Requests, compiled_at: Floats, counted: Bools | None = None) -> float:
    """The largest share by which any quoted figure would be better without the compilations; 0 if there were none.

    The figures are the run's duration, and mean and percentiles of TTFT, TPOT, ITL and E2EL. `compiled_at`, shape
    (k,): the second of each line of the log, in seconds since the run's start. `counted`, shape (n,): the requests
    that the figures are of, by default all; the others, sent to warm up, only show the pauses.
    """
    starts, ends, lost = _lost_intervals(requests, compiled_at)
    counted = np.full(len(requests), True) if counted is None else counted
    if not lost.any() or not counted.any():
        return 0.0
    began, ended = float(np.nanmin(requests.sent[counted])), float(np.nanmax(requests.finished[counted]))
    shares = [float(_lost_within(starts, ends, lost, np.array([began]), np.array([ended])).sum()) / (ended - began)]
    answered = counted & (requests.error == "") & (np.diff(requests.offsets) > 0)
    if answered.any():
        first, last = (column[answered] for column in ends_of_replies(requests))
        sent, tokens = requests.sent[answered], (requests.output_tokens - hidden_tokens(requests))[answered]
        ttft, e2el = first - sent, last - sent
        lost_ttft, lost_e2el = (_lost_within(starts, ends, lost, sent, end) for end in (first, last))
        several = tokens > 1
        tpot, lost_tpot = (
            (whole - part)[several] / (tokens[several] - 1) for whole, part in ((e2el, ttft), (lost_e2el, lost_ttft))
        )
        begin, finish, count = _gaps(requests, answered)
        itl, lost_itl = (
            np.repeat(each / np.maximum(count, 1), count)
            for each in (finish - begin, _lost_within(starts, ends, lost, begin, finish))
        )
        samples = ((ttft, lost_ttft), (e2el, lost_e2el), (tpot, lost_tpot), (itl, lost_itl))
        shares += [_largest_change(*each) for each in samples if len(each[0])]
    return min(max(shares), 1.0)


def _gaps(requests: Requests, answered: Bools) -> tuple[Floats, Floats, Ints]:
    """Begin and end of each gap between two chunks of an answered reply, and the tokens of the later chunk; (g,)."""
    later = np.repeat(answered, np.diff(requests.offsets))
    later[requests.offsets[:-1][answered]] = False
    places = np.flatnonzero(later)
    return requests.chunk_times[places - 1], requests.chunk_times[places], requests.chunk_tokens[places]


def _lost_intervals(requests: Requests, compiled_at: Floats) -> tuple[Floats, Floats, Floats]:
    """The pauses that compilations may explain: their starts, ends, and seconds beyond the usual gap; each (k,)."""
    starts, ends = find_silences(requests)
    usual = _usual_gap(requests)
    taken = np.zeros(len(starts), dtype=np.bool_)
    for second, lines in sorted(Counter(compiled_at.tolist()).items()):
        candidates = np.flatnonzero((second + LOG_S > starts) & (second <= ends) & ~taken)
        longest = candidates[np.argsort((ends - starts)[candidates])[::-1][:lines]]
        taken[longest] = True
    return starts[taken], ends[taken], np.maximum((ends - starts)[taken] - usual, 0.0)


def _usual_gap(requests: Requests) -> float:
    """The median gap between the chunks of a reply, in seconds; 0 if no reply has several."""
    gaps = np.diff(requests.chunk_times)
    within = np.ones(len(gaps), dtype=np.bool_)
    borders = requests.offsets[1:-1]
    within[borders[(borders > 0) & (borders <= len(gaps))] - 1] = False
    return float(np.median(gaps[within])) if within.any() else 0.0


def _lost_within(starts: Floats, ends: Floats, lost: Floats, begin: Floats, end: Floats) -> Floats:
    """Shape (n,): seconds that each request, between `begin` and `end` (n,), lost in the pauses."""
    total = np.zeros(len(begin))
    for start, stop, seconds in zip(starts, ends, lost, strict=True):
        overlap = np.minimum(end, stop) - np.maximum(begin, start)
        total += np.clip(overlap, 0.0, seconds)
    return total


def _largest_change(measured: Floats, lost: Floats) -> float:
    """The largest relative change of the mean and of the percentiles if each sample were shorter by `lost`."""

    def figures(samples: Floats) -> Floats:
        return np.array([samples.mean(), *np.percentile(samples, QUANTILES)])

    whole = figures(measured)
    changes = np.divide(whole - figures(measured - lost), whole, out=np.zeros_like(whole), where=whole > 0)
    return float(changes.max())
