"""Hits in the prefix cache: implied by the load, simulated with vLLM's blocks, and measured by the server's counters.

    python benchmarks/cache_truth.py [--prompts 120] [--loads prefix,mooncake] [--blocks 2000,115] [--replicas 1,2]

Starts real vLLM with the tiny model on this CPU, once for each number of KV blocks and of replicas, and measures each
load on it; with several replicas sticky and round robin. It prints a row for each run, and fails if the simulation and
the counters are more than one point apart; and, where the blocks hold the whole load, if the counters are more than one
point away from what the load and its routing imply.
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
from vbench.schema.record import REQUESTS, Record, Requests, find_record
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
    "mooncake": ["workload=trace"],
    "bailian": ["workload=trace"],
}
BLOCKS_OF = {"mooncake": 512, "bailian": 16}  # tokens of one of a trace's hash_ids
BOUND = 0.01  # between two shares that should be the same
WIDTHS = (14, 9, 13, 8, 10, 10, 10, 10, 10, 0)
HEADER = ("load", "replicas", "routing", "blocks", "implied", "routed", "simulated", "measured", "verdict", "")


def main() -> int:
    asked = _arguments()
    folder = Path(asked.folder or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    _write_mooncake(folder / "mooncake.jsonl", asked.prompts)
    _write_bailian(folder / "bailian.jsonl", asked.prompts)
    _print_row(HEADER)
    worst = 0.0
    for blocks in asked.blocks:
        for replicas in asked.replicas:
            session = _session(asked.loads, asked.prompts, blocks, replicas, folder)
            for name, record, place in _measure(session, folder / session.folder):
                _print_row(_row(name, record, blocks, replicas))
                worst = max(worst, _gap(record, blocks * BLOCK >= _unique_tokens(place)))
    print(f"shares that should be the same are at most {worst:.2%} apart")
    return int(worst > BOUND)


def _session(loads: list[str], prompts: int, blocks: int, replicas: int, folder: Path) -> Session:
    server = [
        "hardware=cpu",
        f"parallelism.data_parallel_size={replicas}",
        "engine.max_model_len=3500",
        "engine.enable_prefix_caching=true",
        f"engine.extra_args=[--block-size,'{BLOCK}',--num-gpu-blocks-override,'{blocks}']",
        f"workload.num_prompts={prompts}",
    ]
    routings = ["sticky", "round_robin"] if replicas > 1 else ["sticky"]
    paths = {load: [f"workload.path={folder / load}.jsonl"] if load in BLOCKS_OF else [] for load in LOADS}
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


def _write_mooncake(path: Path, prompts: int) -> None:
    """Rows as Mooncake's: times in ms, prompts of blocks that begin as one of six others do."""
    rng, block = np.random.default_rng(1), BLOCKS_OF["mooncake"]
    rows = []
    for number in range(prompts):
        group = int(rng.integers(6)) * 10
        shared = [group + place for place in range(int(rng.integers(1, 5)))]
        length = block * len(shared) + int(rng.integers(1, block))
        rows.append(
            {
                "timestamp": number * 250,
                "input_length": length,
                "output_length": int(rng.integers(4, 30)),
                "hash_ids": [*shared, 1000 + number],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_bailian(path: Path, prompts: int) -> None:
    """Rows as Alibaba's: times in seconds, chats of up to six turns, each of which begins as the one before it."""
    rng, block = np.random.default_rng(2), BLOCKS_OF["bailian"]
    system, chats, rows = list(range(8)), list[tuple[int, int, list[int]]](), []
    for number in range(prompts):
        going_on = len(chats) > 12 and rng.random() < 0.7
        place = int(rng.integers(len(chats))) if going_on else -1
        parent, turn, before = chats.pop(place) if going_on else (-1, 0, system)
        adds = int(rng.integers(3, 12))
        ids = [*before, *(1000 * (number + 1) + each for each in range(adds))]
        rows.append(
            {
                "chat_id": number,
                "parent_chat_id": parent,
                "timestamp": number * 0.25,
                "input_length": block * len(ids) - int(rng.integers(block)),
                "output_length": int(rng.integers(4, 30)),
                "type": "text",
                "turn": turn + 1,
                "hash_ids": ids,
            }
        )
        if turn < 5:
            chats.append((number, turn + 1, ids))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _measure(session: Session, folder: Path) -> Iterator[tuple[str, Record, Path]]:
    """Yields each run's load, record and folder."""
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
        load = run.config.workload
        yield Path(load.path).stem if load.path else load.lengths.name, record, folder / run.folder


def _row(name: str, record: Record, blocks: int, replicas: int) -> tuple[str, ...]:
    routing = record.config["workload"]["routing"]
    shares = [f"{record.metrics[f'prefix_hits_{name}']:.1%}" for name in ("implied", "routed", "simulated", "measured")]
    return (name, str(replicas), routing, str(blocks), *shares, record.verdict, _say_why(record))


def _say_why(record: Record) -> str:
    """The codes of what makes it INVALID: a busy host does, without touching a hit."""
    return ",".join(dict.fromkeys(reason.code for reason in record.invalid))


def _unique_tokens(folder: Path) -> int:
    """Tokens of all prompts and replies of a run, those that prompts share counted once."""
    requests = Requests.load(folder / REQUESTS)
    once = dict(zip(requests.parts.tolist(), requests.part_tokens.tolist(), strict=True))
    return sum(once.values()) + int(requests.output_tokens.sum())


def _gap(record: Record, holds_all: bool) -> float:
    """The largest distance between shares that should be the same."""
    found = {name: record.metrics[f"prefix_hits_{name}"] for name in ("routed", "simulated", "measured")}
    others = [found["simulated"], *([found["routed"]] if holds_all else [])]
    return max(abs(other - found["measured"]) for other in others)


def _print_row(cells: tuple[str, ...]) -> None:
    print(" ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip(), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=120)
    parser.add_argument("--loads", type=lambda text: text.split(","), default=list(LOADS))
    parser.add_argument("--blocks", type=lambda text: [int(each) for each in text.split(",")], default=[2000, 115])
    parser.add_argument("--replicas", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2])
    parser.add_argument("--folder")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
