"""Measures how few GPU seconds `vbench tune` needs to find the best engine options, and how often its answer is right.

    python benchmarks/tuning.py            200 tunings each: a winner of 10 %, a small one of 5 %, none

Nothing is measured: the world is SYNTHETIC. Each option has a true goodput, that of the defaults is 1. A trial reads it
with a noise of --noise, half of its variance of the start, half of the run; the run's grows as its load gets shorter.
It costs a start of 180 s and its share of a load of 300 s. Three ways to choose what to measure:

    full grid        every option and the defaults on --starts starts; the best option wins if the 95 % interval of its
                     ratio lies above 1, by the same scores that chose it
    random search    random options, each under the whole load, for as many GPU seconds as the rounds of vbench tune
                     took; the best one is then confirmed as vbench tune does
    vbench tune      successive halving, and a confirmation on fresh starts (vbench.plan.tuning)

`right` is the best option, where it beats the defaults, and "no option beats the default" where none does; `false
winner` is an option told to beat the defaults that does not.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated_tuning import LOAD_S, START_S, SimulatedWorld  # noqa: E402

from vbench.campaign.tuning.sampling import Grid, make_sampler  # noqa: E402
from vbench.plan.tuning.decision import STARTS, Answer, Verdict, tune  # noqa: E402
from vbench.plan.tuning.ratio import compare  # noqa: E402
from vbench.plan.tuning.trial import DEFAULT, Trial  # noqa: E402

SIZES = (4, 4, 3)  # values of each key; the grid has their product
TRIALS = 27
GAINS = (0.10, 0.05, 0.0)


def make_truth(gain: float, rng: random.Random) -> list[float]:
    """Goodput of each point of the grid: it falls off from the best point, whose place is random."""
    best = [rng.randrange(size) for size in SIZES]
    points = list(itertools.product(*map(range, SIZES)))
    steps = [sum(abs(place - top) for place, top in zip(point, best, strict=True)) for point in points]
    return [1.0 if gain == 0 else max(1 + gain - 0.04 * step, 0.8) for step in steps]


def find_winner(found: Answer) -> int | None:
    return found.confirmations[-1].option if found.verdict is Verdict.winner else None


def tune_all(world: SimulatedWorld, _: float) -> int | None:
    points = list(itertools.product(*map(range, SIZES)))
    return find_winner(tune(TRIALS, make_sampler(points, SIZES, TRIALS), world))


def full_grid(world: SimulatedWorld, _: float) -> int | None:
    scores = {
        option: [world.measure([Trial(option, start)])[0].score or 0.0 for start in range(STARTS)]
        for option in (DEFAULT, *range(len(world.truth)))
    }
    base = scores.pop(DEFAULT)
    best = max(scores, key=lambda option: sum(scores[option]))
    return best if compare(scores[best], base).low > 1 else None


def random_search(world: SimulatedWorld, budget_s: float) -> int | None:
    count = max(1, int(budget_s / (START_S + LOAD_S)) - 1 - 2 * STARTS)
    options = world.rng.sample(range(len(world.truth)), min(count, len(world.truth)))
    trials = [Trial(option, 0) for option in options]
    scores = {trial.option: each.score or 0.0 for trial, each in zip(trials, world.measure(trials), strict=True)}
    if max(scores.values()) <= (world.measure([Trial(DEFAULT, 0)])[0].score or 0.0):
        return None
    best, truth = max(scores, key=lambda option: scores[option]), world.truth
    world.truth = [truth[best]]
    found = find_winner(tune(1, Grid(1), world))
    world.truth = truth
    return None if found is None else best


WAYS: dict[str, Callable[[SimulatedWorld, float], int | None]] = {
    "vbench tune": tune_all,
    "random search": random_search,
    "full grid": full_grid,
}


def replay(gain: float, noise: float, seeds: Sequence[int]) -> None:
    rows = {name: [0, 0, 0, 0.0] for name in WAYS}
    for seed in seeds:
        truth, budget_s = make_truth(gain, random.Random(seed)), 0.0
        for name, way in WAYS.items():
            world = SimulatedWorld(truth, random.Random(f"{seed} {name}"), noise)
            found = way(world, budget_s)
            budget_s = budget_s or world.spent_s
            rows[name][0] += (found is None) if gain == 0 else (found is not None and truth[found] == max(truth))
            rows[name][1] += found is not None and truth[found] > 1
            rows[name][2] += found is not None and truth[found] <= 1
            rows[name][3] += world.spent_s
    best = f"the best option has {1 + gain:.2f} of the defaults" if gain else "no option differs from the defaults"
    print(f"\nSYNTHETIC world, {len(seeds)} tunings of {len(truth)} options, noise {noise:.0%}: {best}")
    print("| | right | better than the defaults | false winner | GPU s of one tuning | share of the grid |")
    print("|---|---:|---:|---:|---:|---:|")
    whole = rows["full grid"][3]
    for name, (right, better, false, seconds) in rows.items():
        shares = " | ".join(f"{each / len(seeds):.1%}" for each in (right, better, false))
        print(f"| {name} | {shares} | {seconds / len(seeds):,.0f} | {seconds / whole:.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, default=0.03, help="of a trial under the whole load, as a logarithm")
    parser.add_argument("--seeds", type=int, default=200)
    options = parser.parse_args()
    for gain in GAINS:
        replay(gain, options.noise, range(options.seeds))


if __name__ == "__main__":
    main()
