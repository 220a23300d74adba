"""The definitions of a run's common metrics, derived from the raw columns of its requests. Pure.

TTFT   first token chunk - sent
E2EL   last token chunk - sent
TPOT   (E2EL - TTFT) / (output tokens - 1), hidden reasoning not counted; undefined for one token
ITL    the gap between two chunks divided by the tokens of the later chunk, one sample per token
queue  sent - scheduled
stall  time without a token from any request while at least one was in flight or waited; see `metrics.stalls`

Keys (`median_ttft_ms`, `p99_itl_ms`) are those of `vllm bench serve --save-result`; metrics that vLLM lacks are named
alike (docs/metrics.md lists all).
Only requests that succeeded count towards latency and tokens. A reply without a token is counted in `empty` and has no
TTFT.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vbench.metrics.quantiles import compute_statistics
from vbench.metrics.stalls import EngineFacts, stalls
from vbench.schema.record import Floats, Ints, Requests

Bools = npt.NDArray[np.bool_]

NOTHING_KNOWN = EngineFacts()
STEADY_SHARE = 0.9  # the steady window: from the first to the last moment at this share of the peak concurrency


class Latencies(NamedTuple):
    """Samples in seconds: one a request; `itl` one a token and `chunk_gap` one a chunk, but the first of a reply."""

    ttft: Floats
    tpot: Floats
    itl: Floats
    e2el: Floats
    chunk_gap: Floats


def latencies(requests: Requests) -> Latencies:
    """The latency samples of the requests that succeeded."""
    first, last = requests.offsets[:-1], requests.offsets[1:] - 1
    answered = is_success(requests) & (last >= first)
    ttft = requests.chunk_times[first[answered]] - requests.sent[answered]
    e2el = requests.chunk_times[last[answered]] - requests.sent[answered]
    tokens = (requests.output_tokens - hidden_tokens(requests))[answered]
    several = tokens > 1
    tpot = (e2el - ttft)[several] / (tokens[several] - 1)

    gaps = np.diff(requests.chunk_times, prepend=np.nan)
    owner = np.repeat(np.arange(len(requests)), np.diff(requests.offsets))
    later = answered[owner]
    later[first[answered]] = False
    gap, share = gaps[later], requests.chunk_tokens[later]
    itl = np.repeat(gap / np.maximum(share, 1), share)
    return Latencies(ttft=ttft, tpot=tpot, itl=itl, e2el=e2el, chunk_gap=gap)


def hidden_tokens(requests: Requests) -> Ints:
    """Shape (n,): tokens that the server counted and never streamed, gone before the first chunk; 0 without a chunk."""
    streamed = np.diff(np.concatenate([[0], np.cumsum(requests.chunk_tokens)])[requests.offsets])
    hidden = np.maximum(requests.output_tokens - streamed, 0)
    return np.where(is_success(requests) & (np.diff(requests.offsets) > 0), hidden, 0)


def metrics(requests: Requests, engine: EngineFacts = NOTHING_KNOWN, counted: Bools | None = None) -> dict[str, float]:
    """All metrics of a run; keys without a sample are absent.

    `counted`, (n,): the requests that they are of, by default all. The others only warmed the server up: they count in
    pauses, and in rates with what they were served while the load was measured.
    """
    whole, requests, warmup = requests, *split(requests, counted)
    ok = is_success(requests)
    found: dict[str, float] = {
        "num_prompts": len(requests),
        "completed": int(ok.sum()),
        "failed": int((~ok).sum()),
        "empty": int((ok & (np.diff(requests.offsets) == 0)).sum()),
        "total_input_tokens": int(requests.input_tokens[ok].sum()),
        "total_output_tokens": int(requests.output_tokens[ok].sum()),
    }
    if not ok.any():
        return found
    if len(requests.usage_input_tokens) and requests.usage_input_tokens[ok].all():
        found["usage_input_tokens"] = int(requests.usage_input_tokens[ok].sum())
    found |= throughput(requests, warmup) | _steady(requests, warmup) | stalls(whole, engine)
    gaps = replies_with_gaps(requests)
    for name, samples in latencies(requests)._asdict().items():
        found |= compute_statistics(name, samples, gaps if name in ("itl", "chunk_gap") else len(samples))
    return found | compute_statistics("queue", (requests.sent - requests.scheduled)[ok], int(ok.sum()))


def split(requests: Requests, counted: Bools | None) -> tuple[Requests, Requests]:
    """The requests that count, (n,) of which `counted` is true or None, and those that only warmed the server up."""
    if counted is None:
        counted = np.ones(len(requests), np.bool_)
    return requests.select(counted), requests.select(~counted)


def is_measured(requests: Requests, warmup_s: float | None) -> Bools:
    """Shape (n,): which requests count; those sent in the first `warmup_s` seconds only warmed the server up."""
    return np.asarray(~(requests.sent < (warmup_s or 0.0)))


def replies_with_gaps(requests: Requests) -> int:
    """How many replies that succeeded came in several chunks."""
    return int((is_success(requests) & (np.diff(requests.offsets) > 1)).sum())


def is_success(requests: Requests) -> Bools:
    """Shape (n,): which requests ended without an error."""
    return np.asarray(requests.error == "")


def in_flight(requests: Requests) -> tuple[Floats, Floats]:
    """The number of requests in flight after each change: (times, counts), both (k,), times ascending."""
    was_sent = ~np.isnan(requests.sent)
    times = np.concatenate([requests.sent[was_sent], requests.finished[was_sent]])
    steps = np.repeat([1.0, -1.0], was_sent.sum())
    order = np.lexsort((steps, times))
    return times[order], np.cumsum(steps[order])


def throughput(requests: Requests, warmup: Requests) -> dict[str, float]:
    """What was served from the first send to the last finish, a second.

    At the first send the server is busy with the warm-up: without what that was served meanwhile, the rates would be
    those of a server that idles at first.
    """
    begin, end = float(np.nanmin(requests.sent)), float(np.nanmax(requests.finished))
    duration, ok = end - begin, is_success(requests)
    if duration <= 0:  # nothing but empty replies, within one tick of the clock
        return {"duration": duration}
    still = _count_served(warmup, begin, end)
    output = int(requests.output_tokens[ok].sum()) + still.output
    given = int(requests.input_tokens[ok].sum()) + still.input
    return {
        "duration": duration,
        "request_throughput": (int(ok.sum()) + still.requests) / duration,
        "output_throughput": output / duration,
        "total_token_throughput": (output + given) / duration,
    }


def _steady(requests: Requests, warmup: Requests) -> dict[str, float]:
    """The most requests in flight, and what arrived while nearly as many were.

    A load sent all at once is never steady: prefills fill the time near its peak, with few tokens and many waiting.
    """
    times, counts = in_flight(requests)
    peak = counts.max()
    found = {"peak_concurrent_requests": float(peak)}
    if not np.nanmax(requests.sent) >= np.nanmin(requests.finished):
        return found
    full = np.flatnonzero(counts >= STEADY_SHARE * peak)
    start, end = times[full[0]], times[min(full[-1] + 1, len(times) - 1)]
    found["steady_duration"] = float(end - start)
    if end > start:
        found["steady_output_throughput"] = compute_rates(requests, start, end, warmup)[1]
    return found


def compute_rates(requests: Requests, start: float, end: float, warmup: Requests | None = None) -> tuple[float, float]:
    """What was served within (start, end], a second: requests that ended and succeeded, and tokens of such requests.

    `warmup` are requests that count in nothing but such rates. Counting what begins in a window would count a group of
    requests that begin together at both of its ends.
    """
    served = [_count_served(each, start, end) for each in (requests, warmup) if each is not None]
    span = float(end - start)
    return sum(each.requests for each in served) / span, sum(each.output for each in served) / span


class _Served(NamedTuple):
    """What some requests were served in a span: those that ended in it, their output tokens and their prompts'."""

    requests: int
    output: int
    input: int


def _count_served(requests: Requests, start: float, end: float) -> _Served:
    """What the requests that succeeded were served within (start, end].

    Tokens that were never streamed, and those of the prompt, count as their reply's first chunk arrives: they were made
    or read before it.
    """
    ok = is_success(requests)
    ended = ok & (requests.finished > start) & (requests.finished <= end)
    arrived = np.repeat(ok, np.diff(requests.offsets)) & (requests.chunk_times > start) & (requests.chunk_times <= end)
    tokens, has_chunk = requests.chunk_tokens.copy(), np.diff(requests.offsets) > 0
    first = requests.offsets[:-1][has_chunk]
    tokens[first] += hidden_tokens(requests)[has_chunk]
    prompts = requests.input_tokens[has_chunk][arrived[first]]
    return _Served(int(ended.sum()), int(tokens[arrived].sum()), int(prompts.sum()))
