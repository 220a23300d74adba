"""How often an SLO search finds the true capacity of simulated engines, by concurrency and by rate.

    python benchmarks/search_answers.py [--kind max_concurrency] [--seeds 8] [--first 0] [NAME …]

An answer counts as right if 99 % of the requests of long loads meet the SLO at 10 % less than it, and fewer do at 10 %
more. The script prints the answers on each engine, a wrong one with "!", and how long the probes would have taken. The
engines of UNSEEN were added after the search's constants had been chosen, and are counted apart. So are those of
UNSTEADY: their hosts drift, or stand still now and then.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated_engine import SimulatedEngine  # noqa: E402  the tests' engine and search
from simulated_search import search, true_share  # noqa: E402


class Case(NamedTuple):
    engine: SimulatedEngine
    slo: dict[str, float]


USUAL = {"ttft_ms": 500.0, "tpot_ms": 50.0}
SEEN = {
    "fast": Case(SimulatedEngine(0.007, 0.00008, 1 / 25000), USUAL),
    "middle": Case(SimulatedEngine(0.012, 0.0002, 1e-4), USUAL),
    "slow": Case(SimulatedEngine(0.025, 0.0003, 2e-4), USUAL),
    "steps": Case(SimulatedEngine(0.02, 0.001, 4e-5), {"ttft_ms": 300.0, "tpot_ms": 60.0}),
    "places": Case(SimulatedEngine(0.01, 0, 1e-6, places=48), {"ttft_ms": 500.0}),
    "jitter": Case(
        SimulatedEngine(0.01, 0.0004, 5e-5, jitter=0.4, stall_s=0.3, stall_every_s=60),
        {"ttft_ms": 600.0, "tpot_ms": 40.0},
    ),
}
UNSEEN = {
    "small budget": Case(
        SimulatedEngine(0.015, 0.0006, 3e-5, budget=512, jitter=0.15), {"ttft_ms": 400.0, "tpot_ms": 35.0}
    ),
    "whole latency": Case(SimulatedEngine(0.018, 0.0009, 8e-5, jitter=0.3, places=64), {"e2el_ms": 25_000.0}),
}


def drift(second: float) -> float:
    """A host whose speed goes up and down by some per cent, within seconds and within minutes."""
    return 1 + 0.02 * (math.sin(second / 5.3) + math.sin(second / 23.9 + 1) + math.sin(second / 71.3 + 2))


UNSTEADY = {
    "drifts": Case(SimulatedEngine(0.011, 0.0003, 6e-5, jitter=0.1, slow=drift), USUAL),
    "pauses": Case(SimulatedEngine(0.011, 0.0003, 6e-5, jitter=0.1, stall_s=0.8, stall_every_s=100), USUAL),
}
ENGINES = SEEN | UNSEEN | UNSTEADY
KINDS = ("max_concurrency", "request_rate")


def run(job: tuple[str, str, int]) -> tuple[float, int, float, int]:
    """One search: its answer, its probes, the seconds that they would have taken, and their requests."""
    name, kind, seed = job
    found = search(*ENGINES[name], kind, seed)
    return found.answer, len(found.probes), found.seconds, found.requests


def judge(name: str, kind: str) -> Callable[[float], bool]:
    @cache
    def share(level: float) -> float:
        return float(true_share(*ENGINES[name], kind, level))

    return lambda answer: answer > 0 and share(answer / 1.1) >= 0.99 > share(answer / 0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=KINDS, help="only this kind of search")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ENGINES)}; all by default")
    options = parser.parse_args()
    for kind in [options.kind] if options.kind else KINDS:
        for label, engines in (("engines", SEEN), ("unseen engines", UNSEEN), ("unsteady hosts", UNSTEADY)):
            chosen = [name for name in engines if name in (options.names or ENGINES)]
            right = sum(report(name, kind, options.seeds, options.first) for name in chosen)
            print(f"{kind}, {label}: {right} of {len(chosen) * options.seeds} within 10 %\n", flush=True)


def report(name: str, kind: str, seeds: int, first: int) -> int:
    """Prints one engine's answers; returns how many are right."""
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(run, [(name, kind, seed) for seed in range(first, first + seeds)]))
    is_right = judge(name, kind)
    verdicts = [is_right(answer) for answer, *_ in found]
    texts = [f"{answer:.3g}{'' if right else '!'}" for (answer, *_), right in zip(found, verdicts, strict=True)]
    probes, seconds, requests = (fmean(column) for column in list(zip(*found, strict=True))[1:])
    print(
        f"{kind} {name}: {' '.join(texts)}; {probes:.0f} probes, {requests:,.0f} requests, {seconds:,.0f} s", flush=True
    )
    return sum(verdicts)


if __name__ == "__main__":
    main()
