"""Sessions as processes of this host, each of which outlives the driver.

A job waits for its share of the host in its own process, so its time limit is its own too. Whether one lives is asked
of the kernel, by pid and by the lock on its session's folder: a driver that comes later knows it as well as the one
that started it.
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

from vbench import session
from vbench.campaign.jobs import JobEnd, JobPhase, State, Submission, strict
from vbench.host import gpus
from vbench.session import sessionfile
from vbench.watch.events import EventReader

# By the last word of a session.
ENDS = {"completed": JobEnd.completed, "SIGTERM": JobEnd.cancelled, "SIGUSR2": JobEnd.time_limit}
SHOWN_EACH_S = 0.001
NO_LIMIT_MIN = 60 * 24 * 365  # of submitit's, which would count from the start of the wait


class Local:
    """`hydra/launcher=local`. A job's id is PID@FOLDER, of the process that minds it and of its session."""

    name = "local"
    on_this_host = True

    def __init__(self) -> None:
        self._started: list[Any] = []  # our children: polled, so that none stays a zombie
        self._cancelled: set[str] = set()  # by us, perhaps before they had a word to say

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        return [self._start(each) for each in batch]

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        self._started = [job for job in self._started if not job.done()]
        ours = {int(job.job_id) for job in self._started}
        silent = {each: JobEnd.cancelled if each in self._cancelled else JobEnd.lost for each in ids}
        return {each: _state(pid, folder, pid in ours, silent[each]) for each in ids for pid, folder in [_parts(each)]}

    def cancel(self, ids: Sequence[str]) -> None:
        """Ends them as a scheduler does, by SIGTERM."""
        self._cancelled.update(ids)
        for each in ids:
            _, folder = _parts(each)
            for pid in (int(process.name) for process in Path("/proc").iterdir() if process.name.isdigit()):
                if _minds(pid, folder):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)

    def log(self, job_id: str, folder: Path) -> Path:
        pid, _ = _parts(job_id)
        return _logs(folder) / f"{pid}_0_log.out"

    def _start(self, each: Submission) -> str:
        folder = each.path.parent
        executor = submitit.LocalExecutor(_logs(folder), python=_python(each.session.launcher.setup))
        here = [gpu.index for gpu in gpus.present()]  # submitit hides every GPU that it is not told of
        executor.update_parameters(
            timeout_min=NO_LIMIT_MIN,
            stderr_to_stdout=True,
            gpus_per_node=len(here),
            visible_gpus=here,
        )
        with _apart():
            job = executor.submit(session.job, str(each.path), each.resources.minutes)
        self._started.append(job)
        # The kernel shows its command line a little after its start, and to other drivers it does not live until then.
        while not (_minds(int(job.job_id), folder) or job.done()):
            time.sleep(SHOWN_EACH_S)
        return f"{job.job_id}@{folder}"


def _state(pid: int, folder: Path, our_child: bool, silent: JobEnd) -> State:
    """`silent` is the end of a job that did not say how it ended."""
    # A child is asked for as such: where setup's shell becomes the job, the kernel shows no command line for a moment.
    if our_child or _minds(pid, folder) or sessionfile.taken(folder):
        return State(JobPhase.running, detail=f"pid {pid}")
    told = EventReader(folder).read()
    last = told[-1] if told else None
    end = ENDS.get(last.facts["how"], JobEnd.failed) if last and last.kind == "ended" else silent
    return State(JobPhase.ended, end)


def _minds(pid: int, folder: Path) -> bool:
    """Whether this process is one of the session's job, submitit's among them: a pid alone may by now be another's."""
    try:
        return os.fsencode(_logs(folder)) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _logs(folder: Path) -> Path:
    return folder / "job"


def _python(setup: Sequence[str]) -> str:
    """The interpreter of a job, as words of a shell: after these lines, whose output is in the job's log.

    submitit's own `setup` takes its job's number from the parent process, which is the driver where sh is a bash.
    """
    lines = [*strict(setup), 'exec "$@"']
    return shlex.join(["bash", "-c", "\n".join(lines), "setup", sys.executable] if setup else [sys.executable])


def _parts(job_id: str) -> tuple[int, Path]:
    pid, _, folder = job_id.partition("@")
    return int(pid), Path(folder)


@contextmanager
def _apart() -> Iterator[None]:
    """What is started in the block ignores Ctrl-C and the closing of the terminal, and holds none of our streams.

    submitit has no say in either. A pipe that a job held open would keep its reader waiting when the driver is gone.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
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
