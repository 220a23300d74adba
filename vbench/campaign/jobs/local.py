"""Sessions as processes of this host, which outlive the driver.

Each job waits for its lease of the host and enforces its time limit in its own process. The job's pid and the lock on
its session's folder show whether it is alive, so any later driver can find out as well as the one that started it.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import submitit

from vbench.campaign.jobs import JobEnd, JobPhase, JobState, Submission, entry
from vbench.campaign.jobs.printing import wrap_setup
from vbench.host import gpus
from vbench.session import sessionfile
from vbench.watch import EventReader

# How a job ended, by the last event of its session.
ENDS = {"completed": JobEnd.completed, "SIGTERM": JobEnd.cancelled, "SIGUSR2": JobEnd.time_limit}
# Ctrl-C, the closing of the terminal, Ctrl-\\ and Ctrl-Z.
OF_TERMINAL = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)
SHOWN_EACH_S = 0.001
NO_LIMIT_MIN = 60 * 24 * 365  # submitit's own limit would count from the start of the wait for GPUs


class Local:
    """`hydra/launcher=local`. A job's id is PID@FOLDER: submitit's process, and the session's folder.

    It is @FOLDER from just before the process starts until its pid is known: if the driver is killed in between, the
    next one finds the process by its command line.
    """

    name = "local"
    on_this_host = True
    in_driver = False

    def __init__(self) -> None:
        self._started: list[Any] = []  # our child processes, polled so that none stays a zombie
        self._cancelled: set[str] = set()  # cancelled by us, perhaps before their first event

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        return [self._start(each) for each in batch]

    def states(self, ids: Sequence[str]) -> dict[str, JobState]:
        self._started = [job for job in self._started if not job.done()]
        ours = {int(job.job_id) for job in self._started}
        silent = {each: JobEnd.cancelled if each in self._cancelled else JobEnd.lost for each in ids}
        return {
            each: _state(pid, folder, pid in ours, silent[each]) for each in ids for pid, folder in [_split_id(each)]
        }

    def cancel(self, ids: Sequence[str]) -> None:
        """Ends the jobs by SIGTERM, as a scheduler does."""
        self._cancelled.update(ids)
        for each in ids:
            _, folder = _split_id(each)
            for pid in _find_processes(folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def describe_stop(self, job_id: str) -> str:
        pid, _ = _split_id(job_id)
        return f"kill {pid}" if pid else ""

    def log(self, job_id: str, folder: Path) -> Path:
        pid, _ = _split_id(job_id)
        return _log_folder(folder) / f"{pid}_0_log.out"

    def _start(self, each: Submission) -> str:
        folder = each.path.parent
        executor = submitit.LocalExecutor(_log_folder(folder), python=_python_command(each.session.launcher.setup))
        here = [gpu.index for gpu in gpus.find_gpus()]  # submitit hides all GPUs not listed
        executor.update_parameters(
            timeout_min=NO_LIMIT_MIN,
            stderr_to_stdout=True,
            gpus_per_node=len(here),
            visible_gpus=here,
        )
        each.note(f"@{folder}")
        with _detach_children():
            job = executor.submit(entry.job, str(each.path), each.resources.minutes)
        self._started.append(job)
        # The command line appears shortly after the start; until then other drivers would think that the job is dead.
        while not (_belongs_to_job(int(job.job_id), folder) or job.done()):
            time.sleep(SHOWN_EACH_S)
        return f"{job.job_id}@{folder}"


def _state(pid: int, folder: Path, our_child: bool, silent: JobEnd) -> JobState:
    """The job's state; `silent` is how a job ended if its session did not report it."""
    # We know our own children without it: while setup's shell becomes the job, there is no command line.
    found = _belongs_to_job(pid, folder) if pid else _find_processes(folder)
    if our_child or found or sessionfile.is_held(folder):
        return JobState(JobPhase.running, detail=f"pid {pid}")
    events = EventReader(folder).read()
    last = events[-1] if events else None
    end = ENDS.get(last.facts["how"], JobEnd.failed) if last and last.kind == "ended" else silent
    return JobState(JobPhase.ended, end)


def _belongs_to_job(pid: int, folder: Path) -> bool:
    """Whether this process belongs to the session's job (submitit's does): the pid alone may have been reused."""
    if not folder.is_absolute():  # the id is none of ours: any process could seem to belong to it
        return False
    try:
        return os.fsencode(_log_folder(folder)) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _find_processes(folder: Path) -> list[int]:
    """The pids of the processes of this session's jobs."""
    pids = (int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit())
    return [pid for pid in pids if _belongs_to_job(pid, folder)]


def _log_folder(folder: Path) -> Path:
    return folder / "job"


def _python_command(setup: Sequence[str]) -> str:
    """The shell-quoted command that runs these lines, then the job's interpreter; their output goes to the job's log.

    submitit's own `setup` takes the job's number from the parent process, which is the driver if sh is bash.
    """
    lines = [*wrap_setup(setup), 'exec "$@"']
    return shlex.join(["bash", "-c", "\n".join(lines), "setup", sys.executable] if setup else [sys.executable])


def _split_id(job_id: str) -> tuple[int, Path]:
    pid, _, folder = job_id.partition("@")
    return int(pid) if pid.isdecimal() else 0, Path(folder)


@contextmanager
def _detach_children() -> Iterator[None]:
    """Processes started in the block ignore what a terminal sends to its foreground, and do not inherit our streams.

    submitit has no option for either. If a job held a pipe open, its reader would still wait after the driver's end. If
    Ctrl-Z stopped a job with its driver, its load client would stand still in the middle of a run.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in OF_TERMINAL}
    streams = {number: os.dup(number) for number in (0, 1, 2)}
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for number in streams:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, stream in streams.items():
            os.dup2(stream, number)
            os.close(stream)
        os.close(nowhere)
        for number, handler in before.items():
            signal.signal(number, handler)
