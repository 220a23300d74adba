"""Decides which command may submit a session: one command at a time, under a lock, from what is on disk.

If another command has submitted a job meanwhile, we follow that job instead of submitting a second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vbench.campaign.jobfile import JOB, JobFile
from vbench.campaign.jobs import NAMES, JobPhase, Jobs, backend
from vbench.campaign.leftovers import remove_leftovers
from vbench.campaign.task import Job, Task, states
from vbench.host import locks
from vbench.schema import Rerun

LOCK = "submit.lock"  # in the experiment's folder


@contextmanager
def hold_experiments(tasks: Sequence[Task]) -> Iterator[None]:
    """No other command submits to the experiments of these tasks during the block."""
    with ExitStack() as held:
        for folder in sorted({task.folder.parent for task in tasks}):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locks.hold(folder / LOCK))
        yield


def follow_living_jobs(tasks: Sequence[Task], jobs: Jobs) -> list[Task]:
    """Follows the living jobs that job.json names for these tasks; returns the tasks that have one.

    If the command that submitted such a job asked for the same rerun, the rerun is not requested again.
    """
    backends = {jobs.name: jobs}
    found = []
    for task in tasks:
        file = job_file(task.folder)
        if file:
            if file.rerun == task.rerun_requested.name:
                task.rerun_pending = Rerun.none
            if file.launcher not in backends:
                backends[file.launcher] = backend(file.launcher)
            found.append((task, Job(backends[file.launcher], file, task.folder)))
    alive = [each for each, lives in zip(found, _alive([job for _, job in found]), strict=True) if lives]
    for task, job in alive:
        task.follow(job)
    return [task for task, _ in alive]


def forget(tasks: Sequence[Task], jobs: Jobs) -> None:
    """Removes job files and leftovers of a campaign that has ended, except where another command has the session."""
    with hold_experiments(tasks):
        others = follow_living_jobs([task for task in tasks if (task.folder / JOB).exists()], jobs)
        for task in tasks:
            if task in others:
                task.finish()
                continue
            if job_file(task.folder):
                JobFile.remove(task.folder)
            remove_leftovers(task.folder)


def jobs_of_other_commands(tasks: Sequence[Task], jobs: Jobs) -> int:
    """How many living jobs other commands have on this backend in the experiments of these tasks."""
    ours = {task.folder for task in tasks}
    folders = {path.parent for folder in {task.folder.parent for task in tasks} for path in folder.glob(f"*/{JOB}")}
    files = ((folder, job_file(folder)) for folder in folders - ours)
    theirs = [Job(jobs, file, folder) for folder, file in files if file and file.launcher == jobs.name and file.id]
    return sum(_alive(theirs))


def describe_unreadable(tasks: Sequence[Task]) -> Iterator[str]:
    """A line for each job.json of these tasks that is truncated or foreign."""
    for task in tasks:
        if (task.folder / JOB).exists() and job_file(task.folder) is None:
            yield f"{task.folder / JOB}: ignored, not a job file of this version"


def job_file(folder: Path) -> JobFile | None:
    """The session's job.json. A truncated or foreign one counts as none; the next submission overwrites it."""
    try:
        file = JobFile.read(folder)
    except ValueError:
        return None
    return file if file and file.launcher in NAMES else None


def _alive(jobs: Sequence[Job]) -> list[bool]:
    return [state.phase is not JobPhase.ended for state in states(jobs)]
