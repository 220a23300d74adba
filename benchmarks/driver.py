"""Measures the time and memory of the driver before it starts anything: composing, checking and planning a grid.

    python benchmarks/driver.py

Each grid runs in its own process, and the table shows that process's peak memory. The peer is plain Hydra 1.3: its
sweeper composes each point once to see that it composes, and its launcher composes it again. It neither checks nor
plans. Plain Hydra gets a part of the published grid, and times are compared per point.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hydra import initialize_config_dir  # noqa: E402  the checkout is the package
from hydra.core.config_loader import ConfigLoader  # noqa: E402
from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from hydra.core.utils import setup_globals  # noqa: E402
from hydra.types import RunMode  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from vbench import compose  # noqa: E402
from vbench.campaign import launcher  # noqa: E402
from vbench.plan.rules import check_run  # noqa: E402
from vbench.plan.sessions import plan  # noqa: E402

MODELS = "llama8b,mistral7b,nemo12b,mixtral8x7b,llama70b,mistral_large,mixtral8x22b,llama405b"
SYSTEMS = "1xa100,2xa100,4xa100,8xa100,1xh100,2xh100,4xh100,8xh100"
SPLIT = "2xa100,4xa100,8xa100,2xh100,4xh100,8xh100,4xh200,8xh200"
LOADS = "10,20,40,80,160,320,640,1280"

Points = list[list[str]]


def grid(**choices: str) -> Points:
    words = [[f"{key}={value}" for value in values.split(",")] for key, values in choices.items()]
    return [list(point) for point in itertools.product(*words)]


PUBLISHED = {"model": MODELS, "hardware": SYSTEMS, "workload.num_prompts": LOADS}
GRIDS: dict[str, Callable[[], Points]] = {
    "published": lambda: grid(**PUBLISHED),
    "published, 6 seeds": lambda: grid(**PUBLISHED, **{"workload.seed": "0,1,2,3,4,5"}),
    "3 splits, 2 seeds": lambda: grid(
        model=MODELS, hardware=SPLIT, parallelism="tp,pp,dp", **{"workload.num_prompts": LOADS, "workload.seed": "0,1"}
    ),
    "plain Hydra": lambda: grid(**PUBLISHED)[::8],
}


def main() -> None:
    found = {name: json.loads(subprocess.check_output([sys.executable, __file__, name])) for name in GRIDS}
    peer = found["plain Hydra"]
    print("| grid | points | choices | compose s | check and plan s | ms a point | plain Hydra's | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, each in found.items():
        each_ms, peer_ms = (1e3 * (one["compose_s"] + one["plan_s"]) / one["points"] for one in (each, peer))
        print(
            f"| {name} | {each['points']:,} | {each['choices']} | {each['compose_s']:.1f} | {each['plan_s']:.2f} "
            f"| {each_ms:.1f} | × {peer_ms / each_ms:.0f} | {each['peak_mib']:.0f} |"
        )


def measured(name: str) -> dict[str, float]:
    setup_globals()
    launcher.register()
    compose.register()
    points = GRIDS[name]()
    with initialize_config_dir(str(compose.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", ["experiment=published"], RunMode.MULTIRUN)
        began = time.perf_counter()
        if name == "plain Hydra":
            twice(loader, master, points)
            composed = planned = time.perf_counter()
        else:
            runs = list(compose.grid(loader, master, points))
            composed = time.perf_counter()
            sessions = plan((check_run(run), "vllm 0.26.0") for run in runs)
            planned = time.perf_counter()
            assert sum(len(session.runs) for session in sessions) == len(points)
    return {
        "points": len(points),
        "choices": len({tuple(word for word in point if "." not in word.split("=")[0]) for point in points}),
        "compose_s": composed - began,
        "plan_s": planned - composed,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def twice(loader: ConfigLoader, master: DictConfig, points: Points) -> None:
    for _ in ("the sweeper's trial of the whole batch", "the launcher"):
        for point in points:
            loader.load_sweep_config(master, point)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measured(sys.argv[1])))
    else:
        main()
