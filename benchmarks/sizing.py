"""Measures how few GPU seconds `vbench size measure=true` needs to find the right system, by replay.

    python benchmarks/sizing.py            20 pairs of load and SLO, two models, three GPUs on 1 to 8 a replica

Nothing is measured: the world is SYNTHETIC. The true capacity of each system is what the step model predicts times a
random factor (log-normal, --spread, drawn once for each system and SLO), so the prediction is off, as it is on systems
that the model was not fitted to. A search on a system reads the truth with the noise of its resolution. It costs the
system's GPUs for a start, a rehearsal and the search. Four ways to choose what to measure:

    full grid            every system once
    vbench size          what should settle most for its GPU seconds, until the winner is settled (vbench.plan.sizing)
    random order         random systems, without predictions, for as many GPU seconds as vbench size took
    successive halving   a short probe on each system, the better third of them then searched

An answer is right if no system costs less, by the truth, than the one that was chosen.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.core.utils import setup_globals  # noqa: E402

from vbench import compose as ours  # noqa: E402
from vbench.campaign import launcher  # noqa: E402
from vbench.plan.forecast.estimate import Basis, Estimate  # noqa: E402
from vbench.plan.reach.predictor import Predictor  # noqa: E402
from vbench.plan.rules import check_run  # noqa: E402
from vbench.plan.sizing.capacity import LIKELY, CapacityPredictor  # noqa: E402
from vbench.plan.sizing.choice import choose_next  # noqa: E402
from vbench.plan.sizing.systems import System, rank  # noqa: E402
from vbench.schema import Slo  # noqa: E402
from vbench.schema.errors import Refused  # noqa: E402

PRICES = {"a100": 1.6, "h100": 2.5, "h200": 3.5}
SIZES = (1, 2, 4, 8)
MODELS = ("llama8b", "llama70b")
SLOS = (Slo(ttft_ms=500, tpot_ms=50), Slo(ttft_ms=2000, tpot_ms=100))
RATES = (5.0, 20.0, 50.0, 120.0, 300.0)
START_S, SEARCH_S, PROBE_S = 180.0, 300.0, 60.0
NOISE, PROBE_NOISE = 0.02, 0.10  # of a search's answer, and of a short probe's


@dataclass
class World:
    """Systems as the predictor sees them, their true capacities, and what was spent on measuring them."""

    systems: list[System]
    truth: list[float]
    rng: random.Random
    spent_s: float = 0.0

    def search(self, place: int) -> System:
        return self._read(place, SEARCH_S, NOISE)

    def probe(self, place: int) -> System:
        return self._read(place, PROBE_S, PROBE_NOISE)

    def _read(self, place: int, seconds: float, noise: float) -> System:
        each = self.systems[place]
        self.spent_s += each.split * (START_S + seconds)
        value = self.truth[place] * math.exp(self.rng.gauss(0, noise))
        return replace(each, capacity=Estimate(value, value, value * (1 + noise), Basis.measured, "replay"))

    def is_right(self, chosen: int) -> bool:
        real = [each.cost for each in self.true_systems()]
        return real[chosen] <= min(real)

    def true_systems(self) -> list[System]:
        return [
            replace(each, capacity=replace(each.capacity, value=value))
            for each, value in zip(self.systems, self.truth, strict=True)
        ]


def size(world: World, _: float) -> int:
    known = list(world.systems)
    while (chosen := choose_next(known)) is not None:
        place = known.index(chosen)
        known[place] = world.search(place)
    return known.index(rank(known)[0])


def full_grid(world: World, _: float) -> int:
    known = [world.search(place) for place in range(len(world.systems))]
    return known.index(rank(known)[0])


def random_order(world: World, budget_s: float) -> int:
    order = world.rng.sample(range(len(world.systems)), len(world.systems))
    found: dict[int, System] = {}
    for place in order:
        if found and world.spent_s + world.systems[place].split * (START_S + SEARCH_S) > budget_s:
            continue
        found[place] = world.search(place)
    best = rank(list(found.values()))[0]
    return next(place for place, each in found.items() if each is best)


def halving(world: World, _: float) -> int:
    probed = [world.probe(place) for place in range(len(world.systems))]
    kept = [probed.index(each) for each in rank(probed)[: math.ceil(len(probed) / 3)]]
    found = {place: world.search(place) for place in kept}
    best = rank(list(found.values()))[0]
    return next(place for place, each in found.items() if each is best)


WAYS: dict[str, Callable[[World, float], int]] = {
    "vbench size": size,
    "random order": random_order,
    "successive halving": halving,
}


def predict(models: Sequence[str]) -> dict[tuple[str, Slo], list[System]]:
    """The predicted systems of each model and SLO, for a rate of 1."""
    predictor, found = CapacityPredictor(Predictor.default()), {}
    for model in models:
        for slo in SLOS:
            systems = []
            for gpu, price in PRICES.items():
                for count in SIZES:
                    words = [f"model={model}", f"hardware={count}x{gpu}", "engine.weights=dummy"]
                    try:
                        config = check_run(ours.run_config(compose("config", words, return_hydra_config=True)))
                    except Refused:  # the split does not divide the heads
                        continue
                    asked = replace(config, workload=replace(config.workload, slo=slo))
                    if (capacity := predictor.predict(asked)) is not None:
                        likely = predictor.predict(asked, LIKELY)
                        systems.append(System(gpu, count, capacity, 1.0, price, likely=likely))
            found[model, slo] = systems
    return found


def replay(predicted: dict[tuple[str, Slo], list[System]], spread: float, seed: int) -> None:
    rows = {name: [0, 0.0] for name in ("full grid", *WAYS)}
    pairs, truths, rng = 0, dict[tuple[str, Slo], list[float]](), random.Random(seed)
    for key, systems in predicted.items():
        truths[key] = [each.capacity.value * math.exp(rng.gauss(0, spread)) for each in systems]
        for rate in RATES:
            pairs += 1
            at_rate = [replace(each, rate=rate) for each in systems]
            budget_s = 0.0
            for name, way in {**WAYS, "full grid": full_grid}.items():
                world = World(at_rate, truths[key], random.Random(f"{seed} {pairs} {name}"))
                chosen = way(world, budget_s)
                if name == "vbench size":
                    budget_s = world.spent_s
                rows[name][0] += world.is_right(chosen)
                rows[name][1] += world.spent_s
    print(f"\nSYNTHETIC world, seed {seed}, spread {spread:g}: {pairs} pairs of load and SLO")
    print("| | right | GPU s | share of the grid |")
    print("|---|---:|---:|---:|")
    for name, (right, seconds) in rows.items():
        print(f"| {name} | {right} of {pairs} | {seconds:,.0f} | {seconds / rows['full grid'][1]:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spread", type=float, default=0.15, help="of the truth around the prediction, as a logarithm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=MODELS)
    options = parser.parse_args()
    setup_globals()
    launcher.register()
    ours.register()
    began = time.process_time()
    with initialize_config_dir(str(ours.CONF), version_base="1.3"):
        predicted = predict(options.models)
    print(f"predicted in {time.process_time() - began:.0f} s of CPU: {sum(map(len, predicted.values()))} systems")
    for seed in range(options.seeds):
        replay(predicted, options.spread, seed)


if __name__ == "__main__":
    main()
