"""Throughput and latency of a run before it is measured, from records of its system. Pure."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sessions import server_facts
from vbench.schema import RunConfig, from_plain, to_plain
from vbench.schema.record import Record
from vbench.workload.search import streams

METRICS = ("output_throughput", "median_ttft_ms", "median_tpot_ms")
LEVELS = {"num_prompts", "max_concurrency", "request_rate"}  # of a workload: how high the load is
REPEATED = {"seed", "repeats", "client_processes", "slo"}  # of a workload: they change neither load nor lengths
SERVERS = {"restart", "restarts", "start_timeout_s", "env_from"}  # of an engine: they change no result
NOISE = 0.05  # either way: what is allowed where a system was measured once


@dataclass(frozen=True)
class Performance:
    """What a run is expected to show."""

    output_throughput: Estimate  # tokens/s
    ttft_ms: Estimate  # median over the requests
    tpot_ms: Estimate


class History:
    """What records say of systems, by load."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._found: dict[str, dict[float, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
        for record in records:
            values = tuple(record.metrics.get(name, math.nan) for name in METRICS)
            if _is_usable(record) and all(value > 0 for value in values):
                try:
                    config = from_plain(RunConfig, record.config)  # keys newer than the record get their defaults
                except KeyError:  # of another version
                    continue
                self._found[_group(to_plain(config))][_level(config)].append(values)

    def find(self, config: RunConfig) -> Performance | None:
        """Of the run's system under its load, or between a lower and a higher load; None if neither was measured."""
        if not self._found or config.workload.search:
            return None
        levels, level = self._found.get(_group(to_plain(config))), _level(config)
        if not levels:
            return None
        if level in levels:
            return _measured(levels[level])
        below, above = [each for each in levels if each < level], [each for each in levels if each > level]
        if not below or not above:
            return None
        low, high = max(below), min(above)
        share = math.log(level / low) / math.log(high / low)
        pairs = zip(_medians(levels[low]), _medians(levels[high]), strict=True)
        source = f"records at loads of {low:g} and {high:g}"
        return Performance(*(_between(*pair, share, source) for pair in pairs))


def _is_usable(record: Record) -> bool:
    """Whether it measured a load whole; a search's probes end as soon as they have told enough."""
    return record.verdict == "VALID" and record.source == "measured" and record.parent is None


def _group(config: Mapping[str, Any]) -> str:
    """Names everything that shapes a result but the height of the load."""
    paced = config["workload"]["request_rate"] != "inf"
    # At a rate the places are no level: they keep requests waiting in the client.
    left_out = REPEATED | (LEVELS - {"max_concurrency"} if paced else LEVELS)
    load = {key: value for key, value in config["workload"].items() if key not in left_out and value is not None}
    servers = server_facts(dict(config))
    servers["engine"] = {key: value for key, value in servers["engine"].items() if key not in SERVERS}
    return json.dumps([servers, load, not paced], sort_keys=True, default=str)


def name_system(config: RunConfig) -> str:
    """Names the server and the lengths of its load, whatever the load's height, arrivals and objectives."""
    load = replace(config.workload, request_rate=math.inf, search=None)
    return _group(to_plain(replace(config, workload=load)))


def _level(config: RunConfig) -> float:
    """Requests a second if they are paced, else requests at once."""
    rate = config.workload.request_rate
    return rate if math.isfinite(rate) else float(streams(config.workload))


def _medians(runs: Sequence[tuple[float, ...]]) -> list[float]:
    return [median(values) for values in zip(*runs, strict=True)]


def _measured(runs: Sequence[tuple[float, ...]]) -> Performance:
    source = "1 record of this load" if len(runs) == 1 else f"{len(runs)} records of this load"
    found = []
    for values in zip(*runs, strict=True):
        middle = median(values)
        low, high = (min(values), max(values)) if len(values) > 2 else (middle * (1 - NOISE), middle * (1 + NOISE))
        found.append(Estimate(middle, low, high, Basis.measured, source))
    return Performance(*found)


def _between(first: float, second: float, share: float, source: str) -> Estimate:
    value = math.exp(math.log(first) * (1 - share) + math.log(second) * share)
    return Estimate(value, min(first, second), max(first, second), Basis.interpolated, source)
