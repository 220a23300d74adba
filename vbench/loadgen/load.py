"""The input of the load client, and what it reports about itself: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vbench.loadgen.wire import Reply
from vbench.schema.record import Floats, Ints, Requests

NEVER = -1  # instant of what did not happen


@dataclass(frozen=True)
class Endpoint:
    """A server to load. `base_url` has no /v1: `http://127.0.0.1:8000`."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    chat: bool = False  # chat completions: prompts become words, so their lengths are approximate


@dataclass(frozen=True)
class Load:
    """n requests and how to send them."""

    endpoints: tuple[Endpoint, ...]  # replicas: each request goes to the one with the fewest in flight
    prompts: list[npt.NDArray[np.int32]]  # n arrays of token ids
    output_len: Ints  # (n,) max_tokens
    scheduled: Floats  # (n,) seconds after the start; all zeros sends all at once
    max_concurrency: int | None
    ignore_eos: bool
    timeout_s: float  # after the start; then every open stream ends with the error "timeout"
    processes: int | None = None  # how many of the client's processes send it; None: all
    sending_s: float | None = None  # after the start; then nothing more is sent, and what is in flight ends by itself
    cache_salt: str | None = None  # vLLM's: only requests of the same salt share its prefix cache

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def most_in_flight(self) -> int:
        """An estimate of the streams open at once: the requests of the busiest second, at most max_concurrency."""
        times = np.sort(self.scheduled)
        busiest = int((np.searchsorted(times, times + 1.0) - np.arange(len(times))).max(initial=0))
        return min(busiest, self.max_concurrency or busiest)


@dataclass(frozen=True)
class Ended:
    """A request that has ended, as far as its reply's reads tell: the reply itself is parsed after the load."""

    sent_s: float  # since the load's start
    ttft_s: float  # from then to the second read of its reply (the first holds the headers); inf if there was none
    e2el_s: float  # from then to its end
    asked_tokens: int
    succeeded: bool


@dataclass(frozen=True)
class Progress:
    """The progress of a running load, reported by its processes twice a second."""

    elapsed_s: float  # since the start
    completed: int
    reads: int  # of replies, received
    in_flight: int
    # For each request that received the second read of its reply (the first holds the headers) since the last report:
    # when it was sent, and the seconds from then to that read.
    answered: tuple[tuple[float, float], ...] = ()
    ended: tuple[Ended, ...] = ()  # since the last report
    oldest_open_s: float = 0.0  # all requests sent before it, in seconds since the start, have ended


@dataclass(frozen=True)
class Outcome:
    """The results of the n requests that one process sent; instants in ns of `connection.clock`."""

    start: int
    sent: Ints  # (n,) NEVER where it was not sent
    finished: Ints  # (n,) NEVER where it was not sent
    replica: Ints  # (n,)
    replies: list[Reply]
    errors: list[str]  # failures outside the reply
    cpu_s: float
    wall_s: float
    lags_s: Floats  # how late each heartbeat was


@dataclass(frozen=True)
class Client:
    """Facts about the load client during a run, which tell whether its timestamps can be trusted."""

    processes: int
    cpu_s: float  # user and system time of all processes, from the start to the last reply
    busiest_cpu_share: float  # of one core, by the busiest process; near 1 the client was the bottleneck
    loop_lag_p99_s: float  # how late a process handled an event that was due, sampled every 10 ms
    loop_lag_max_s: float
    skew_p50_s: float  # from sending a byte to its timestamp, measured with an echo server while the client was idle
    skew_p99_s: float
    started_at_monotonic_s: float  # the zero of all times, on CLOCK_MONOTONIC


def deal(load: Load, processes: int) -> list[Load]:
    """Splits a load into shares: request i goes to share i mod k and keeps its scheduled time.

    There are at most `processes` shares, and each may send at least one request at a time.
    """
    limit = load.max_concurrency
    count = max(min(processes, len(load), limit or processes), 1)
    return [
        replace(
            load,
            prompts=load.prompts[index::count],
            output_len=load.output_len[index::count],
            scheduled=load.scheduled[index::count],
            max_concurrency=limit and limit // count + (index < limit % count),
        )
        for index in range(count)
    ]


def gather(shares: list[Requests]) -> Requests:
    """Merges the requests of all shares in the order of the load; the inverse of `deal`."""
    count, total = len(shares), sum(len(share) for share in shares)
    places = [slice(index, total, count) for index in range(count)]
    columns = {}
    for name in ("scheduled", "sent", "first_byte", "finished", "input_tokens", "asked_tokens", "output_tokens",
                 "status", "replica", "finish_reason", "error", "usage_input_tokens"):  # fmt: skip
        parts = [getattr(share, name) for share in shares]
        columns[name] = np.empty(total, np.result_type(*parts))
        for place, part in zip(places, parts, strict=True):
            columns[name][place] = part
    chunks = np.empty(total, np.int64)
    for place, share in zip(places, shares, strict=True):
        chunks[place] = np.diff(share.offsets)
    offsets = np.concatenate([[0], np.cumsum(chunks)])
    chunk_times, chunk_tokens = np.empty(offsets[-1]), np.empty(offsets[-1], np.int64)
    for place, share in zip(places, shares, strict=True):
        moved = np.repeat(offsets[:-1][place] - share.offsets[:-1], chunks[place]) + np.arange(share.offsets[-1])
        chunk_times[moved] = share.chunk_times
        chunk_tokens[moved] = share.chunk_tokens
    return Requests(**columns, offsets=offsets, chunk_times=chunk_times, chunk_tokens=chunk_tokens)
