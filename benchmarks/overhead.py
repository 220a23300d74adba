"""Measures the time that a point takes beyond its load, in ms and by parts.

    python benchmarks/overhead.py                    against the fake server: 10, 320 and 1,280 prompts, 200 tokens each
    python benchmarks/overhead.py --vllm             against real vLLM on this CPU: 4 and 16 prompts

The script runs one session with five points per number of prompts, as a job would. It files each record at once in an
SQLite store of MLflow, as `hydra/launcher=inline` does. The start of the server is not counted, and neither is the time
from the start of the first request to the end of the last reply. Points that are measured again are left out.
The parts:

    prepare   make prompts, check the server's health and name, empty its cache, read counters, take the first
              telemetry sample
    hand over pass the load to the load processes and open connections, until the load's clock starts
    gather    read and merge replies, take the last telemetry sample, write raw files, metrics, verdict and record
    file      write the record to MLflow; the driver does this, and it is not part of `overhead`
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench import tracking  # noqa: E402  the checkout is the package
from vbench.plan.rules import check_run  # noqa: E402
from vbench.plan.sessions import Session, plan  # noqa: E402
from vbench.schema import RunConfig, from_plain  # noqa: E402
from vbench.schema.record import REQUESTS, TELEMETRY, Requests  # noqa: E402
from vbench.schema.series import Series  # noqa: E402
from vbench.session import execute  # noqa: E402
from vbench.watch import Event, Events  # noqa: E402

FAKE = ["python", str(ROOT / "tests" / "fake_vllm.py"), "--itl-s", "0.005"]
VLLM = yaml.safe_load((ROOT / "conf" / "hardware" / "cpu.yaml").read_text())["engine"]
POINTS = 5  # for each number of prompts


class Watcher:
    """Receives the session's events, files each record, and stores the times of the parts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ended = 0.0  # when the last point had been filed
        self.began = 0.0  # when preparing this point had ended
        self.is_again = False  # whether this point is measured again: its first measurement is nobody's overhead
        self.left_out = 0  # how many points were
        self.parts: dict[str, list[dict[str, float]]] = {}  # by the first part of the folder's name, such as n320

    def note_event(self, event: Event) -> None:
        now = time.time()
        if event.kind == "measuring":
            self.is_again, self.began = self.began > self.ended, now
        elif event.kind == "recorded":
            self._note(event.facts["folder"], now)
        if event.kind in ("ready", "recorded"):
            self.ended = time.time()

    def _note(self, name: str, recorded: float) -> None:
        folder = self.folder / name
        if self.is_again:
            self.left_out += 1
            return
        start = Series.load(folder / TELEMETRY).started_at
        end = start + float(np.nanmax(Requests.load(folder / REQUESTS).finished))
        called = time.perf_counter()
        tracking.file(folder)
        parts = {"prepare": self.began - self.ended, "hand over": start - self.began, "gather": recorded - end}
        parts |= {"overhead": sum(parts.values()), "file": time.perf_counter() - called}
        self.parts.setdefault(name.partition("-")[0], []).append(parts)


def session(sizes: list[int], engine: dict[str, object], output_len: int) -> Session:
    """A session with POINTS points for each number of prompts, each with another seed."""
    model = yaml.safe_load((ROOT / "conf" / "model" / "tiny.yaml").read_text())["model"]
    load = {"lengths": "random", "input_len": 220, "output_len": output_len, "repeats": POINTS}
    parts = {"model": model, "hardware": {}, "parallelism": {}, "engine": {"weights": "dummy", **engine}}
    runs = (from_plain(RunConfig, {**parts, "workload": {**load, "num_prompts": size}}) for size in sizes)
    (made,) = plan((check_run(run), "benchmark") for run in runs)
    return made


def main(vllm: bool) -> None:
    sizes, engine, output_len = ([4, 16], VLLM, 64) if vllm else ([10, 320, 1280], {"command": FAKE}, 200)
    with tempfile.TemporaryDirectory() as root:
        os.chdir(root)
        folder = Path(root) / "multirun" / "session"
        folder.mkdir(parents=True)
        watcher = Watcher(folder)
        execute(session(sizes, engine, output_len), folder, Events(folder, watcher.note_event))
    if watcher.left_out:
        print(f"left out: {watcher.left_out} points that were measured again, as on a busy host")
    if not watcher.parts:
        sys.exit("no point is left")
    columns = list(next(iter(watcher.parts.values()))[0])
    print(
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} after; ms, median (most) of {POINTS} points\n"
    )
    print("| prompts | " + " | ".join(columns) + " |\n|---:|" + "---:|" * len(columns))
    for size, points in watcher.parts.items():
        cells = [[point[column] * 1e3 for point in points] for column in columns]
        print(
            f"| {size[1:]} | "
            + " | ".join(f"{statistics.median(cell):,.0f} ({max(cell):,.0f})" for cell in cells)
            + " |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", action="store_true", help="use real vLLM on this CPU instead of the fake server")
    main(parser.parse_args().vllm)
