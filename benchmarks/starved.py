"""How far a run's throughput falls with `server_starved_share`: real vLLM on a CPU, beside ever busier neighbours.

    python benchmarks/starved.py              about three minutes on two cores, best on an idle host
    python benchmarks/starved.py --rounds 1   half of that

One session measures the same load again and again, one level of neighbours a run: none, processes that are busy for a
part of the time, and processes that are always busy, all on the server's cores. Prints for each run the share that
vbench found, and its throughput against the mean of the runs without neighbours. The bounds of `metrics.host_rules`
follow from this table: where the throughput is off by more than 10 %, the run must not be VALID without a warning.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vbench.host import cores

LEVELS = ((0.0,), (0.05,), (0.1,), (0.2,), (0.3,), (0.5,), (1.0,), (1.0, 1.0), (0.0,))  # how busy each neighbour is
PERIOD_S = 0.02
NEIGHBOUR = """
import sys, time
busy_s, period_s = float(sys.argv[1]) * float(sys.argv[2]), float(sys.argv[2])
while True:
    began = time.perf_counter()
    while time.perf_counter() - began < busy_s:
        pass
    time.sleep(max(began + period_s - time.perf_counter(), 0))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=64)
    given = parser.parse_args()
    levels = LEVELS * given.rounds
    usable = frozenset(cores.find_usable())
    server_cores, _ = cores.split_servers_and_client(usable, on_cpu=True, client_processes=1)
    with tempfile.TemporaryDirectory(prefix="starved-") as folder:
        records = measure(Path(folder), levels, given.prompts, server_cores)
    report(levels, records)


def measure(folder: Path, levels: tuple[tuple[float, ...], ...], prompts: int, chosen: frozenset[int]) -> list[dict]:
    """The records of the first measurements in their order, one of each level, those that were repeated included."""
    seeds = ",".join(str(seed + 1) for seed in range(len(levels)))
    words = ["model=tiny", "hardware=cpu", "experiment=starved", f"workload.num_prompts={prompts}"]
    command = [sys.executable, "-m", "vbench", "-m", *words, f"workload.seed={seeds}", "workload.client_processes=1"]
    place = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    campaign = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": place}, stdout=subprocess.DEVNULL)
    neighbours, done = start_neighbours(levels[0], chosen), 0
    try:
        while campaign.poll() is None and done < len(levels):
            count = len(find_records(folder))
            if count > done:
                stop(neighbours)
                done = count
                neighbours = start_neighbours(levels[done], chosen) if done < len(levels) else []
            time.sleep(0.01)
    finally:
        stop(neighbours)
        campaign.send_signal(signal.SIGINT)  # it stops its server; what is left are repeats without neighbours
        campaign.wait()
    return sorted((json.loads(path.read_text()) for path in find_records(folder)), key=lambda each: each["started_at"])


def find_records(folder: Path) -> list[Path]:
    return list(folder.glob("multirun/starved/*/*/record.json"))


def start_neighbours(level: tuple[float, ...], chosen: frozenset[int]) -> list[subprocess.Popen[bytes]]:
    """One process for each number and each of these cores, pinned to it."""
    return [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-c", NEIGHBOUR, str(busy), str(PERIOD_S)],
            start_new_session=True,  # a scheduling group of its own, as a stranger's process has
        )
        for busy in level
        for core in sorted(chosen)
        if busy
    ]


def stop(neighbours: list[subprocess.Popen[bytes]]) -> None:
    for each in neighbours:
        each.kill()
        each.wait()


def report(levels: tuple[tuple[float, ...], ...], records: list[dict]) -> None:
    rows = [(level, record["metrics"], record) for level, record in zip(levels, records, strict=False)]
    alone = [metrics["output_throughput"] for level, metrics, _ in rows if not any(level)]
    usual = sum(alone) / len(alone)
    print("neighbours   others  starved  throughput  verdict")
    for level, metrics, record in rows:
        share, others = metrics["server_starved_share"], metrics["host_cpu_others_share"]
        codes = [each["code"] for each in (*record["invalid"], *record["warnings"]) if each["code"] != "few_samples"]
        words = " + ".join(f"{busy:g}" for busy in level)
        print(
            f"{words:11} {others:7.3f}  {share:7.3f}  x {metrics['output_throughput'] / usual:8.3f}  {', '.join(codes)}"
        )


if __name__ == "__main__":
    main()
