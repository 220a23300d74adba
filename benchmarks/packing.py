"""Measures how busy a campaign keeps a host's GPUs, and the time saved when points share a server.

    python benchmarks/packing.py            eight fake GPUs: 12 sessions of one, 8 of two, 6 of four, 4 of eight
    python benchmarks/packing.py --servers  real vLLM on this CPU: six points on one server, and on six

The first command runs its sessions as jobs of `hydra/launcher=local`, as any campaign does. Each is a process that
leases GPUs, starts a server, loads it and stops it. The server is tests/fake_vllm.py. A session has one request, whose
reply takes a random time within --hold. The floor is the shortest time that any packing can take: the leased
GPU-seconds divided by the number of GPUs, or the longest session if that is longer. The script checks that no two
sessions held the same GPU at once. The measured latencies do not matter here. On a host with few cores these runs are
INVALID, because sessions that start slow down sessions that measure.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "fakes")]  # the checkout is the package, and NVML is the fake
os.environ |= {
    "PYTHONPATH": os.pathsep.join(sys.path[:2]),
    "FAKE_GPUS": ",".join(["NVIDIA H100 80GB HBM3"] * 8),
}

from hydra import compose, initialize_config_dir  # noqa: E402
from hydra.core.utils import setup_globals  # noqa: E402

from vbench import compose as ours  # noqa: E402
from vbench.campaign import launcher, story  # noqa: E402
from vbench.campaign.jobs.local import Local  # noqa: E402
from vbench.schema import RunConfig  # noqa: E402
from vbench.watch import EventReader  # noqa: E402

GPUS = 8
SESSIONS = {1: 12, 2: 8, 4: 6, 8: 4}  # GPUs of a session: how many such sessions
ITL_S = 0.02
POINTS = (2, 4, 6, 8, 10, 12)  # prompts


@dataclass(frozen=True)
class Lease:
    """The GPUs that a session held, and from when to when (s since the epoch)."""

    gpus: tuple[str, ...]
    start: float
    end: float


def composed(*overrides: str) -> RunConfig:
    return ours.run_config(compose("config", list(overrides), return_hydra_config=True))


def carried_out(configs: Sequence[RunConfig]) -> tuple[float, list[Lease]]:
    """Runs the campaign in a temporary folder; returns the seconds it took and the leases of its sessions."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        os.environ["VBENCH_LEASES"] = str(Path(home, "leases"))
        try:
            began = time.time()
            story.carry_out(configs, Local())
            took = time.time() - began
            return took, [lease(path.parent) for path in Path(home).glob("multirun/*/*/events.jsonl")]
        finally:
            os.chdir(before)


def lease(folder: Path) -> Lease:
    told = {event.kind: event for event in EventReader(folder).read()}
    assert "recorded" in told, f"{folder.name}: {list(told)}"
    assert "failed" not in told, f"{folder.name}: {told['failed'].facts}"
    return Lease(tuple(told["leased"].facts["gpus"]), told["leased"].t, told["ended"].t)


def sessions(hold: tuple[float, float], *overrides: str) -> list[RunConfig]:
    rng = random.Random(0)
    return [
        composed(
            "model=llama8b",
            "engine.weights=dummy",
            f"hardware={width}xh100",
            f"engine.max_num_seqs={index + 1}",  # differs, so that sessions do not share a server
            f"engine.command=[python,{ROOT}/tests/fake_vllm.py,--itl-s,{ITL_S}]",
            "workload=random",
            "workload.num_prompts=1",
            "workload.input_len=8",
            f"workload.output_len={round(rng.uniform(*hold) / ITL_S)}",
            *overrides,
        )
        for width, count in SESSIONS.items()
        for index in range(count)
    ]


def packed(hold: tuple[float, float]) -> None:
    together, leases = carried_out(sessions(hold))
    assert sorted(len(each.gpus) for each in leases) == sorted(w for w, n in SESSIONS.items() for _ in range(n))
    for gpu in {gpu for each in leases for gpu in each.gpus}:
        users = sorted((each.start, each.end) for each in leases if gpu in each.gpus)
        assert all(first[1] <= second[0] for first, second in pairwise(users)), f"{gpu} had two users at once"
    alone, _ = carried_out(sessions(hold, "launcher.max_parallel=1"))
    lasted = [each.end - each.start for each in leases]
    floor = max(sum(len(each.gpus) * s for each, s in zip(leases, lasted, strict=True)) / GPUS, *lasted)
    print(
        f"{len(leases)} sessions on {GPUS} fake GPUs, leases of {min(lasted):.1f} to {max(lasted):.1f} s, no double use"
    )
    print("| | s | ratio to the floor |")
    print("|---|---:|---:|")
    for what, seconds in (("floor of any packing", floor), ("campaign", together), ("one session at a time", alone)):
        print(f"| {what} | {seconds:.1f} | × {seconds / floor:.2f} |")


def shared() -> None:
    """Runs six points in one session, and then in six sessions, one after the other."""
    common = ("hardware=cpu", "engine.enforce_eager=true", "workload=random", "workload.output_len=32")
    points = [("workload.num_prompts=" + str(count), *common) for count in POINTS]
    one, _ = carried_out([composed(*each) for each in points])
    apart = [composed(*each, f"+engine.env.SESSION_NUMBER='{index}'") for index, each in enumerate(points)]
    six, leases = carried_out(apart)
    assert len(leases) == len(POINTS)
    print(f"{len(POINTS)} points of {POINTS[0]} to {POINTS[-1]} prompts, vLLM on the CPU")
    print("| | s | ratio |")
    print("|---|---:|---:|")
    print(f"| on one server | {one:.1f} | |")
    print(f"| on {len(POINTS)} servers | {six:.1f} | × {six / one:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hold", type=float, nargs=2, default=(8.0, 16.0), metavar=("LEAST", "MOST"), help="seconds")
    parser.add_argument("--servers", action="store_true", help="compare a shared server with one per point")
    options = parser.parse_args()
    setup_globals()
    launcher.register()
    ours.register()
    with initialize_config_dir(str(ours.CONF), version_base="1.3"):
        shared() if options.servers else packed(tuple(options.hold))


if __name__ == "__main__":
    main()
