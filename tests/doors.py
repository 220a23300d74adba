"""`python -m vbench…` as a user starts it, in a folder of its own, with the fake server in vLLM's stead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import records
import warm

from vbench.schema.record import is_aside

HERE = Path(__file__).parent
FAKE = HERE / "fake_vllm.py"
TIMEOUT_S = 240.0


def vbench(
    *words: str, cwd: Path, module: str = "vbench", gpus: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end; `gpus` are the product names of the host's fake GPUs."""
    furnish(cwd)
    surroundings = host(cwd, gpus) | env
    return warm.run(module, words, cwd, surroundings, TIMEOUT_S) or subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def driver(
    *words: str, cwd: Path, module: str = "vbench", gpus: str = "", **env: str
) -> warm.Command | subprocess.Popen[str]:
    """The command under way, as at a terminal: in a process group of its own, which Ctrl-C reaches as a whole."""
    furnish(cwd)
    surroundings = host(cwd, gpus) | env
    return warm.start(module, words, cwd, surroundings) or subprocess.Popen(
        [sys.executable, "-m", module, *words],
        cwd=cwd,
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_ctrl_c,  # noqa: PLW1509  pytest has no threads of ours
    )


def furnish(home: Path) -> None:
    """A store for the runs of a folder that has none; it would be made, but that takes two seconds."""
    if not (home / "mlruns").exists():
        records.empty_store(home)


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job of a shell is started deaf to it


def host(home: Path, gpus: str = "") -> dict[str, str]:
    """The environment of a process on a host of its own, with these GPUs, whose leases lie in `home`."""
    path = os.pathsep.join([str(HERE / "fakes"), str(HERE.parent)])
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    own = {"PYTHONPATH": path, "FAKE_GPUS": gpus, "VBENCH_LEASES": str(home / "leases"), "COLUMNS": "200"}
    return surroundings | own | {"HOST_PROC": str(HERE / "fakes")}  # what else this host does is nobody's concern


def fake(*flags: str) -> str:
    """The override that starts the fake server with these flags."""
    return f"engine.command=[python,{','.join([str(FAKE), *flags])}]"


def events(home: Path, kind: str) -> list[dict]:
    told = [
        json.loads(line) for path in home.glob("multirun/*/*/events.jsonl") for line in path.read_text().splitlines()
    ]
    return [event for event in told if event["event"] == kind]


def run_folders(home: Path) -> list[Path]:
    """Of the records that stand; a run that a busy host disturbed is measured again, and its first record put aside."""
    found = sorted(path.parent for path in home.glob("multirun/*/*/*/record.json"))
    return [folder for folder in found if not is_aside(folder)]


def pids(home: Path) -> list[int]:
    """Living processes of the jobs below this folder, submitit's among them."""
    return [int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit() and of(home, process)]


def of(home: Path, process: Path) -> bool:
    try:
        return os.fsencode(home) in (process / "cmdline").read_bytes()
    except OSError:
        return False


def until(holds: Callable[[], object]) -> None:
    """Waits for what is to happen; only a test that hangs ends here."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
