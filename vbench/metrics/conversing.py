"""Metrics of loads in sessions: time to first token by turn and by cached share, and the sessions themselves. Pure.

A session is one user's; it is in progress from its first send to the end of its last reply, think times included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vbench.metrics.definitions import is_success
from vbench.metrics.goodput import ttft
from vbench.metrics.quantiles import compute_statistics
from vbench.schema.record import Floats, Ints, Requests

Bools = npt.NDArray[np.bool_]

TURNS = {"turn1": (0, 1), "turn2_3": (1, 3), "turn4_7": (3, 7), "turn8_15": (7, 15), "turn16_up": (15, 1 << 62)}
CACHED = {"cached0": (0.0, 1e-9), "cached1_49": (1e-9, 0.5), "cached50_89": (0.5, 0.9), "cached90_up": (0.9, 2.0)}


class Spans(NamedTuple):
    """Times of which statistics are told: their begins and ends in seconds since the run's start, each (k,)."""

    begins: Floats
    ends: Floats


def is_in_sessions(requests: Requests) -> bool:
    """Whether requests follow one another in sessions; those of a trace that names chats have times of their own."""
    later = requests.turn > 0
    return bool(later.any()) and bool(((requests.extends >= 0) | (requests.wait_s > 0)).any())


def ttft_by_turn(requests: Requests, counted: Bools | None = None) -> dict[str, float]:
    """Statistics of TTFT by the turn of the session, `…_ttft_turn1_ms` to `…_ttft_turn16_up_ms`.

    The first request of a session that begins in mid-life is left out: nothing of it can be cached. `counted`, (n,):
    the requests that count, by default all.
    """
    return _compute_statistics(_spans_by_turn(requests, counted))


def ttft_by_cached_share(requests: Requests, cached_tokens: Ints, counted: Bools | None = None) -> dict[str, float]:
    """Statistics of TTFT by the share of the prompt that was cached, `…_ttft_cached0_ms` to `…_ttft_cached90_up_ms`."""
    return _compute_statistics(_spans_by_cached_share(requests, cached_tokens, counted))


def spans_of_ttft(requests: Requests, counted: Bools | None, cached_tokens: Ints | None) -> list[Spans]:
    """The times behind `ttft_by_turn`, and behind `ttft_by_cached_share` where the cached tokens are known."""
    by_share = {} if cached_tokens is None else _spans_by_cached_share(requests, cached_tokens, counted)
    return [*_spans_by_turn(requests, counted).values(), *by_share.values()]


def spans_of_sessions(requests: Requests, incomplete: Ints, since: float = 0.0) -> list[Spans]:
    """The times behind `session_metrics`: those of which a duration is told, and the one that all sessions took."""
    if not is_in_sessions(requests):
        return []
    begin, end, _, whole = _tabulate_sessions(requests, incomplete, since)
    if not len(begin):
        return []
    return [Spans(begin[whole], end[whole]), Spans(np.array([_first_send(requests, since)]), np.array([end.max()]))]


def session_metrics(requests: Requests, incomplete: Ints, since: float = 0.0) -> dict[str, float]:
    """Sessions completed, their rate and their duration, and how many were in progress at once on average.

    `incomplete` are sessions of which requests were not sent: they go on to the last reply of all. Requests sent before
    `since`, in seconds, only warmed up: a session counts if a later one is its own, and is in progress from the first
    of these on at the earliest. A duration is told of the sessions that also began since then, with their first turn.
    """
    if not is_in_sessions(requests):
        return {}
    begin, end, completed, whole = _tabulate_sessions(requests, incomplete, since)
    found = {"sessions": float(len(begin)), "sessions_completed": float(completed.sum())}
    start = _first_send(requests, since)
    duration = float(end.max(initial=-np.inf)) - start
    if duration > 0:
        found["session_throughput"] = float(completed.sum()) / duration
        found["mean_active_sessions"] = float((end - np.maximum(begin, start)).sum()) / duration
    return found | _compute_statistics({"session": Spans(begin[whole], end[whole])})


class _Sessions(NamedTuple):
    """The sessions that count, each (k,)."""

    begin: Floats
    end: Floats
    completed: Bools
    whole: Bools  # completed, and begun with the first turn since the warm-up


def _tabulate_sessions(requests: Requests, incomplete: Ints, since: float) -> _Sessions:
    sent = ~np.isnan(requests.sent)
    numbers, place = np.unique(requests.session[sent], return_inverse=True)
    begin, end = np.full(len(numbers), np.inf), np.full(len(numbers), -np.inf)
    np.minimum.at(begin, place, requests.sent[sent])
    np.maximum.at(end, place, requests.finished[sent])
    end[np.isin(numbers, incomplete)] = end.max(initial=-np.inf)  # the load ended before they did: users still think
    first_turn = np.full(len(numbers), np.iinfo(np.int64).max)
    np.minimum.at(first_turn, place, requests.turn[sent])
    there = np.isin(numbers, requests.session[sent & (requests.sent >= since)])
    failed = np.unique(requests.session[~is_success(requests)])
    completed = there & ~np.isin(numbers, np.concatenate([incomplete, failed]))
    whole = completed & (first_turn == 0) & (begin >= since)
    return _Sessions(begin[there], end[there], completed[there], whole[there])


def _first_send(requests: Requests, since: float) -> float:
    return float(requests.sent[requests.sent >= since].min(initial=np.inf))


def _spans_by_turn(requests: Requests, counted: Bools | None) -> dict[str, Spans]:
    if not is_in_sessions(requests):
        return {}
    first_turn = np.full(int(requests.session.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_turn, requests.session, requests.turn)
    in_mid_life = (requests.turn > 0) & (requests.turn == first_turn[requests.session])
    return _by_bin(requests, requests.turn, TURNS, ~in_mid_life if counted is None else counted & ~in_mid_life)


def _spans_by_cached_share(requests: Requests, cached_tokens: Ints, counted: Bools | None) -> dict[str, Spans]:
    share = cached_tokens / np.maximum(requests.input_tokens, 1)
    return _by_bin(requests, share, CACHED, np.ones(len(requests), bool) if counted is None else counted)


def _by_bin(
    requests: Requests, values: Ints | Floats, bins: Mapping[str, tuple[float, float]], among: Bools
) -> dict[str, Spans]:
    seconds = ttft(requests)
    answered = among & is_success(requests) & ~np.isnan(seconds)
    found: dict[str, Spans] = {}
    for name, (low, high) in bins.items():
        inside = answered & (values >= low) & (values < high)
        if inside.any():
            found[f"ttft_{name}"] = Spans(requests.sent[inside], requests.chunk_times[requests.offsets[:-1][inside]])
    return found


def _compute_statistics(spans: Mapping[str, Spans]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, each in spans.items():  # of no span no statistic
        found |= compute_statistics(name, each.ends - each.begins, len(each.begins))
    return found
