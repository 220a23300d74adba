"""What the compilations during a run cost it, from the pauses in which the engine's log has them. Pure.

The log tells the second of a compilation, not its length. A compilation delays the step that needs it, so each line can
explain one pause at most: the longest one left that overlaps its second, less the usual gap between tokens. That is an
upper bound: pauses of another cause may be counted, none of a compilation is missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vbench.metrics.conversing import Spans
from vbench.metrics.definitions import hidden_tokens
from vbench.metrics.stalls import LOG_S, ends_of_replies, find_silences
from vbench.metrics.steady import began_steadily
from vbench.schema.record import Floats, Ints, Requests

Bools = npt.NDArray[np.bool_]

QUANTILES = (50.0, 90.0, 95.0, 99.0)  # those that a record quotes


class Losses(NamedTuple):
    """Pauses: their starts, ends, and seconds beyond the usual gap; each (k,)."""

    starts: Floats
    ends: Floats
    seconds: Floats

    def within(self, begin: Floats, end: Floats) -> Floats:
        """Shape (n,): seconds that are lost between `begin` and `end` (n,)."""
        total = np.zeros(len(begin))
        for start, stop, seconds in zip(*self, strict=True):
            total += np.clip(np.minimum(end, stop) - np.maximum(begin, start), 0.0, seconds)
        return total


def compile_share(
    requests: Requests, compiled_at: Floats, counted: Bools | None = None, spans: Iterable[Spans] = ()
) -> float:
    """The largest share by which any quoted figure would be better without the compilations; 0 if there were none.

    The figures are the run's duration, and mean and percentiles of TTFT, TPOT, ITL and E2EL; and the same of the steady
    window, which may be so short that a pause in it weighs many times as much. `compiled_at`, shape (k,): the second of
    each line of the log, in seconds since the run's start. `counted`, shape (n,): the requests that the figures are of,
    by default all; the others, sent to warm up, only show the pauses. `spans` are times of some requests or
    sessions, of which a record tells mean and percentiles too: of so few that a pause may weigh many times as much.
    """
    lost = _find_losses(requests, compiled_at)
    counted = ~np.isnan(requests.sent) if counted is None else counted & ~np.isnan(requests.sent)
    if not lost.seconds.any() or not counted.any():
        return 0.0
    shares = [_share_of_span(lost, np.nanmin(requests.sent[counted]), np.nanmax(requests.finished[counted]))]
    shares += _shares_of_latencies(requests, lost, counted)
    shares += [_largest_change(each.ends - each.begins, lost.within(*each)) for each in spans if len(each.begins)]
    steady = counted.copy()
    steady[counted] = began_steadily(requests.select(counted))
    if steady.sum() > 1:
        shares.append(_share_of_span(lost, requests.sent[steady].min(), requests.sent[steady].max()))
        shares += _shares_of_latencies(requests, lost, steady)
    return min(max(shares), 1.0)


def _share_of_span(lost: Losses, begin: float, end: float) -> float:
    seconds = float(lost.within(np.array([begin]), np.array([end])).sum())
    return seconds / (end - begin) if end > begin else 0.0


def _shares_of_latencies(requests: Requests, lost: Losses, counted: Bools) -> list[float]:
    """The largest change of each latency's figures over the requests that are counted, (n,)."""
    answered = counted & (requests.error == "") & (np.diff(requests.offsets) > 0)
    if not answered.any():
        return []
    first, last = (column[answered] for column in ends_of_replies(requests))
    sent, tokens = requests.sent[answered], (requests.output_tokens - hidden_tokens(requests))[answered]
    ttft, e2el = first - sent, last - sent
    lost_ttft, lost_e2el = (lost.within(sent, end) for end in (first, last))
    several = tokens > 1
    tpot, lost_tpot = (
        (whole - part)[several] / (tokens[several] - 1) for whole, part in ((e2el, ttft), (lost_e2el, lost_ttft))
    )
    begin, finish, count = _gaps(requests, answered)
    itl, lost_itl = (
        np.repeat(each / np.maximum(count, 1), count) for each in (finish - begin, lost.within(begin, finish))
    )
    samples = ((ttft, lost_ttft), (e2el, lost_e2el), (tpot, lost_tpot), (itl, lost_itl))
    return [_largest_change(*each) for each in samples if len(each[0])]


def _gaps(requests: Requests, answered: Bools) -> tuple[Floats, Floats, Ints]:
    """Begin and end of each gap between two chunks of an answered reply, and the tokens of the later chunk; (g,)."""
    later = np.repeat(answered, np.diff(requests.offsets))
    later[requests.offsets[:-1][answered]] = False
    places = np.flatnonzero(later)
    return requests.chunk_times[places - 1], requests.chunk_times[places], requests.chunk_tokens[places]


def _find_losses(requests: Requests, compiled_at: Floats) -> Losses:
    """The pauses that compilations may explain."""
    starts, ends = find_silences(requests)
    usual = _usual_gap(requests)
    taken = np.zeros(len(starts), dtype=np.bool_)
    for second, lines in sorted(Counter(compiled_at.tolist()).items()):
        candidates = np.flatnonzero((second + LOG_S > starts) & (second <= ends) & ~taken)
        longest = candidates[np.argsort((ends - starts)[candidates])[::-1][:lines]]
        taken[longest] = True
    return Losses(starts[taken], ends[taken], np.maximum((ends - starts)[taken] - usual, 0.0))


def _usual_gap(requests: Requests) -> float:
    """The median gap between the chunks of a reply, in seconds; 0 if no reply has several."""
    gaps = np.diff(requests.chunk_times)
    within = np.ones(len(gaps), dtype=np.bool_)
    borders = requests.offsets[1:-1]
    within[borders[(borders > 0) & (borders <= len(gaps))] - 1] = False
    return float(np.median(gaps[within])) if within.any() else 0.0


def _largest_change(measured: Floats, lost: Floats) -> float:
    """The largest relative change of the mean and of the percentiles if each sample were shorter by `lost`."""

    def figures(samples: Floats) -> Floats:
        return np.array([samples.mean(), *np.percentile(samples, QUANTILES)])

    whole = figures(measured)
    changes = np.divide(whole - figures(measured - lost), whole, out=np.zeros_like(whole), where=whole > 0)
    return float(changes.max())
