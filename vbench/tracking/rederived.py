"""Metrics that records of earlier versions lack, derived from their raw columns when they are filed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vbench.metrics.cached import CacheFacts, count_cached, find_hits
from vbench.metrics.definitions import is_measured, is_success, split, throughput
from vbench.metrics.goodput import goodput
from vbench.metrics.reach import reach
from vbench.metrics.steady import steady_metrics
from vbench.schema import RunConfig, from_plain
from vbench.schema.record import REQUESTS, UNREADABLE, Record, Requests

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = "client_ttft_lag_p99_s"  # earlier versions counted bytes and peaks of some models and GPUs wrongly
REACH = {"mbu", "mbu_weights", "mbu_kv", "mfu", "link_share", "pct_of_roofline"}
STEADY = "steady_window_s"  # earlier versions counted requests at both ends of this window, however short it was
STEADY_RATES = {"steady_request_throughput", "steady_output_token_throughput"}
WARMED = "warmup_requests"  # earlier versions left out what these were served while the load was measured
CACHED = "prefix_hits_measured"  # earlier versions took the hits of requests that only warmed up off those that count


def complete_metrics(record: Record, folder: Path) -> Record:
    """The record with the metrics of `vbench.metrics.reach`, if it lacks them or had them wrong, and with the rates of
    its steady window and of a load with a warm-up. All come from the folder's raw columns; a record without them stays
    as it is.
    """
    lacking = NEWEST not in record.metrics or CACHED in record.metrics
    steady, warmed = STEADY in record.metrics, WARMED in record.metrics
    if record.failure or record.source != "measured" or not record.metrics or not (lacking or steady or warmed):
        return record
    try:
        config: RunConfig = from_plain(RunConfig, record.config)
        requests = Requests.load(folder / REQUESTS)
    except UNREADABLE:  # no raw columns, or a config of another version
        return record
    counts = is_measured(requests, config.workload.warmup_s)
    found = steady_metrics(requests, counts) if steady else {}
    if warmed and is_success(requests)[counts].any():
        found |= throughput(*split(requests, counts)) | goodput(requests, config.workload.slo.limits, counts)
    if lacking:
        hits = find_hits(requests, CacheFacts.of(record.server))
        found |= reach(requests.select(counts), config, count_cached(hits, counts, record.metrics))
    replaced = STEADY_RATES | (REACH if lacking else set())
    kept = {key: value for key, value in record.metrics.items() if key not in replaced}
    return replace(record, metrics=kept | found)
