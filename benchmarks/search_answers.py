"""How often an SLO search finds the true capacity, on simulated engines: 8 seeds each, closed and open loop.

    python benchmarks/search_answers.py [--kind max_concurrency] [--seeds 8] [NAME …]

For each engine the script prints its true capacity (the highest level at which 99 % of the requests of long loads meet
the SLO), each answer, and how many are within 10 % of the capacity. It ends with the share of such answers for each
kind of search. Engines marked "unseen" were made after the search's constants had been chosen.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from simulated_search import search, true_share  # noqa: E402  the tests' own engines and searches
from simulated_engine import SimulatedEngine  # noqa: E402

TTFT_TPOT = {"ttft_ms": 500.0, "tpot_ms": 50.0}
ENGINES = {
    "fast": (SimulatedEngine(0.007, 0.00008, 1 / 25000), TTFT_TPOT),
    "middle": (SimulatedEngine(0.012, 0.0002, 1e-4), TTFT_TPOT),
    "slow": (SimulatedEngine(0.025, 0.0003, 2e-4), TTFT_TPOT),
    "steps": (
        SimulatedEngine(base_s=0.02, per_sequence_s=0.001, per_prompt_token_s=4e-5),
        {"ttft_ms": 300.0, "tpot_ms": 60.0},
    ),
    "places": (SimulatedEngine(0.01, 0, 1e-6, places=48), {"ttft_ms": 500.0}),
    "jitter": (
        SimulatedEngine(0.01, 0.0004, 5e-5, jitter=0.4, stall_s=0.3, stall_every_s=60),
        {"ttft_ms": 600.0, "tpot_ms": 40.0},
    ),
}


def one(job):
    name, kind, seed = job
    t = time.time()
    f = search(*ENGINES[name], kind, seed)
    return f.answer, len(f.probes), f.seconds, f.requests, time.time() - t


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kind", default=None)
    p.add_argument("--seeds", type=int, default=8)
    p.add_argument("names", nargs="*")
    o = p.parse_args()
    kinds = [o.kind] if o.kind else ["max_concurrency", "request_rate"]
    names = o.names or list(ENGINES)
    cache = {}
    with ProcessPoolExecutor(2) as pool:
        for kind in kinds:
            jobs = [(n, kind, s) for n in names for s in range(o.seeds)]
            got = list(pool.map(one, jobs))
            total = 0
            for n in names:
                rows = [g for j, g in zip(jobs, got) if j[0] == n]

                def ok(a):
                    if not a:
                        return False
                    sh = lambda l: (
                        cache.setdefault((n, kind, l), None)
                        or cache.__setitem__((n, kind, l), true_share(*ENGINES[n], kind, l))
                        or cache[(n, kind, l)]
                    )
                    return sh(a / 1.1) >= 0.99 > sh(a / 0.9)

                oks = [ok(r[0]) for r in rows]
                total += sum(oks)
                print(
                    kind,
                    n,
                    [f"{r[0]:.3g}{'' if k else '!'}" for r, k in zip(rows, oks)],
                    sum(oks),
                    "probes",
                    sum(r[1] for r in rows) / len(rows),
                    "sim s",
                    round(sum(r[2] for r in rows) / len(rows)),
                    "requests",
                    round(sum(r[3] for r in rows) / len(rows)),
                    "cpu",
                    round(sum(r[4] for r in rows) / len(rows), 1),
                    flush=True,
                )
            print(kind, total, "of", len(jobs), flush=True)


if __name__ == "__main__":
    main()
