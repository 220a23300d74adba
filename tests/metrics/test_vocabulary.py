"""docs/metrics.md names every key and every code, so that it cannot fall behind."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from builders import requests, run_config

from vbench.metrics.cached import CacheFacts, find_hits, hit_metrics
from vbench.metrics.conversing import session_metrics, ttft_by_cached_share, ttft_by_turn
from vbench.metrics.definitions import metrics
from vbench.metrics.goodput import goodput
from vbench.metrics.occupancy import summaries
from vbench.metrics.reach import reach
from vbench.metrics.steady import steady_metrics
from vbench.schema.series import Series
from vbench.schema.structure import Structure

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "metrics.md").read_text()
SHAPES = re.compile(
    r"(?<![a-z])(mean|median|std|p90|p95|p99)_(?=(ttft(_\w+)?|tpot|itl|e2el|chunk_gap|queue|session)_(upper_)?ms$)"
)
GAUGES = ("server/requests_running", "gpu0/utilization_pct", "gpu0/sm_clock_mhz", "gpu0/memory_mib")

GPU = {"memory_bandwidth_gb_s": 3350.0, "bf16_tflops": 989.5, "link_gb_s": 900.0}
GPU |= {"name": "h100", "product": "H100", "memory_mib": 81559}


def sampled():
    columns = {name: np.ones(5) for name in GAUGES}
    totals = {name: np.arange(5.0) for name in ("cpu/frontend0_s", "cpu/frontend0_loop_s", "gpu0/energy_j")}
    return Series(times=np.array([-1.0, 0, 1, 2, 3]), columns=columns | totals, started_at=0.0)


def conversing():
    """Of 400 sessions of 32 turns, which extend one another."""
    turns, sessions = np.tile(np.arange(32), 400), np.repeat(np.arange(400), 32)
    structure = Structure(
        session=sessions,
        turn=turns,
        extends=np.where(turns > 0, np.arange(12_800) - 1, -1),
        after=np.empty((0, 2), np.int64),
        wait_s=np.zeros(12_800),
        offsets=np.arange(12_801),
        parts=np.arange(12_800),
    )
    made = requests(*([(n + 0.5, 1)] for n in range(12_800)), sent=[float(n) for n in range(12_800)])
    made = replace(made, carried=np.zeros(12_800, np.int64), input_tokens=np.full(12_800, 40))
    made = made.with_structure(structure, np.full(12_800, 4))
    hits = find_hits(made, CacheFacts(16, (100,)))
    counted = {"server_prefix_cache_queries": 9.0, "server_prefix_cache_hits": 3.0, "server_external_cache_hits": 1.0}
    found = hit_metrics(made, hits, counted, [0.1, 0.4]) | session_metrics(made, np.empty(0, np.int64))
    return found | ttft_by_turn(made) | ttft_by_cached_share(made, np.resize([0, 10, 30, 40], 12_800))


def keys():
    run = requests([(1.0, 1), (1.5, 1)], [(1.0, 1), (2.0, 2)])
    follow = requests(*([(each + 0.5, 1), (each + 1.0, 1)] for each in range(400)), sent=[float(n) for n in range(400)])
    found = (
        metrics(run)
        | metrics(follow)
        | steady_metrics(follow)
        | goodput(run, {"ttft_ms": 500})
        | summaries(sampled(), run)
        | reach(run, run_config(hardware={"gpus": 2, "gpu": GPU}, parallelism={"tensor_parallel_size": 2}))
        | conversing()
    )
    return sorted({SHAPES.sub("…_", key) for key in found})


def test_every_key_is_defined_in_the_docs():
    found = keys()
    assert len(found) >= 100
    assert [key for key in found if f"`{key}`" not in DOCS] == []


def test_every_code_of_a_verdict_is_in_the_docs():
    rules = "".join(
        (ROOT / "vbench" / "metrics" / name).read_text() for name in ("validity.py", "coverage.py", "cache_rules.py")
    )
    codes = re.findall(r'Reason\(\s*"(\w+)"', rules)
    assert len(codes) >= 15
    assert [code for code in codes if f"`{code}`" not in DOCS] == []
