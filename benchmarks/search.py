"""Compares the time of an SLO search with another revision's, and checks the answers in separate runs.

    python benchmarks/search.py REVISION [--rounds 3] [--minutes 25] [--fake] [OVERRIDE …]

The script runs the same search with this build and with a checkout of REVISION (a git worktree in a temporary folder),
in turns. By default it searches the highest concurrency of the tiny model on real vLLM on this CPU. It prints, for each
round, each build's answer and the seconds from the server's readiness to that answer, and then the ratio of the times.
For each answer, this build then runs that concurrency separately, and the script prints the share of 300 requests that
meets the SLO. The first and the last max_concurrency requests of that run are left out. An answer or a separate run
that is not VALID is told with its verdict and reasons: it confirms nothing, and its time is in no ratio.

`--fake` uses the tests' fake server instead, which shows in a minute whether the script works.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from vbench.metrics.goodput import meets_slo  # noqa: E402  the checkout is the package
from vbench.schema.record import RECORD, REQUESTS, Requests, is_aside  # noqa: E402

QUESTION = [
    "workload=slo_search", "workload.lengths=random", "workload.input_len=[16,64]", "workload.output_len=[8,24]",
]  # fmt: skip
SLO = {"vllm": {"ttft_ms": 500, "tpot_ms": 50}, "fake": {"ttft_ms": 150}}
FAKE = ["--itl-s", "0.02", "--ttft-s", "0.05", "--max-num-seqs", "6"]
CONFIRMING = 300  # requests judged in a separate run
PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that a child gets when its parent ends
LIBC = ctypes.CDLL(None)


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """A worktree of this revision, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--detach", str(tree), revision], check=True, capture_output=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def ask(tree: Path, words: Sequence[str], home: Path) -> tuple[Path, float]:
    """Runs `python -m vbench` of this checkout; returns the session's folder, and the seconds from readiness to end."""
    home.mkdir(parents=True)
    said = run(
        [sys.executable, "-m", "vbench", *words, "hydra/launcher=inline"], home,
        {**os.environ, "PYTHONPATH": str(tree), "VBENCH_LEASES": str(home / "leases")},
    )  # fmt: skip
    events = list(home.glob("multirun/*/*/events.jsonl"))
    if not events:
        sys.exit(f"nothing was measured in {home}:\n{said}")
    told = [json.loads(line) for line in events[0].read_text().splitlines()]
    times = {event["event"]: event["t"] for event in told}
    if "ready" not in times:
        sys.exit(f"the server did not start:\n{said}")
    return events[0].parent, times["recorded"] - times["ready"]


def run(command: Sequence[str], home: Path, env: dict[str, str]) -> str:
    """What the command prints. It is asked to end, and so to stop its server, if this script ends or is killed."""
    ended_with_us = partial(LIBC.prctl, PR_SET_PDEATHSIG, signal.SIGTERM)
    process = subprocess.Popen(
        command, cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=ended_with_us,  # noqa: PLW1509  this script has no threads
    )  # fmt: skip
    try:
        return process.communicate()[0]
    finally:
        process.terminate()
        process.wait()


def records(session: Path) -> list[dict[str, Any]]:
    """The session's records as they are written: an earlier build's may lack what this one's have."""
    return [json.loads(path.read_text()) for path in session.glob(f"*/{RECORD}") if not is_aside(path.parent)]


def load_requests(session: Path) -> Requests:
    """The requests of the only run of a session, as it was measured in the end."""
    (path,) = (path for path in session.glob(f"*/{REQUESTS}") if not is_aside(path.parent))
    return Requests.load(path)


def answer(session: Path) -> tuple[int, int, str]:
    """The concurrency that a session's search found, 0 if none or not VALID, the number of its probes, and why not."""
    found = records(session)
    search = next((each for each in found if "slo_max_concurrency" in each["metrics"]), None)
    if search is None:
        return 0, len(found), "no answer"
    doubt = doubts(search)
    return 0 if doubt else int(search["metrics"]["slo_max_concurrency"]), int(search["metrics"]["probes"]), doubt


def doubts(record: dict[str, Any]) -> str:
    """Verdict and reasons of a record that is not VALID; else empty."""
    if record.get("failure"):
        return f"FAILED ({record['failure']['kind']})"
    codes = [reason["code"] for reason in record.get("invalid", ())]
    return f"INVALID ({', '.join(codes)})" if codes else ""


def confirm(words: Sequence[str], slo: dict[str, float], level: int, home: Path) -> str:
    """Runs this concurrency separately; says the share of requests that meets the SLO, or why the run tells none."""
    load = [
        f"workload.num_prompts={CONFIRMING + 2 * level}",
        f"workload.max_concurrency={level}",
        "workload.search=null",
    ]
    session, _ = ask(ROOT, [*words, *load, "workload.seed=12345"], home)
    return say_confirmation(session, slo, level)


def say_confirmation(session: Path, slo: dict[str, float], level: int) -> str:
    """What the separate run of this session tells."""
    (record,) = records(session)
    if doubt := doubts(record):
        return f"not confirmed: the separate run is {doubt}"
    requests = load_requests(session)
    if len(requests) <= 2 * level:
        return f"not confirmed: the separate run has only {len(requests)} requests"
    return f"{float(meets_slo(requests, slo)[level:-level].mean()):.1%} of a separate run meet the SLO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the tag or commit to compare with")
    parser.add_argument("--rounds", type=int, default=3, help="how many searches each build runs")
    parser.add_argument("--minutes", type=float, default=25, help="begin no further round after so many")
    parser.add_argument("--fake", action="store_true", help="use the tests' fake server instead of vLLM")
    parser.add_argument("--ttft-ms", type=float, help="TTFT objective instead of the default")
    parser.add_argument("--tpot-ms", type=float, help="TPOT objective instead of the default; ignored with --fake")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was begun is ended
    given = parser.parse_known_args()
    options, overrides = given
    slo = dict(SLO["fake" if options.fake else "vllm"])
    slo |= {key: value for key in slo if (value := getattr(options, key)) is not None}
    words = [
        *QUESTION,
        f"workload.slo={{ttft_ms: {slo['ttft_ms']}, tpot_ms: {slo.get('tpot_ms', 'null')}}}",
        *overrides,
    ]
    if options.fake:
        words.append(f"engine.command=[python,{ROOT / 'tests' / 'fake_vllm.py'},{','.join(FAKE)}]")
    with tempfile.TemporaryDirectory() as folder, checkout(options.revision) as other:
        report(Path(folder), {"this build": ROOT, options.revision: other}, options, words, slo)


def report(
    home: Path, trees: dict[str, Path], options: argparse.Namespace, words: list[str], slo: dict[str, Any]
) -> None:
    """Prints each round as it ends, then the ratio and the confirmations."""
    ratios, levels, took, began = [], set(), {name: [] for name in trees}, time.monotonic()
    for turn in range(options.rounds):
        if time.monotonic() - began > 60 * options.minutes:
            print(f"{options.minutes:g} minutes are over: {turn} of {options.rounds} rounds", flush=True)
            break
        seconds, doubted = {}, False
        for name, tree in trees.items():
            session, seconds[name] = ask(tree, [*words, f"workload.seed={turn}"], home / f"{turn}-{len(seconds)}")
            level, probes, doubt = answer(session)
            doubted |= bool(doubt)
            if not doubt:
                levels.add((name, level))
            said = doubt or f"{level} at once"
            print(f"round {turn + 1}, {name}: {said}, {probes} probes, {seconds[name]:.1f} s", flush=True)
        if doubted:  # a search that was disturbed took another time
            continue
        for name, each in seconds.items():
            took[name].append(each)
        new, old = seconds.values()
        ratios.append(new / old)
    if not ratios:
        sys.exit("no round in which both answers are VALID: no times to compare")
    print("medians: " + ", ".join(f"{name} {statistics.median(each):.1f} s" for name, each in took.items()))
    print(f"time × {statistics.median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    for index, (name, level) in enumerate(sorted(levels)):
        if level:
            said = confirm(words, slo, level, home / f"confirmed-{index}")
            print(f"{level} at once ({name}): {said}", flush=True)


if __name__ == "__main__":
    main()
