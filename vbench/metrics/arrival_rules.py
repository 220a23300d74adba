"""Whether requests were sent when they were due: rules of `metrics.validity`. Pure.

Where places are limited (`max_concurrency`), a request that is due waits for one. Only what it waits beyond that is the
client's own lateness.
"""

from __future__ import annotations

import numpy as np

from vbench.metrics.definitions import in_flight
from vbench.schema import Workload
from vbench.schema.record import Floats, Reason, Requests

LATE_S = 0.010  # p99 of the client's own lateness: beyond it the client shaped the arrivals, not the workload
BURST_S, BURST_SHARE = 0.1, 0.25  # for sending requests that are due all at once; the larger of it and of median TTFT
RATE_SHARE = 0.95  # of the requested rate
RATE_SAMPLES = 20  # with fewer, a Poisson process's own rate scatters more than that


def late_client(requests: Requests, load: Workload, found: dict[str, float]) -> Reason | None:
    """Requests that were due, and had a place, and were sent late."""
    was_sent = ~np.isnan(requests.sent)
    if not was_sent.any():  # that nothing could be sent is told by failed_requests
        return None
    if not load.paced:
        return None if load.max_concurrency else _late_burst(requests.sent[was_sent], found)
    limit = load.max_concurrency
    late = float(np.percentile(_compute_lateness(requests, limit)[was_sent], 99))
    if late <= LATE_S:
        return None
    sentence = f"1 % of requests were sent {late * 1e3:.1f} ms or more after their time"
    if limit:
        sentence += f", with some of the {limit} places free"
    return Reason("late_client", sentence)


def _late_burst(sent: Floats, found: dict[str, float]) -> Reason | None:
    """Requests of a load sent all at once that came after the others: they met a shorter queue, or none."""
    late_s = float(np.percentile(sent, 99))
    if late_s <= max(BURST_S, BURST_SHARE * found.get("median_ttft_ms", np.inf) / 1e3):
        return None
    sentence = f"1 % of requests, all due at once, were sent {late_s * 1e3:.0f} ms or more after the load's start"
    return Reason("late_client", f"{sentence}, at a median TTFT of {found['median_ttft_ms']:.0f} ms")


def slow_arrivals(requests: Requests, load: Workload) -> Reason | None:
    """The client, or a server that takes no connections, stretched the arrivals."""
    sentence = None if load.max_concurrency else _find_slow_arrivals(requests, load)
    return Reason("slow_arrivals", sentence) if sentence else None


def held_arrivals(requests: Requests, load: Workload) -> Reason | None:
    """The limit of places stretched the arrivals."""
    sentence = _find_slow_arrivals(requests, load) if load.max_concurrency else None
    if not sentence:
        return None
    held = f"requests waited in the client for one of {load.max_concurrency} places, which TTFT and E2EL do not count"
    return Reason("held_arrivals", f"{sentence}: {held}")


def _compute_lateness(requests: Requests, full: int | None) -> Floats:
    """Shape (n,): seconds from when a request was due, and fewer than `full` were in flight, to its sending."""
    if full is None:
        return requests.sent - requests.scheduled
    times, counts = in_flight(requests)
    until = np.append(times[1:], np.inf)  # how long each count lasted
    freed = np.maximum.accumulate(np.where(counts >= full, until, -np.inf))  # when the last full span had ended
    before = np.searchsorted(times, requests.sent) - 1  # the last change before each sending
    free_at = np.where(before >= 0, freed[before], -np.inf)
    return np.asarray(requests.sent - np.maximum(requests.scheduled, np.minimum(free_at, requests.sent)))


def _find_slow_arrivals(requests: Requests, load: Workload) -> str | None:
    """That the arrivals took longer than was asked, as a sentence; None if they did not."""
    was_sent = ~np.isnan(requests.sent)
    if not load.paced or len(requests) < RATE_SAMPLES or not was_sent.any():
        return None
    wanted, sent = np.ptp(requests.scheduled), np.ptp(requests.sent[was_sent])
    return f"arrivals took {sent:.2f} s where {wanted:.2f} s were asked" if sent * RATE_SHARE > wanted else None
