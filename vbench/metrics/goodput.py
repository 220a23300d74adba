"""Which requests met the objectives (SLO), and whether the load exceeded the server's capacity. Pure.

Goodput is requests a second that meet every objective, vLLM's `request_goodput`. A failed or empty reply meets none; a
reply of one token has no TPOT and cannot miss it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from vbench.metrics.definitions import compute_rates, hidden_tokens, in_flight, is_success, split, throughput
from vbench.schema.record import Floats, Requests

Bools = npt.NDArray[np.bool_]

QUARTERS = 4
GROWTH = 1.5  # last quarter's median over the first's; if both TTFT and requests in flight exceed it, the queue grows


def ttft(requests: Requests) -> Floats:
    """Seconds from send to the first token, (n,); NaN if no token came."""
    return _seconds_until(requests, requests.offsets[:-1])


def e2el(requests: Requests) -> Floats:
    """Seconds from send to the last token, (n,); NaN if no token came."""
    return _seconds_until(requests, requests.offsets[1:] - 1)


def tpot(requests: Requests) -> Floats:
    """Seconds for each visible token after the first, (n,); 0 for one token, NaN if none came."""
    tokens = requests.output_tokens - hidden_tokens(requests)
    per_token: Floats = (e2el(requests) - ttft(requests)) / np.maximum(tokens - 1, 1)
    return per_token


OBJECTIVES: dict[str, Callable[[Requests], Floats]] = {"ttft_ms": ttft, "tpot_ms": tpot, "e2el_ms": e2el}


def meets_slo(requests: Requests, slo: Mapping[str, float]) -> Bools:
    """Which requests met every objective of `slo` (keys of OBJECTIVES, limits in milliseconds), (n,)."""
    met = is_success(requests)
    for key, limit_ms in slo.items():
        met = met & (OBJECTIVES[key](requests) * 1e3 <= limit_ms)  # NaN meets nothing
    return met


def goodput(requests: Requests, slo: Mapping[str, float], counted: Bools | None = None) -> dict[str, float]:
    """`request_goodput` in requests a second, `slo_met` in requests, `slo_attainment` (0 to 1); empty without SLO.

    `counted`, (n,): as of `definitions.metrics`. Of what the others were served meanwhile, as many are good.
    """
    requests, warmup = split(requests, counted)
    if not slo or not len(requests):
        return {}
    met = int(meets_slo(requests, slo).sum())
    found = {"slo_met": float(met), "slo_attainment": met / len(requests)}
    if is_success(requests).any() and (rates := throughput(requests, warmup)).get("request_throughput"):
        found["request_goodput"] = rates["request_throughput"] * met / int(is_success(requests).sum())
    return found


def slo_metrics(requests: Requests, judged: Bools, slo: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the objectives over the judged requests, (n,); empty if there are none.

    `slo_steady_requests` and `slo_steady_met` count them, `slo_steady_attainment` is their ratio. `slo_p99_…` is the
    99th percentile of each objective's latency; absent if a judged request has none. `slo_output_throughput` is
    what the server served from the first of their sends to the last, `slo_request_goodput` the requests that ended
    in that time, times the share that met the SLO; `slo_window_s` is that time.
    """
    count, met = int(judged.sum()), int((meets_slo(requests, slo) & judged).sum())
    found: dict[str, float] = {"slo_steady_requests": count, "slo_steady_met": met}
    if not count:
        return found
    found["slo_steady_attainment"] = met / count
    for key in slo:
        samples = OBJECTIVES[key](requests)[judged]
        if not np.isnan(samples).any():
            found[f"slo_p99_{key}"] = float(np.percentile(samples, 99)) * 1e3
    start, end = float(requests.sent[judged].min()), float(requests.sent[judged].max())
    if end > start:
        served, tokens = compute_rates(requests, start, end)
        found["slo_window_s"] = end - start
        found |= {"slo_request_goodput": served * met / count, "slo_output_throughput": tokens}
    return found


def is_saturated(requests: Requests, rates: Floats | None = None) -> bool:
    """Whether an open loop sent faster than the server could serve: TTFT and requests in flight both grow.

    `rates`, (n,): at which each was due, if that changed: as many times more are in flight without any queue.
    """
    order = np.argsort(requests.sent)
    waits = ttft(requests)[order]
    answered = ~np.isnan(waits)
    if answered.sum() < QUARTERS * 2:
        return False
    times, counts = in_flight(requests)
    at_send = counts[np.searchsorted(times, requests.sent[order], side="right") - 1]
    at_send = at_send if rates is None else at_send / rates[order]
    return all(has_grown(column[answered]) for column in (waits, at_send))


def has_grown(column: Floats) -> bool:
    """Whether the median of a column's last quarter exceeds GROWTH times that of its first quarter."""
    quarters = np.array_split(column, QUARTERS)
    first, *_, last = (float(np.median(quarter)) for quarter in quarters)
    return last > GROWTH * first


def _seconds_until(requests: Requests, chunk: npt.NDArray[np.int64]) -> Floats:
    answered = np.diff(requests.offsets) > 0
    seconds = np.full(len(requests), np.nan)
    seconds[answered] = requests.chunk_times[chunk[answered]] - requests.sent[answered]
    return seconds
