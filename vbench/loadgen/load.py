"""What is asked of the load client, and what it says of itself: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vbench.schema.record import Floats, Ints, Requests


@dataclass(frozen=True)
class Endpoint:
    """A server to load. `base_url` has no /v1: `http://127.0.0.1:8000`."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    chat: bool = False  # chat completions: prompts become words, so their lengths are approximate


@dataclass(frozen=True)
class Load:
    """n requests, and how they are sent."""

    endpoints: tuple[Endpoint, ...]  # replicas: each request goes to the one with the fewest in flight
    prompts: list[npt.NDArray[np.int32]]  # n arrays of token ids
    output_len: Ints  # (n,) max_tokens
    scheduled: Floats  # (n,) seconds after the start; all zeros sends all at once
    max_concurrency: int | None
    ignore_eos: bool
    timeout_s: float  # then every open stream ends with the error "timeout"
    processes: int | None = None  # that bear it, of those there are; null: all

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def most_in_flight(self) -> int:
        """Streams that are surely open together: as many as are scheduled in the busiest second, within the limit."""
        times = np.sort(self.scheduled)
        busiest = int((np.searchsorted(times, times + 1.0) - np.arange(len(times))).max(initial=0))
        return min(busiest, self.max_concurrency or busiest)


@dataclass(frozen=True)
class Progress:
    """What a load under way has come to, as its processes tell it twice a second."""

    elapsed_s: float  # since the start
    completed: int
    reads: int  # of replies, received
    in_flight: int
    # Of each request that got the second piece of its reply (the first is the head) since the progress before: when it
    # was sent, and seconds from there to that piece.
    answered: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Client:
    """Facts on the instrument during a run: whether what it says can be believed."""

    processes: int
    cpu_s: float  # user and system time of all processes, from the start to the last reply
    busiest_cpu_share: float  # of one core, by the process that worked most; near 1 it was the bottleneck
    loop_lag_p99_s: float  # how late a process was to what waited for it, sampled every 10 ms
    loop_lag_max_s: float
    skew_p50_s: float  # from a byte's sending to its time stamp, by an echo of its own on an idle client
    skew_p99_s: float
    started_at_monotonic_s: float  # the zero of all times, on CLOCK_MONOTONIC


def deal(load: Load, processes: int) -> list[Load]:
    """Request i goes to share i mod k, its scheduled time untouched: together the shares are the same arrivals.

    There are at most `processes` shares, and none that could send nothing.
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
    """Undoes `deal`: the requests of all shares in the order of the load."""
    count, total = len(shares), sum(len(share) for share in shares)
    places = [slice(index, total, count) for index in range(count)]
    columns = {}
    for name in ("scheduled", "sent", "first_byte", "finished", "input_tokens", "asked_tokens", "output_tokens",
                 "status", "replica", "finish_reason", "error"):  # fmt: skip
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
