"""The input of the load client, and what it reports about itself: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from vbench.loadgen.wire import Reply
from vbench.schema import Routing
from vbench.schema.record import Floats, Ints, Requests
from vbench.schema.structure import Structure

NEVER = -1  # instant of what did not happen
REPORT_S = 0.5  # between two reports of a load's progress


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

    endpoints: tuple[Endpoint, ...]  # replicas
    prompts: list[npt.NDArray[np.int32]]  # n arrays of token ids; with a structure, those of its parts
    output_len: Ints  # (n,) max_tokens
    scheduled: Floats  # (n,) seconds after the start; all zeros sends all at once
    max_concurrency: int | None
    ignore_eos: bool
    timeout_s: float  # after the start; then every open stream ends with the error "timeout"
    processes: int | None = None  # how many of the client's processes send it; None: all
    sending_s: float | None = None  # after the start; then nothing more is sent, and what is in flight ends by itself
    cache_salt: str | None = None  # vLLM's: only requests of the same salt share its prefix cache
    structure: Structure | None = None  # None: each request is alone, and its prompt is one of `prompts`
    report_s: float = REPORT_S  # between two reports of the progress
    shared_places: int | None = None  # of all processes that send this load; None: max_concurrency is for each alone
    sessions: int | None = None  # at once; the next begins where one has ended. None: each begins as scheduled
    routing: Routing | None = None  # None: least_loaded
    returns_ids: bool = False  # whether the server can be asked for the token ids of its replies, as vLLM can

    def __len__(self) -> int:
        return len(self.output_len)

    @property
    def most_in_flight(self) -> int:
        """An estimate of the streams open at once: the requests of the busiest second, at most max_concurrency.

        Sessions have one request in flight each, or as many as begin them or wait for one and the same.
        """
        times = np.sort(self.scheduled)
        busiest = int((np.searchsorted(times, times + 1.0) - np.arange(len(times))).max(initial=0))
        if self.sessions and self.structure is not None:
            after, waits = self.structure.after, np.zeros(len(self), bool)
            waits[after[:, 1]] = True
            together = max(np.bincount(after[:, 0]).max(initial=1), np.bincount(self.structure.session[~waits]).max())
            busiest = min(busiest, self.sessions * int(together))
        return min(busiest, self.shared_places or self.max_concurrency or busiest)


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
    """The progress of a running load, reported by its processes every `Load.report_s`."""

    elapsed_s: float  # since the start
    completed: int
    reads: int  # of replies, but the first of each, which holds the headers: a token each, about
    in_flight: int
    gaps: int = 0  # between those reads of one and the same reply
    streaming_s: float = 0.0  # summed over the replies: from their second read until now, or until their end
    # For each request that received the second read of its reply (the first holds the headers) since the last report:
    # when it was sent, and the seconds from then to that read.
    answered: tuple[tuple[float, float], ...] = ()
    ended: tuple[Ended, ...] = ()  # since the last report
    oldest_open_s: float = 0.0  # all requests sent before it, in seconds since the start, have ended
    newest_open_s: float = 0.0  # so are all those sent after it; inf while one waits for its connection


@dataclass(frozen=True)
class Outcome:
    """The results of the n requests that one process sent; instants in ns of `connection.clock`."""

    start: int
    due: Ints  # (n,) NEVER where what it waits for never ended
    sent: Ints  # (n,) NEVER where it was not sent
    finished: Ints  # (n,) NEVER where it was not sent
    replica: Ints  # (n,)
    input_tokens: Ints  # (n,)
    carried: Ints  # (n,) as of `Requests`; (0,) if the load has no structure
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
    ttft_lag_p99_s: float  # the 99th percentile, over the requests, of how late the first token may have been stamped
    skew_p50_s: float  # from sending a byte to its timestamp, measured with an echo server while the client was idle
    skew_p99_s: float
    started_at_monotonic_s: float  # the zero of all times, on CLOCK_MONOTONIC


def deal(load: Load, processes: int) -> list[tuple[Ints, Load]]:
    """Splits a load into shares, each with the places of its requests in the load, ascending.

    A request, or a session with all of its requests, goes to one share and keeps its scheduled time. There are at most
    `processes` shares, and each may send at least one request at a time. Where requests have times of their own, the
    shares have the places of the load together.
    """
    limit, structure = load.max_concurrency, load.structure
    unit = np.arange(len(load)) if structure is None else structure.session
    begun = int(unit.max()) + 1
    count = max(min(processes, begun, limit or processes, load.sessions or processes), 1)
    tokens: Floats = np.bincount(unit, load.output_len, minlength=begun).astype(np.float64)
    together = limit if count > 1 and (structure is not None or load.scheduled.any()) else None
    share_of = _choose_shares(tokens, count, load.sessions or (None if together else limit))[unit]
    shares = []
    for index in range(count):
        places = np.flatnonzero(share_of == index)
        own = structure and structure.select(places)
        used = places if own is None else np.unique(own.parts)
        share = replace(
            load,
            prompts=[load.prompts[place] for place in used.tolist()],
            output_len=load.output_len[places],
            scheduled=load.scheduled[places],
            max_concurrency=_part(limit, index, count),
            shared_places=together,
            sessions=_part(load.sessions, index, count),
            structure=own and replace(own, parts=np.searchsorted(used, own.parts)),
        )
        shares.append((places, share))
    return shares


def _choose_shares(tokens: Floats, count: int, places: int | None) -> Ints:
    """The share of each request or session, (n,), whose replies have so many `tokens`: in turn where each is sent when
    it is due.

    Where they wait for one of the `places` at once, it is the share that would be done first: a share that had more to
    do for its places than another would go on alone, with fewer in flight than were asked.
    """
    in_turn = np.arange(len(tokens)) % count
    if places is None or count == 1:
        return in_turn
    parts = [_part(places, index, count) or 1 for index in range(count)]
    work = [0.0] * count
    chosen = []
    for number, own in enumerate(tokens.tolist()):
        share = number % count if number < places else min(range(count), key=lambda k: work[k] + own / parts[k])
        work[share] += own / parts[share]
        chosen.append(share)
    return np.array(chosen, np.int64)


def _part(limit: int | None, index: int, count: int) -> int | None:
    return limit and limit // count + (index < limit % count)


def gather(shares: list[tuple[Ints, Requests]]) -> Requests:
    """Merges the requests of all shares in the order of the load, by their places in it; the inverse of `deal`."""
    total = sum(len(share) for _, share in shares)
    columns = {}
    for name in ("scheduled", "sent", "first_byte", "finished", "input_tokens", "asked_tokens", "output_tokens",
                 "status", "replica", "finish_reason", "error", "usage_input_tokens", "carried"):  # fmt: skip
        parts = [getattr(share, name) for _, share in shares]
        columns[name] = np.empty(total if len(parts[0]) else 0, np.result_type(*parts))
        for (places, _), part in zip(shares, parts, strict=True):
            if len(part):
                columns[name][places] = part
    chunks = np.empty(total, np.int64)
    for places, share in shares:
        chunks[places] = np.diff(share.offsets)
    offsets = np.concatenate([[0], np.cumsum(chunks)])
    chunk_times, chunk_tokens = np.empty(offsets[-1]), np.empty(offsets[-1], np.int64)
    for places, share in shares:
        moved = np.repeat(offsets[:-1][places] - share.offsets[:-1], chunks[places]) + np.arange(share.offsets[-1])
        chunk_times[moved] = share.chunk_times
        chunk_tokens[moved] = share.chunk_tokens
    return Requests(**columns, offsets=offsets, chunk_times=chunk_times, chunk_tokens=chunk_tokens)
