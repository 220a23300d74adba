"""A campaign in which one process is killed, or one of its system calls fails, at a named point; and what is left then.

The points are system calls that change a file below the campaign's folder, or that start a program: open for writing,
write, sync, truncate, rename, link, unlink, mkdir, rmdir, chmod, lock and exec. tests/faults.c intercepts them from
outside, by LD_PRELOAD: vbench itself has no hook and pays nothing, and the writes of libraries (SQLite, submitit) are
points as well. `job rename multirun/default/tiny-1xh100-tp1-#/n1-#/record.json 1` is the name of one.

Imports would take most of the time, so the driver is forked from a process that has done them (`furnish`). The jobs,
the servers and the load clients are started as always.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from vbench.schema.record import is_aside
from vbench.session.measuring import RETRIES

HERE = Path(__file__).parent
GPUS = "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3"
SERVER = f"engine.command=[{sys.executable},{HERE / 'fake_vllm.py'},--itl-s,'0.01']"
WORDS = (  # two sessions of two points, which run at the same time
    "-m", "hardware=1xh100", "engine.weights=dummy", "engine.max_num_seqs=8,9", "workload=random",
    "workload.num_prompts=1,2", "workload.input_len=8", "workload.output_len=4", "launcher.retries=1", SERVER,
)  # fmt: skip
POINTS = 4
AGAIN = 3  # the most times that the command is given after a fault
PATIENCE_S = 120.0  # for one command
GRACE_S = 30.0  # for processes that are about to end
SAID = re.compile(
    r"No space left on device|Input/output error|disk I/O error|database or disk is full|readonly database|"
    r"unable to open database file"
)
NUMBERS = re.compile(r"[0-9a-f]{8,}|\d{3,}|(?<=/\.)[a-z0-9_]{8}(?=/|$)")
SETS_ASIDE = re.compile(r"(-#)\.\d+/|(server\.log)\.\d+$")


@dataclass(frozen=True)
class Fault:
    """What happens at which point: the way is before, after, torn, or an errno."""

    point: str
    way: str

    @property
    def kills(self) -> bool:
        return not self.way.isdigit()


@dataclass
class Command:
    """A command that has ended."""

    code: int  # minus the number of the signal that ended it
    said: str


@dataclass
class Home:
    """The folder of a campaign; next to it what the test knows of it."""

    place: Path
    preload: Path
    commands: list[Command] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.place / "home"

    @property
    def fired(self) -> bool:
        """Whether the fault has happened."""
        return (self.place / "fired").exists()

    def points(self) -> list[str]:
        """The points that the processes of the campaign met, in order."""
        return (self.place / "points").read_text().splitlines()

    def give(self, fault: Fault | None = None, log: bool = False) -> Command:
        """Gives the campaign's command; what remains of it when it has ended."""
        said = self.place / f"said-{len(self.commands)}"
        child = os.fork()
        if not child:
            self._become_driver(said, fault, log)
        code = _wait(child)
        self.commands.append(Command(code, said.read_text(errors="replace")))
        return self.commands[-1]

    def processes(self) -> list[int]:
        """Living processes that this campaign's commands have started, and their children."""
        mark = f"VBENCH_LEASES={self.folder}/leases".encode()
        return [int(each.name) for each in Path("/proc").glob("[0-9]*") if _holds(each / "environ", mark)]

    def files(self) -> set[str]:
        """The files below the folder, without numbers and hashes, as if nothing had been put aside."""
        found = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if not path.is_dir()]
        general = (NUMBERS.sub("#", each) for each in found)
        return {SETS_ASIDE.sub(lambda cut: f"{cut[1]}/" if cut[1] else cut[2], each) for each in general}

    def remove(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.place, ignore_errors=True)

    def _become_driver(self, said: Path, fault: Fault | None, log: bool) -> None:
        code = 1
        try:
            out = os.open(said, os.O_WRONLY | os.O_CREAT)
            for number in (1, 2):
                os.dup2(out, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.setsid()
            os.chdir(self.folder)
            os.environ.update(self._surroundings(fault, log))
            ctypes.CDLL(str(self.preload)).faults_reload()
            sys.argv = ["vbench", *WORDS]
            from vbench.__main__ import main

            code = main()
            threading._shutdown()
            atexit._run_exitfuncs()
        except BaseException:  # noqa: BLE001  as the interpreter does
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _surroundings(self, fault: Fault | None, log: bool) -> dict[str, str]:
        return {
            "VBENCH_LEASES": f"{self.folder}/leases",
            "HOST_PROC": str(self.folder),
            "XDG_CACHE_HOME": f"{self.folder}/cache",
            "FAULTS_HOME": str(self.folder),
            "FAULTS_DRIVER": str(os.getpid()),
            "FAULTS_POINT": fault.point if fault else "",
            "FAULTS_WAY": fault.way if fault else "",
            "FAULTS_FIRED": str(self.place / "fired"),
            "FAULTS_LOG": str(self.place / "points") if log else "",
        }


def build(folder: Path) -> Path:
    """Compiles tests/faults.c."""
    preload = folder / "faults.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", preload, HERE / "faults.c", "-ldl", "-lpthread"], check=True)
    return preload


def environment(preload: Path) -> dict[str, str]:
    """The environment of the process that will `furnish` and fork."""
    path = os.pathsep.join([str(HERE / "fakes"), str(HERE.parent), str(HERE)])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "SLURM", "FAULTS"))}
    own = {"PYTHONPATH": path, "FAKE_GPUS": GPUS, "COLUMNS": "200", "LD_PRELOAD": str(preload)}
    return kept | own | {"MLFLOW_DISABLE_TELEMETRY": "true"}


def furnish() -> None:
    """Imports all that a driver needs, so that forked ones have it."""
    for module in (
        "alembic", "mlflow.store.tracking.sqlalchemy_store", "pandas", "submitit", "vbench.campaign.jobs.local",
        "vbench.campaign.launcher", "vbench.tracking.delivery", "vbench.tracking.filing", "vbench.tracking.inventory",
        "vbench.tracking.reading",
    ):  # fmt: skip
        import_module(module)


def new_home(place: Path, store: Path, preload: Path) -> Home:
    """A folder with an empty store, copied from `store`."""
    home = Home(place, preload)
    (home.folder / "mlruns").mkdir(parents=True)
    shutil.copyfile(store, home.folder / "mlruns" / "mlflow.db")
    return home


def go_through(home: Home, fault: Fault) -> list[str]:
    """Runs the campaign with the fault, then gives the command until it has nothing left to do; what was wrong."""
    found = []
    first = home.give(fault)
    if not fault.kills and home.fired and not _complete(home) and not SAID.search(first.said):
        found.append(f"does not say what failed (exit code {first.code})")
    while home.commands[-1].code not in (0, 1) or not _complete(home):
        if len(home.commands) > AGAIN:
            found.append(f"command given {AGAIN} times more, exit code {home.commands[-1].code}")
            break
        home.give()
    return found


def faults(home: Home, undisturbed: set[str]) -> Iterator[str]:
    """What is wrong after the last command; `undisturbed`: the files of a campaign in which nothing happened."""
    if any("Traceback" in command.said for command in home.commands):
        yield "a traceback is shown"
    records = done(home)
    twice = [key for key, times in Counter(records).items() if times > 1]
    yield from (f"double: {key} was measured {Counter(records)[key]} times" for key in twice)
    if len(set(records)) != POINTS:
        yield f"lost: {len(set(records))} of {POINTS} points are recorded"
    filed = in_store(home)
    if Counter(filed) != Counter(set(records)):
        missing, more = Counter(set(records)) - Counter(filed), Counter(filed) - Counter(set(records))
        yield from (f"lost: {key} is not in MLflow" for key in missing)
        yield from (f"double: {key} is in MLflow {filed.count(key)} times" for key in more)
    deadline = time.monotonic() + GRACE_S
    while (left := home.processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield from (f"orphan: {_command_line(pid)}" for pid in left)
    for name in sorted(home.files() - undisturbed):
        yield f"file left: {name}"


def done(home: Home) -> list[str]:
    """The run keys of the measurements below the folder, without those that were put aside to be measured again."""
    found = []
    for path in home.folder.glob("multirun/*/*/*/record.json"):
        record = json.loads(path.read_text())
        again = {each["code"] for each in (*record["invalid"], *record["warnings"])} & RETRIES.keys()
        if not record["failure"] and not (is_aside(path.parent) and again):
            found.append(record["run_key"])
    return found


def in_store(home: Home) -> list[str]:
    """The run keys of the measured runs that are complete in MLflow."""
    import sqlite3
    from contextlib import closing

    wanted = """SELECT keys.value FROM tags AS keys JOIN tags AS verdicts USING (run_uuid) JOIN runs USING (run_uuid)
        WHERE runs.lifecycle_stage = 'active' AND runs.status != 'RUNNING' AND keys.key = 'vbench.run_key'
        AND verdicts.key = 'vbench.validity' AND verdicts.value != 'FAILED'"""
    with closing(sqlite3.connect(home.folder / "mlruns" / "mlflow.db")) as store:
        return [key for (key,) in store.execute(wanted)]


def _complete(home: Home) -> bool:
    return len(set(done(home))) == len(set(in_store(home))) == POINTS


def _wait(child: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGABRT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _holds(path: Path, words: bytes) -> bool:
    try:
        return words in path.read_bytes()
    except OSError:
        return False


def _command_line(pid: int) -> str:
    try:
        return f"pid {pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode()[:100]}"
    except OSError:
        return f"pid {pid}"
