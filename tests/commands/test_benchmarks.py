"""The scripts of benchmarks/ use what vbench has: nothing else runs them when a module moves."""

import ast
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import doors
import pytest
import records
from builders import requests

from vbench.schema.record import REQUESTS, Failure, Reason, put_aside
from vbench.watch import Event

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


def taken_from_vbench(script):
    """Each name that a script takes from vbench, and the module that it takes it from."""
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "vbench":
            yield from ((node.module, each.name) for each in node.names)


def exists(module, name):
    try:
        return hasattr(importlib.import_module(module), name) or bool(importlib.import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_benchmark_imports_only_what_vbench_has(script):
    assert [f"{module}.{name}" for module, name in taken_from_vbench(script) if not exists(module, name)] == []


def test_most_benchmarks_are_seen_to_import_something():
    assert sum(bool([*taken_from_vbench(script)]) for script in SCRIPTS) > len(SCRIPTS) // 2


sys.path.append(str(ROOT / "benchmarks"))
search = importlib.import_module("search")
overhead = importlib.import_module("overhead")
sessions_search = importlib.import_module("sessions_search")
SLO = {"ttft_ms": 1e9}


def saved(home, **what):
    """A session's folder with this record, and its requests."""
    folder = records.saved(records.record(**what), home)
    requests(*([(1.0, 1), (1.1, 1)] for _ in range(4))).save(folder / REQUESTS)
    return folder.parent


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "100.0% of a separate run meet the SLO"),
        ({"invalid": [Reason("starved_host", "x")]}, "not confirmed: the separate run is INVALID (starved_host)"),
        ({"failure": Failure("server_died", "x")}, "not confirmed: the separate run is FAILED (server_died)"),
    ],
)
def test_a_separate_run_that_is_not_valid_confirms_no_answer_of_a_search(what, said, tmp_path):
    assert search.say_confirmation(saved(tmp_path, **what), SLO, 1) == said


def measured_again(home, sessions):
    """A session's folder with a run that was put aside, whose turns all missed the SLO, and the one after it."""
    put_aside(answered(home, sessions, ttft_s=9.0))
    return answered(home, sessions, ttft_s=0.01).parent


def answered(home, sessions, ttft_s):
    folder = records.saved(records.record(), home)
    requests(*([(ttft_s, 1), (ttft_s + 0.1, 1)] for _ in range(20 * sessions))).save(folder / REQUESTS)
    return folder


def test_of_a_separate_run_that_was_measured_again_the_last_measurement_tells(tmp_path):
    session = measured_again(tmp_path, 2)
    assert len(list(session.glob(f"*/{REQUESTS}"))) == 2
    assert search.say_confirmation(session, {"ttft_ms": 150}, 1) == "100.0% of a separate run meet the SLO"
    share, turns, doubt = sessions_search.take_share(session, 2)
    assert (share, doubt) == (1.0, "")
    assert turns > 0


def test_a_separate_run_that_is_not_valid_confirms_no_answer_of_a_search_of_sessions(tmp_path):
    session = saved(tmp_path, invalid=[Reason("lagging_client", "x")])
    assert sessions_search.take_share(session, 1) == (0.0, 0, "INVALID (lagging_client)")


def test_a_search_that_is_not_valid_has_no_answer_and_says_why(tmp_path):
    metrics = {"slo_max_concurrency": 22.0, "probes": 9}
    assert search.answer(saved(tmp_path / "a", metrics=metrics)) == (22, 9, "")
    invalid = [Reason("untrusted_probes", "x"), Reason("starved_host", "y")]
    found = search.answer(saved(tmp_path / "b", metrics=metrics, invalid=invalid))
    assert found == (0, 9, "INVALID (untrusted_probes, starved_host)")


def test_the_first_measurement_of_a_point_that_was_measured_again_is_no_overhead(tmp_path):
    watcher = overhead.Watcher(tmp_path)
    for kind in ("ready", "measuring", "measuring", "recorded"):
        watcher.note_event(Event(0.0, kind, {"folder": "n10-0-1200"}))
    assert (watcher.left_out, watcher.parts) == (1, {})


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_comparison_of_searches_that_is_killed_leaves_no_vbench_behind(sent, tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(tmp_path)]
    script = f"import os, pathlib, search; search.run({command!r}, pathlib.Path({str(tmp_path)!r}), dict(os.environ))"
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}
    with subprocess.Popen([sys.executable, "-c", script], env=surroundings) as comparing:
        doors.until(lambda: [pid for pid in doors.pids(tmp_path) if pid != comparing.pid and ended_by(pid)])
        comparing.send_signal(sent)
    doors.until(lambda: not doors.pids(tmp_path))


def ended_by(pid):
    """Whether this process has begun its own program: until then it is a copy of its parent."""
    return b"time.sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()[:80]
