"""Measures how long each part of `make demo` takes, in fresh clones of two revisions, one after the other.

    python benchmarks/demo.py                        HEAD and the demo as it was first published: 10 to 15 minutes
    python benchmarks/demo.py --rounds 2 HEAD main   other revisions, each round in the other order

A clone has caches of its own for weights and kernels, as a new user's; pip's cache of downloads is shared and kept, so
the first round may download what the later ones do not. The parts are told by the lines that make and vbench print:

    environment   python -m venv
    engine        pip install of the CPU engine's list
    vbench        pip install of vbench and its dependencies
    start         from there until the server is ready: the command's own start, the engine's start
    loads         four loads, measured again where INVALID, filed in MLflow
    report        tables and figures, until make ends

The script ends with status 1 if a demo ended before its report.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIRST = "1ab4347"
BEGINS = (  # the line with which a part begins
    ("environment", re.compile(r"\S+ -m venv ")),
    ("engine", re.compile(r"\S+pip install .*--no-deps ")),
    ("vbench", re.compile(r"\S+pip install .*-e ")),
    ("start", re.compile(r"touch |\S+python -m vbench -m |\[2/3\]")),
    ("loads", re.compile(r" *ready after ")),
    ("report", re.compile(r"\[3/3\]|figure|.*\.png$|\S+python -m vbench\.analysis ")),
)
PARTS = tuple(name for name, _ in BEGINS)


def find_part(line: str, part: str) -> str:
    """The part that this line begins, if it is a later one than the given; else that one."""
    later = PARTS.index(part) + 1 if part else 0
    return next((name for name, begin in BEGINS[later:] if begin.match(line)), part)


def run_demo(clone: Path) -> dict[str, float]:
    """Seconds of each part, and `total` and `cpu`, of a demo in this clone; its output goes to demo.log."""
    caches = clone.parent / "caches"
    pip = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=False)
    env = os.environ | {"XDG_CACHE_HOME": str(caches), "PYTHONUNBUFFERED": "1", "PIP_CACHE_DIR": pip.stdout.strip()}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    cpu, began = _children_cpu_s(), time.monotonic()
    seconds, part, since = dict.fromkeys(PARTS, 0.0), "", began
    process = subprocess.Popen(
        ["make", "demo", "ENGINE=cpu", f"PYTHON={sys.executable}"],
        cwd=clone, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    with (clone / "demo.log").open("w") as log:
        for line in process.stdout:
            now = time.monotonic()
            log.write(f"{now - began:7.1f} {line}")
            following = find_part(line, part)
            if following != part:
                seconds[part or following] += now - since
                part, since = following, now
    process.wait()
    seconds[part or PARTS[0]] += time.monotonic() - since
    return seconds | {"total": time.monotonic() - began, "cpu": _children_cpu_s() - cpu}


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("revisions", nargs="*", default=[FIRST, "HEAD"])
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--repository", type=Path, default=ROOT)
    given = options.parse_args()
    found: dict[str, list[dict[str, float]]] = {revision: [] for revision in given.revisions}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.rounds):
            for revision in given.revisions[:: -1 if number % 2 else 1]:
                clone = Path(folder) / f"{revision.replace('/', '-')}-{number}" / "vbench"
                subprocess.run(["git", "clone", "-q", given.repository, clone], check=True)
                subprocess.run(["git", "checkout", "-q", _commit(given.repository, revision)], cwd=clone, check=True)
                found[revision].append(run_demo(clone))
                print(f"round {number + 1}, {revision}: {found[revision][-1]['total']:.0f} s", flush=True)
                if not found[revision][-1]["report"]:
                    print((clone / "demo.log").read_text(), file=sys.stderr)
                    return 1
    print(f"seconds, medians of {given.rounds}:")
    print(f"{'':14}" + "".join(f"{revision[:12]:>14}" for revision in given.revisions))
    for part in (*PARTS, "total", "cpu"):
        medians = [statistics.median(each[part] for each in found[revision]) for revision in given.revisions]
        print(f"{part:14}" + "".join(f"{median:14.1f}" for median in medians))
    return 0


def _commit(repository: Path, revision: str) -> str:
    told = subprocess.run(["git", "rev-parse", revision], cwd=repository, capture_output=True, text=True, check=True)
    return told.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
