"""The highest request rate that one replica bears within an SLO: measured, interpolated, or predicted. Pure.

A rate is borne if 99 % of the requests meet every objective, as `workload.search=request_rate` decides it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from vbench.metrics.goodput import has_grown
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.performance import name_system
from vbench.plan.reach.latencies import Latencies, predict_latencies
from vbench.plan.reach.points import Load, Point, make_point
from vbench.plan.reach.predictor import Predictor
from vbench.schema import Lengths, RunConfig, Search, Slo, from_plain
from vbench.schema.errors import Refused
from vbench.schema.record import Record
from vbench.workload.probe import WARM_UP, WINDOW

SHARE = 0.99  # of the requests
STEP = 1.04  # between the rates that are simulated
LOWEST, HIGHEST = -100, 230  # their exponents: 0.02 to 8,000 requests/s
FEWEST, MOST = 2000, 8000  # requests that are simulated
# Of a range: limits are moved by so many median errors of 99th percentiles, of systems left out of the fit. Both are
# what the records ask for, each predicted without its model's (benchmarks/sizing_ranges.py).
WIDTH = 5.4  # holds all capacities of nine of ten systems
LIKELY = 2.0  # holds three of four capacities, as 1.6 would
PRECISION = 0.05  # of a search: it stops when the levels that passed and failed are so close


class CapacityPredictor:
    """Predicts capacities; simulated rates are kept, so that a second SLO on the same system costs nothing.

    A looser SLO never gives a lower capacity: the latencies at a rate do not depend on the SLO, so every rate that
    meets an SLO meets a looser one, and the bisection takes the same way until a rate meets only the looser one.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._points: dict[str, Point] = {}  # with MOST requests
        self._known: dict[tuple[str, int, int], Latencies] = {}

    def predict(self, config: RunConfig, width: float = WIDTH) -> Estimate | None:
        """Requests a second of one replica within `workload.slo`; None if nothing can be said of the system."""
        try:
            found = find_range(
                lambda limits: self._highest(config, limits), config.workload.slo.limits, self._predictor, width
            )
        except ValueError:
            return None
        return Estimate(*found, Basis.predicted, f"step model, {self._predictor.basis}")

    def _highest(self, config: RunConfig, limits: Mapping[str, float]) -> float:
        """The highest rate that is borne, by bisection; 0 if none is."""
        passed, failed = LOWEST, HIGHEST
        if not self._is_borne(config, passed, limits):
            return 0.0
        while failed - passed > 1:
            middle = (passed + failed) // 2
            if self._is_borne(config, middle, limits):
                passed = middle
            else:
                failed = middle
        return float(STEP**passed)

    def _is_borne(self, config: RunConfig, exponent: int, limits: Mapping[str, float]) -> bool:
        count = self._count_requests(config, exponent)
        latencies = self._simulate(config, exponent, count)
        if latencies.share_within(limits) < SHARE:
            return False
        alone = self._simulate(config, LOWEST, count)  # the later replies of a trace may be longer ones
        return not has_grown(latencies.e2el_ms / alone.e2el_ms)

    def _simulate(self, config: RunConfig, exponent: int, count: int) -> Latencies:
        """The latencies of so many requests at a rate."""
        key = name_system(config), exponent, count
        if key not in self._known:
            point = self._find_point(config)
            load = _pace(point.load, count, STEP**exponent)
            self._known[key] = predict_latencies(replace(point, load=load), self._predictor.efficiencies)
        return self._known[key]

    def _count_requests(self, config: RunConfig, exponent: int) -> int:
        """As many as a search at that rate would send.

        A rate that a replica bears for a moment, it need not bear for long: what it cannot serve piles up.
        """
        duration_s = float(np.mean(self._simulate(config, LOWEST, FEWEST).e2el_ms)) / 1e3
        return min(max(FEWEST, math.ceil((WARM_UP + WINDOW) * duration_s * STEP**exponent)), MOST)

    def _find_point(self, config: RunConfig) -> Point:
        """The same requests in the same order for every rate and SLO: both are part of what seeds a workload."""
        name = name_system(config)
        if name not in self._points:
            load = replace(config.workload, request_rate=1.0, num_prompts=_count_most(config), search=None, slo=Slo())
            self._points[name] = make_point(replace(config, workload=load))
        return self._points[name]


def find_range(
    find: Callable[[Mapping[str, float]], float], limits: Mapping[str, float], predictor: Predictor, width: float
) -> tuple[float, float, float]:
    """The capacity that `find` gives within limits, and the ends of its range: of tighter and of looser limits."""
    throughput, (tpot, ttft) = predictor.errors[0], predictor.tail_errors
    errors = {"ttft_ms": ttft, "tpot_ms": tpot, "e2el_ms": max(ttft, tpot)}
    factors = {name: 1 + width * errors[name] for name in limits}
    value = find(limits)
    low = find({name: limit / factors[name] for name, limit in limits.items()})
    high = find({name: limit * factors[name] for name, limit in limits.items()})
    widened = 1 + width * throughput
    return value, min(low, value) / widened, max(high, value) * widened


def _count_most(config: RunConfig) -> int:
    """A trace has no more requests than rows, which are counted by now. Raises Refused if they are too few."""
    load = config.workload
    if load.lengths is not Lengths.trace:
        return MOST
    if load.request_count < FEWEST:
        given = f"workload.num_prompts={load.request_count}"
        raise Refused(f"{given}: so few rows of a trace tell no rate that is borne all the time; {FEWEST:,} at least")
    return min(load.request_count, MOST)


def _pace(load: Load, count: int, rate: float) -> Load:
    """The first requests of the load at this rate on average; a trace has a rate of its own."""
    lengths, arrivals = load.lengths[:count], load.arrivals[:count]
    last = float(np.max(arrivals, initial=0.0))
    if last:
        arrivals = arrivals * ((len(arrivals) - 1) / last / rate)
    return replace(load, lengths=lengths, arrivals=arrivals)


def find_measured(config: RunConfig, records: Iterable[Record]) -> Estimate | None:
    """The capacity of this system by records: of a search, else between paced runs; None if they do not tell.

    A search that failed for good (out of memory, say) tells that the system bears nothing.
    """
    limits = config.workload.slo.limits
    searches, passed, failed = list[Estimate](), dict[float, float](), dict[float, float]()
    for found, record in _of_system(config, records):
        engine = record.environment.get("engine", "an unknown engine")
        if found.workload.search is Search.request_rate and found.workload.slo.limits == limits:
            if record.failure:
                searches.append(Estimate(0, 0, 0, Basis.measured, f"{record.failure.kind}, {engine}"))
            elif "slo_request_rate" in record.metrics:
                searches.append(_read_search(record.metrics, engine))
        elif _tells_a_share(record, found) and (pressure := _find_pressure(record.metrics, limits)):
            (passed if pressure <= 1 else failed)[found.workload.request_rate] = pressure
    return searches[-1] if searches else _interpolate(passed, failed)


def _of_system(config: RunConfig, records: Iterable[Record]) -> Iterator[tuple[RunConfig, Record]]:
    """The records of this system that tell something, with their configs, the oldest first."""
    system = name_system(config)
    for record in sorted(records, key=lambda each: each.ended_at):
        if record.source != "measured" or record.verdict == "INVALID" or not record.final:
            continue
        try:
            found = from_plain(RunConfig, record.config)
        except KeyError:  # of another version
            continue
        if name_system(found) == system:
            yield found, record


def _tells_a_share(record: Record, config: RunConfig) -> bool:
    """Whether it is a run at a rate with enough requests for a 99th percentile; a search's probes are not.

    Nor is one that also limits its requests in flight: they wait in the client, which no latency counts.
    """
    few = any(warning.code == "few_samples" for warning in record.warnings)
    open_loop = math.isfinite(config.workload.request_rate) and config.workload.max_concurrency is None
    return open_loop and record.parent is None and not few


def _interpolate(passed: Mapping[float, float], failed: Mapping[float, float]) -> Estimate | None:
    """The rate at which the pressure reaches 1, between the highest that passed and the lowest that failed."""
    lowest = min(failed, default=None)
    highest = max((rate for rate in passed if lowest is not None and rate < lowest), default=None)
    if highest is None or lowest is None:
        return None
    share = math.log(1 / passed[highest]) / math.log(failed[lowest] / passed[highest])
    value = highest * (lowest / highest) ** share
    return Estimate(value, highest, lowest, Basis.interpolated, f"records at {highest:g} and {lowest:g} requests/s")


def _read_search(metrics: Mapping[str, float], engine: str) -> Estimate:
    passed = metrics["slo_request_rate"]
    failed = metrics.get("slo_level_failed", passed * (1 + PRECISION))
    return Estimate(passed, passed, max(failed, passed), Basis.measured, f"a search, {engine}")


def _find_pressure(metrics: Mapping[str, float], limits: Mapping[str, float]) -> float | None:
    """The binding objective's 99th percentile in times of its limit; None if it was not measured."""
    names = [f"p99_{name}" for name in limits]
    if not all(name in metrics for name in names):
        return None
    return max(metrics[name] / limit for name, limit in zip(names, limits.values(), strict=True))
