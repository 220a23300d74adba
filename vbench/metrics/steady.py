"""Latencies and throughput of the steady state: of the requests that began while the load was at its full level. Pure.

The steady window begins when c replies have ended, where c is the most requests that were in flight at once
(`max_concurrency`, if the load reached it), and ends with the last send. It leaves out the burst with which a closed
loop starts, and the time in which an open loop's queue builds up. A load sent all at once has no such window.

`steady_duration` and `steady_output_throughput` (metrics.definitions) are older and have another window: from the first
to the last moment at 90 % of the peak concurrency.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vbench.metrics.definitions import compute_rates, in_flight, latencies, replies_with_gaps, split
from vbench.metrics.quantiles import compute_statistics
from vbench.schema.record import Requests

Bools = npt.NDArray[np.bool_]

LATENCIES = ("ttft", "tpot", "itl", "e2el")


def began_steadily(requests: Requests) -> Bools:
    """Shape (n,): which requests began in the steady window."""
    ended = np.sort(requests.finished[~np.isnan(requests.finished)])
    if not len(ended):
        return np.zeros(len(requests), np.bool_)
    places = int(in_flight(requests)[1].max())
    return np.asarray(requests.sent >= ended[places - 1])


def steady_metrics(requests: Requests, counted: Bools | None = None) -> dict[str, float]:
    """`steady_…` metrics over the requests that began in the steady window; only their count if there are few.

    `counted`, (n,): as of `definitions.metrics`.
    """
    requests, warmup = split(requests, counted)
    if np.isnan(requests.finished).all():
        return {}
    began = began_steadily(requests)
    count = int(began.sum())
    found: dict[str, float] = {"steady_requests": count}
    if count < 2:
        return found
    part = requests.select(began)
    start, end = float(part.sent.min()), float(part.sent.max())
    if end > start:
        found["steady_window_s"] = end - start
    if end > start and end - start >= np.median(part.finished - part.sent):  # else it tells what chanced to end in it
        served, tokens = compute_rates(requests, start, end, warmup)
        found |= {"steady_request_throughput": served, "steady_output_token_throughput": tokens}
    samples, gaps = latencies(part)._asdict(), replies_with_gaps(part)
    for name in LATENCIES:
        found |= compute_statistics(name, samples[name], gaps if name == "itl" else len(samples[name]))
    return {key if key.startswith("steady_") else f"steady_{key}": value for key, value in found.items()}
