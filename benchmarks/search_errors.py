"""The errors of an SLO search: how often it names a level that fails, or calls one that passes too high.

    python benchmarks/search_errors.py [--searches 1000]

The servers are given as shares of misses by level (tests/simulated_levels.py): 1 % at the capacity, growing with a
power of the level; misses come one at a time or three together. For each, the script prints the share of searches

- that name a level of which 98 % or fewer of the requests meet the SLO,
- in which a level of which 99.8 % or more do is the lowest that failed,
- whose interval holds the capacity (stated: 90 %), and whose answer is within 10 % of it,

and the mean number of probes and of requests, judged and sent.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated_levels import power_law, search_levels  # noqa: E402  the tests' servers

from vbench.workload.capacity import FAILING, PASSING  # noqa: E402

SERVERS = ((17.5, 2.5), (9.5, 3.5), (70.3, 5.0), (34.4, 8.0), (250.0, 12.0), (48.5, 60.0))  # capacity, slope
GROUPS = (1, 3)


class Outcome(NamedTuple):
    """Of a search."""

    names_failing: bool
    fails_passing: bool
    covers: bool
    within_a_tenth: bool
    probes: int
    judged: int
    sent: int


def run(job: tuple[float, float, int, int]) -> Outcome:
    capacity, slope, group, seed = job
    misses = power_law(capacity, slope)
    found = search_levels(misses, group, np.random.default_rng([seed, group]))
    level, failed = found.answer.level, found.answer.failed
    return Outcome(
        names_failing=level > 0 and misses(level) >= FAILING,
        fails_passing=misses(failed) <= PASSING,
        covers=found.answer.low <= capacity <= found.answer.high,
        within_a_tenth=level > 0 and misses(int(level / 1.1)) <= 0.01 < misses(int(level / 0.9)),
        probes=len(found.probes),
        judged=sum(probe.of for probe in found.probes),
        sent=found.sent,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=1000, help="of each server")
    count = parser.parse_args().searches
    print("capacity  slope  group  98 % named  99.8 % failed  in interval  within 10 %  probes  judged   sent")
    total = []
    with ProcessPoolExecutor() as pool:
        for capacity, slope in SERVERS:
            for group in GROUPS:
                jobs = [(capacity, slope, group, seed) for seed in range(count)]
                means = np.mean(list(pool.map(run, jobs, chunksize=20)), axis=0)
                total.append(means)
                shares = "  ".join(f"{share:10.1%}" for share in means[:4])
                counts = "  ".join(f"{each:6,.0f}" for each in means[4:])
                print(f"{capacity:8g}  {slope:5g}  {group:5}  {shares}  {counts}", flush=True)
    print("all:  " + "  ".join(f"{share:.1%}" for share in np.mean(total, axis=0)[:4]))


if __name__ == "__main__":
    main()
