"""Replays `vbench size measure=true` over what was recorded on real GPUs: right answers and GPU seconds.

    python benchmarks/sizing_replay.py [--percentile 99] [--width 5.4] [--records FOLDER]

The world is the records: loads of 10 to 1,280 prompts sent at once. A system bears the requests a second of its highest
load whose 90th percentiles meet the SLO (`--percentile 99` takes those, which loads of 10 to 160 prompts do not tell).
Between a load that meets it and one that does not, the rate is read off where the worse percentile reaches its limit.
Loads that were measured cold, while kernels were compiled, tell no capacity and are left out, as they are of the fit.
To measure a system costs its GPUs from the start of the server to the end of the loads that its session sends: twice as
many prompts each time, up to the first load that misses the SLO, as a search at a rate climbs. The full grid sends all.

Nothing that is predicted rests on the model's own records: the efficiencies are fitted to the other models'. The ways
to choose what to measure are those of sizing.py, and three that show what could be saved: to measure the winner alone,
which nobody can; `vbench size` where each session sends every load; and only its servers' starts. An answer is right if
no recorded system costs less by its own records. A model counts if two of its systems or more are recorded.

How wide the predicted ranges are, and how honest: sizing_ranges.py.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from sizing import PRICES, PROBE_NOISE, PROBE_S, WAYS, World, full_grid, size  # noqa: E402

from vbench.plan.forecast.estimate import Basis, Estimate  # noqa: E402
from vbench.plan.reach import predictor  # noqa: E402
from vbench.plan.reach.latencies import predict_latencies  # noqa: E402
from vbench.plan.reach.observations import Observation, find_usable, observe  # noqa: E402
from vbench.plan.reach.outcome import compute_outcome  # noqa: E402
from vbench.plan.reach.points import Point  # noqa: E402
from vbench.plan.sizing.capacity import LIKELY, find_range  # noqa: E402
from vbench.plan.sizing.systems import System  # noqa: E402
from vbench.schema.archives import read_records  # noqa: E402
from vbench.schema.record import Record  # noqa: E402

SLOS = tuple({"ttft_ms": ttft, "tpot_ms": tpot} for ttft, tpot in ((1000, 25), (2000, 25), (4000, 50), (8000, 100)))
RATES = (10.0, 30.0, 60.0, 100.0, 300.0)
WHOLE, STARTS = "vbench size, every load", "the starts of vbench size alone"


@dataclass(frozen=True)
class Load:
    """One load of a system: requests/s, and a high percentile of its latencies, by the SLO's keys."""

    prompts: int
    rate: float
    tail: Mapping[str, float]

    def pressure(self, limits: Mapping[str, float]) -> float:
        """The worse percentile in times of its limit: above 1 the SLO is missed."""
        return max(self.tail[name] / limit for name, limit in limits.items())


@dataclass(frozen=True)
class Recorded:
    """One system: what it is, the points of its loads, and what they gave."""

    model: str
    gpu: str
    gpus: int
    points: tuple[Point, ...]
    loads: tuple[Load, ...]
    start_s: float  # of its server
    loads_s: float  # of these loads together


@dataclass(frozen=True)
class Known:
    """A recorded system, and its loads as a fit without its model predicts them."""

    recorded: Recorded
    fitted: predictor.Predictor
    predicted: tuple[Load, ...]


def find_capacity(loads: Iterable[Load], limits: Mapping[str, float]) -> float:
    """Requests/s within the SLO: of the highest load if all meet it, 0 if none does."""
    best: Load | None = None
    for load in loads:
        if load.pressure(limits) > 1:
            if best is None:
                return 0.0
            share = -math.log(best.pressure(limits)) / math.log(load.pressure(limits) / best.pressure(limits))
            return float(best.rate * (load.rate / best.rate) ** share)
        best = load
    return best.rate if best else 0.0


def read_world(records: list[Record], percentile: int) -> dict[str, list[Recorded]]:
    """The recorded systems of each model, without those of several replicas on one server."""
    by_system: defaultdict[str, list[tuple[Point, Record]]] = defaultdict(list)
    for record, point in find_usable(records):
        if point.replicas == 1 and point.load.arrivals.max() == 0:
            by_system[point.system].append((point, record))
    systems = [found for each in by_system.values() if (found := read_system(each, percentile))]
    models = {each.model for each in systems}
    return {model: [each for each in systems if each.model == model] for model in sorted(models)}


def read_system(runs: list[tuple[Point, Record]], percentile: int) -> Recorded | None:
    """The system of these runs; repeats of a load are one, by geometric means. None if it has one load only."""
    repeats: defaultdict[int, list[tuple[Point, Record]]] = defaultdict(list)
    for point, record in runs:
        repeats[len(point.load.lengths)].append((point, record))
    if len(repeats) < 2:
        return None
    points, loads = [], []
    for prompts, same in sorted(repeats.items()):
        metrics = [record.metrics for _, record in same]
        tail = {name: mean(each[f"p{percentile}_{name}"] for each in metrics) for name in ("ttft_ms", "tpot_ms")}
        points.append(same[0][0])
        loads.append(Load(prompts, mean(each["request_throughput"] for each in metrics), tail))
    config = runs[0][1].config
    hardware = config["hardware"]
    start_s = float(np.median([record.server["start_s"] for _, record in runs]))
    loads_s = sum(load.prompts / load.rate for load in loads)
    gpu = hardware["gpu"]["name"]
    return Recorded(config["model"]["name"], gpu, hardware["gpus"], tuple(points), tuple(loads), start_s, loads_s)


def mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


def predict_loads(system: Recorded, fitted: predictor.Predictor, percentile: int) -> tuple[Load, ...]:
    """The same loads by the step model."""
    loads = []
    for point in system.points:
        latencies = predict_latencies(point, fitted.efficiencies)
        tail = {name: float(np.percentile(getattr(latencies, name), percentile)) for name in ("ttft_ms", "tpot_ms")}
        loads.append(
            Load(
                len(point.load.lengths),
                len(point.load.lengths) / compute_outcome(point, fitted.efficiencies).duration_s,
                tail,
            )
        )
    return tuple(loads)


def estimate(known: Known, limits: Mapping[str, float], width: float) -> Estimate:
    """The capacity by the step model, in a range of so many median errors."""
    found = find_range(lambda each: find_capacity(known.predicted, each), limits, known.fitted, width)
    return Estimate(*found, Basis.predicted, known.fitted.basis)


def fit_without(model: str, seen: list[Observation]) -> predictor.Predictor:
    """Fitted to the other models' points, with the median errors of systems that are left out of that fit."""
    others = [each for each in seen if each.model != model]
    found = predictor.fit_efficiencies(others)
    fits = predictor.estimate_left_out_fits(others, found)
    errors, tails = predictor.compute_errors(others, fits), predictor.compute_tail_errors(others, fits)
    return predictor.Predictor(
        found, predictor.take_medians(errors), predictor.take_medians(tails), "without this model"
    )


def winner_alone(world: World, _: float) -> int:
    """The least that can be spent: who measures one system has to know beforehand which."""
    costs = [each.cost for each in world.true_systems()]
    world.search(costs.index(min(costs)))
    return costs.index(min(costs))


def climb(each: Recorded, limits: Mapping[str, float]) -> float:
    """Seconds of the loads up to the first that misses the SLO."""
    seconds = 0.0
    for load in each.loads:
        seconds += load.prompts / load.rate
        if load.pressure(limits) > 1:
            break
    return seconds


class Replay(World):
    """A world in which to measure a system costs what its session did, and tells what its records tell."""

    def __init__(self, recorded: list[Recorded], systems: list[System], truth: list[float], rng: random.Random) -> None:
        super().__init__(systems, truth, rng)
        self.recorded = recorded

    def search(self, place: int) -> System:
        return self._tell(place, self.recorded[place].loads_s, 1.0)

    def probe(self, place: int) -> System:
        seconds = min(PROBE_S, self.recorded[place].loads_s)
        return self._tell(place, seconds, math.exp(self.rng.gauss(0, PROBE_NOISE)))

    def _tell(self, place: int, seconds: float, off: float) -> System:
        each, value = self.systems[place], self.truth[place] * off
        self.spent_s += each.split * (self.recorded[place].start_s + seconds)
        return replace(each, capacity=Estimate(value, value, value, Basis.measured, "records"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--percentile", type=int, choices=(90, 95, 99), default=90)
    parser.add_argument("--width", type=float, default=LIKELY, help="of the ranges that choose, in median errors")
    options = parser.parse_args()
    records = read_records(options.records)
    seen, ways = observe(records), {**WAYS, "full grid": full_grid, "the winner alone": winner_alone}
    ways |= {WHOLE: size, STARTS: size}
    told: dict[str, Counter[str]] = {}  # by model: pairs, right answers and GPU seconds of each way
    print("| model | SLO | requests/s | " + " | ".join(ways) + " | systems: $ an hour by the records |")
    print("|---|---|---:|" + "---|" * (len(ways) + 1))
    for model, systems in read_world(records, options.percentile).items():
        if len(systems) < 2:
            continue  # nothing to choose from
        sums, fitted = Counter[str](), fit_without(model, seen)
        told[model] = sums
        known = [Known(each, fitted, predict_loads(each, fitted, options.percentile)) for each in systems]
        for limits in SLOS:
            truth = [find_capacity(each.loads, limits) for each in systems]
            if not any(truth):
                continue  # no recorded system bears anything within it
            climbing = [replace(each, loads_s=climb(each, limits)) for each in systems]
            starting = [replace(each, loads_s=0.0) for each in systems]
            sent = {WHOLE: systems, "full grid": systems, STARTS: starting}
            predicted = [estimate(each, limits, options.width) for each in known]
            for rate in RATES:
                sums["pairs"] += 1
                asked = [
                    System(each.gpu, each.gpus, capacity, rate, PRICES[each.gpu])
                    for each, capacity in zip(systems, predicted, strict=True)
                ]
                cells, budget_s = [], 0.0
                for name, way in ways.items():
                    rng = random.Random(f"{model} {sums['pairs']} {name}")
                    world = Replay(sent.get(name, climbing), asked, truth, rng)
                    right = world.is_right(way(world, budget_s))
                    budget_s = world.spent_s if name == "vbench size" else budget_s
                    sums.update({f"{name}: right": right, f"{name}: GPU s": round(world.spent_s)})
                    cells.append(f"{'right' if right else 'WRONG'}, {world.spent_s:,.0f} s")
                costs = [each.cost for each in world.true_systems()]
                names = [f"{each.gpus} {each.gpu} {cost:,.1f}" for each, cost in zip(systems, costs, strict=True)]
                slo = ", ".join(f"{name[:4].upper()} {limit}" for name, limit in limits.items())
                print(f"| {model} | {slo} | {rate:g} | {' | '.join(cells)} | {'; '.join(names)} |")
    print("\nA model's own records are left out of what is predicted")
    print("| model | pairs | " + " | ".join(ways) + " |\n|---|---:|" + "---|" * len(ways))
    for model, sums in [*told.items(), ("all", sum(told.values(), Counter()))]:
        cells = [
            f"{sums[f'{name}: right']} right, {sums[f'{name}: GPU s'] / sums['full grid: GPU s']:.0%} of the GPU s"
            for name in ways
        ]
        print(f"| {model} | {sums['pairs']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
