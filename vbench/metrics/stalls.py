"""Pauses: spans in which requests were in flight but none received a token, and their causes. Pure.

A pause begins with the last token before it, or when a request is sent to an idle server; it ends with the next token,
or when nothing is in flight any more. Requests that wait for their first token count as in flight. Its cause:

compile      the engine's log shows a compilation within it
front_end    the front end answered no poll and its event loop filled a core (`metrics.front_end`)
prefill      the prompts in flight explain it, at the rate at which this server has processed prompts at other times
unexplained  none of these

The rate comes from outside the pause: from the session's rehearsal, from the other pauses, and from requests that
got their first token soon. Every piece of evidence is a lower bound of the rate, so the highest is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbench.metrics.front_end import FrontEnds, is_held_up
from vbench.schema.record import Floats, Requests

MIN_PAUSE_S = 0.5  # shorter pauses get no cause
STEP_TOKENS = 8192  # prompt tokens in one step of the engine: vLLM's default on large GPUs
SLACK = 2.0  # a prefill explains a pause of this many times its expected length: prompts differ, and share steps
SAME_STEP_S = 0.05  # first tokens that come so soon after one another left the engine in one step
LOG_S = 1.0  # a log's time is cut to the second
EVIDENCE = 500  # requests at most from which the rate is estimated
PAUSED_REPLY_S = 1.0


class Pause(NamedTuple):
    """One pause of all requests; seconds since the run's start, prompts in tokens."""

    start: float
    end: float
    waiting: int  # prompt tokens of all requests that waited for their first token
    answered: int  # of those, the prompts whose first token ended the pause
    replying: bool  # some request was between its first and its last token

    @property
    def seconds(self) -> float:
        return self.end - self.start


class EngineFacts(NamedTuple):
    """What is known about the engine besides a run's requests."""

    compiled_at: Floats = np.empty(0)  # (k,) when it compiled during the run, by its log; seconds since the run's start
    prefill_rate: float = 0.0  # observed prompt tokens a second before the run; 0: unknown
    step_tokens: int = STEP_TOKENS  # prompt tokens in one step at most
    front_ends: FrontEnds = FrontEnds()


def stalls(requests: Requests, engine: EngineFacts) -> dict[str, float]:
    """The longest pause, in ms, whatever its cause; the longest of each cause; and the gaps within single replies.

    Prefill pauses count only if they delayed replies under way; otherwise such a pause is an ordinary TTFT.
    """
    starts, ends = find_silences(requests)
    found = {"longest_stall_ms": float((ends - starts).max(initial=0.0)) * 1e3}
    causes = dict.fromkeys(("compile", "front_end", "prefill", "unexplained"), 0.0)
    long = _pauses(requests)
    fast_rate = _rate_of_fast_replies(requests)
    for pause in long:
        others = [each.answered / each.seconds for each in long if each is not pause]
        cause = _cause(pause, max([engine.prefill_rate, fast_rate, *others]), engine)
        if cause != "prefill" or pause.replying:
            causes[cause] = max(causes[cause], pause.seconds)
    found |= {f"longest_{cause}_stall_ms": seconds * 1e3 for cause, seconds in causes.items()}
    return found | _gaps_of_replies(requests)


def prefill_rate(requests: Requests) -> float:
    """Prompt tokens a second that the server processed, a lower bound; 0 if the run gives no evidence."""
    return max([_rate_of_fast_replies(requests), *(each.answered / each.seconds for each in _pauses(requests))])


def find_silences(requests: Requests) -> tuple[Floats, Floats]:
    """Starts and ends of all intervals without a token while something is in flight, both (k,), in order."""
    was_sent = ~np.isnan(requests.sent)
    if not was_sent.any():
        return np.empty(0), np.empty(0)
    sent, finished = np.sort(requests.sent[was_sent]), np.sort(requests.finished[was_sent])
    # The server idles from a finish that leaves nothing in flight until the next request is sent.
    left = np.searchsorted(sent, finished, side="right") - np.arange(1, len(finished) + 1)
    idle_from = finished[left == 0]
    following = np.searchsorted(sent, idle_from, side="right")
    idle_until = sent[following[following < len(sent)]]
    marks = np.sort(np.concatenate([sent[:1], requests.chunk_times, idle_from, idle_until, finished[-1:]]))
    starts, ends = marks[:-1], marks[1:]
    in_flight = np.searchsorted(sent, starts, side="right") - np.searchsorted(finished, starts, side="right")
    busy = in_flight > 0
    return starts[busy], ends[busy]


def _pauses(requests: Requests) -> list[Pause]:
    """The pauses of at least MIN_PAUSE_S, in order."""
    starts, ends = find_silences(requests)
    long = ends - starts >= MIN_PAUSE_S
    first, last = ends_of_replies(requests)
    found = []
    for start, end in zip(starts[long], ends[long], strict=True):
        # A request without a token waits until its end.
        waiting = (requests.sent < end) & ~(first <= start) & (requests.finished > start)
        answered = waiting & (first <= end + SAME_STEP_S)
        replying = bool(((first <= start) & (last >= end)).any())
        tokens = requests.input_tokens
        found.append(Pause(start, end, int(tokens[waiting].sum()), int(tokens[answered].sum()), replying))
    return found


def _cause(pause: Pause, rate: float, engine: EngineFacts) -> str:
    if ((engine.compiled_at + LOG_S > pause.start) & (engine.compiled_at <= pause.end)).any():
        return "compile"
    if is_held_up(engine.front_ends, pause.start, pause.end):
        return "front_end"
    # Replies under way get a token each step, and a first token ends the step that brought it.
    tokens = min(pause.waiting, max(pause.answered, engine.step_tokens))
    return "prefill" if rate and pause.seconds <= SLACK * tokens / rate else "unexplained"


def _rate_of_fast_replies(requests: Requests) -> float:
    """The rate by requests whose first token came within MIN_PAUSE_S: all prompts sent and prefilled in that time."""
    first, _ = ends_of_replies(requests)
    answered = np.flatnonzero(first - requests.sent < MIN_PAUSE_S)
    if not len(answered):
        return 0.0
    chosen = answered[:: max(1, len(answered) // EVIDENCE)]
    best = 0.0
    for start, end in zip(requests.sent[chosen], first[chosen], strict=True):
        if end > start:
            within = (requests.sent >= start) & (first <= end)
            best = max(best, float(requests.input_tokens[within].sum() / (end - start)))
    return best


def ends_of_replies(requests: Requests) -> tuple[Floats, Floats]:
    """When each request got its first and its last token, both (n,); NaN if none came."""
    first, last = requests.offsets[:-1], requests.offsets[1:] - 1
    answered = last >= first
    times = np.full((2, len(requests)), np.nan)
    times[0, answered], times[1, answered] = requests.chunk_times[first[answered]], requests.chunk_times[last[answered]]
    return times[0], times[1]


def _gaps_of_replies(requests: Requests) -> dict[str, float]:
    """The longest gap within each reply: its maximum and p99 over replies, and the fraction beyond 1 s."""
    chunks = np.diff(requests.offsets)
    several = chunks > 1
    if not several.any():
        return {}
    gaps = np.diff(requests.chunk_times, prepend=np.nan)
    gaps[requests.offsets[:-1][chunks > 0]] = 0.0
    longest = np.maximum.reduceat(gaps, requests.offsets[:-1][several])
    return {
        "longest_reply_gap_ms": float(longest.max()) * 1e3,
        "p99_reply_gap_ms": float(np.percentile(longest, 99)) * 1e3,
        "paused_replies": float((longest > PAUSED_REPLY_S).mean()),
    }
