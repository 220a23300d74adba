"""Hits in the prefix cache: implied by the load, simulated with vLLM's blocks, and measured by the server's counters.

    python benchmarks/cache_truth.py [--prompts 120] [--loads prefix,conversations,trace] [--blocks 2000,115]

Starts real vLLM with the tiny model on this CPU, once for each number of KV blocks and for one and two replicas, and
measures each load on it; with two replicas sticky and round robin. It prints a row for each run, and fails if the
simulation and the counters are more than one point apart, or, where nothing was evicted, the implied share and the
counters.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.core.utils import setup_globals

from vbench import compose as ours
from vbench.campaign import launcher
from vbench.engine.identity import ask_engine_version
from vbench.plan.sessions import Session, plan_run
from vbench.schema.record import Record, find_record
from vbench.session import sessionfile

BLOCK = 32  # tokens
LOADS = {
    "prefix": [
        "workload=prefix",
        "workload.output_len=16",
        "workload.prefix.groups=24",
        "workload.prefix.prefix_len=[200,600]",
        "workload.prefix.suffix_len=[20,150]",
        "workload.max_concurrency=4",
    ],
    "conversations": [
        "workload=conversations",
        "workload.output_len=[8,60]",
        "workload.sessions=16",
        "workload.conversations.turns=[2,8]",
        "workload.conversations.first_len=[50,300]",
        "workload.conversations.next_len=[20,120]",
        "workload.conversations.think_time_s=exponential:0.3",
        "workload.conversations.system_len=100",
    ],
    "trace": ["workload=trace"],
}
TRACE_BLOCK = 512  # tokens of one of Mooncake's hash_ids
WIDTHS = (14, 9, 13, 8, 10, 10, 10, 10, 10)
HEADER = ("load", "replicas", "routing", "blocks", "implied", "routed", "simulated", "measured", "verdict")


def main() -> int:
    asked = _arguments()
    folder = Path(asked.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / "trace.jsonl"
    _write_trace(trace, asked.prompts)
    _print_row(HEADER)
    worst = 0.0
    for blocks in asked.blocks:
        for replicas in (1, 2):
            session = _session(asked.loads, asked.prompts, blocks, replicas, trace)
            for record in _measure(session, folder / session.folder):
                _print_row(_row(record, blocks, replicas))
                worst = max(worst, _gap(record))
    print(f"the simulation and the counters are at most {worst:.1%} apart")
    return int(worst > 0.01)


def _session(loads: list[str], prompts: int, blocks: int, replicas: int, trace: Path) -> Session:
    server = [
        "hardware=cpu",
        f"parallelism.data_parallel_size={replicas}",
        "engine.max_model_len=3500",
        "engine.enable_prefix_caching=true",
        f"engine.extra_args=[--block-size,'{BLOCK}',--num-gpu-blocks-override,'{blocks}']",
        f"workload.num_prompts={prompts}",
    ]
    routings = ["sticky", "round_robin"] if replicas > 1 else ["sticky"]
    paths = {load: list[str]() for load in LOADS} | {"trace": [f"workload.path={trace}"]}
    setup_globals()
    launcher.register()
    ours.register()
    with initialize_config_dir(str(ours.CONF), version_base="1.3"):
        configs = [
            ours.run_config(
                compose(
                    "config",
                    [*server, *LOADS[load], *paths[load], f"workload.routing={routing}"],
                    return_hydra_config=True,
                )
            )
            for load in loads
            for routing in routings
        ]
    version = ask_engine_version(configs[0].engine)
    return Session(f"{blocks}-blocks-{replicas}", tuple(plan_run(config, version) for config in configs))


def _write_trace(path: Path, prompts: int) -> None:
    """Rows as Mooncake's: times in ms, prompts of blocks that begin as one of six others do."""
    rng = np.random.default_rng(1)
    rows = []
    for number in range(prompts):
        group = int(rng.integers(6)) * 10
        shared = [group + place for place in range(int(rng.integers(1, 5)))]
        length = TRACE_BLOCK * len(shared) + int(rng.integers(1, TRACE_BLOCK))
        rows.append(
            {
                "timestamp": number * 250,
                "input_length": length,
                "output_length": int(rng.integers(4, 30)),
                "hash_ids": [*shared, 1000 + number],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _measure(session: Session, folder: Path) -> Iterator[Record]:
    folder.mkdir(parents=True, exist_ok=True)
    path = sessionfile.write(session, folder)
    ended = subprocess.run(
        [sys.executable, "-m", "vbench.session", path], capture_output=True, text=True, check=False, cwd=folder
    )
    for run in session.runs:
        record = find_record(folder / run.folder)
        if record is None or record.failure:
            print(ended.stdout[-3000:], ended.stderr[-3000:])
            raise SystemExit(f"{run.name}: not measured; see {folder}")
        yield record


def _row(record: Record, blocks: int, replicas: int) -> tuple[str, ...]:
    load = record.config["workload"]
    shares = [f"{record.metrics[f'prefix_hits_{name}']:.1%}" for name in ("implied", "routed", "simulated", "measured")]
    return (load["lengths"], str(replicas), load["routing"], str(blocks), *shares, record.verdict)


def _gap(record: Record) -> float:
    return abs(record.metrics["prefix_hits_simulated"] - record.metrics["prefix_hits_measured"])


def _print_row(cells: tuple[str, ...]) -> None:
    print(" ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--loads", type=lambda text: text.split(","), default=list(LOADS))
    parser.add_argument("--blocks", type=lambda text: [int(each) for each in text.split(",")], default=[2000, 115])
    parser.add_argument("--folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
