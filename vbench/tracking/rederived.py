"""Metrics that records of earlier versions lack, derived from their raw columns when they are filed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vbench.metrics.definitions import is_measured
from vbench.metrics.reach import reach
from vbench.schema import RunConfig, from_plain
from vbench.schema.record import REQUESTS, UNREADABLE, Record, Requests

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = "pct_of_roofline"  # a record with it has all of the metrics


def complete_metrics(record: Record, folder: Path) -> Record:
    """The record with the metrics of `vbench.metrics.reach`, if it lacks them and its folder has what they need."""
    if record.failure or record.source != "measured" or NEWEST in record.metrics or not record.metrics:
        return record
    try:
        config: RunConfig = from_plain(RunConfig, record.config)
        requests = Requests.load(folder / REQUESTS)
    except UNREADABLE:  # no raw columns, or a config of another version
        return record
    measured = requests.select(is_measured(requests, config.workload.warmup_s))
    found = reach(measured, config, record.metrics.get("server_prefix_cache_hits", 0.0))
    return replace(record, metrics=record.metrics | found)
