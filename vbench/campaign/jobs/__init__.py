"""Sessions as jobs: one interface, three backends, which never import each other.

    local    a process of this host for each session, which outlives the driver
    slurm    a batch job for each session
    inline   the driver's own process, one session after the other

A job gets the path of its session file and nothing else, and is judged by what it leaves on disk: records and
`events.jsonl`. A backend adds whether the job is still alive, and how it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Protocol

from vbench.plan.resources import Resources
from vbench.plan.sessions import Session


class JobPhase(Enum):
    """Where a job is."""

    queued = "queued"
    running = "running"
    ended = "ended"
    unknown = "unknown"  # the backend does not answer: the last known phase holds


class JobEnd(Enum):
    """How a job ended, as far as the backend can tell. What was measured is on disk whatever this says."""

    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    time_limit = "time_limit"
    preempted = "preempted"
    out_of_memory = "out_of_memory"  # of the host: the job used more than it asked for
    node_failed = "node_failed"
    lost = "lost"  # it is gone, and the reason is unknown


@dataclass(frozen=True)
class JobState:
    """A job as its backend sees it."""

    phase: JobPhase
    end: JobEnd | None = None  # of a job that has ended
    detail: str = ""  # for display: why it waits, which node it runs on, how it ended


@dataclass(frozen=True)
class Submission:
    """One session, ready to be submitted."""

    session: Session
    path: Path  # of its session.json, absolute; the job writes into the folder around it
    resources: Resources
    on_event: Callable[[], object] = lambda: None  # called after each event if the session runs in the driver's process
    note: Callable[[str], object] = lambda _: None  # called with an id that finds the job before the backend names it


NAMES = ("local", "slurm", "inline")


def backend(name: str) -> Jobs:
    """The backend of this name. A backend is imported only when it is used."""
    jobs: Jobs = getattr(import_module(f"{__name__}.{name}"), name.capitalize())()
    return jobs


class Jobs(Protocol):
    """A backend. No method raises because a job is gone; `submit` raises Refused if a scheduler refuses a job."""

    name: str  # as in hydra/launcher=NAME
    on_this_host: bool  # its sessions use this host's GPUs and cores
    in_driver: bool  # its jobs have ended when `submit` returns

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Submits the sessions; returns their job ids, in order, valid for any driver on this host or cluster.

        If the batch exceeds `launcher.max_parallel`, no other job of these experiments exists, and the backend enforces
        the limit.
        """
        ...

    def states(self, ids: Sequence[str]) -> dict[str, JobState]:
        """The state of each job, whether this driver submitted it or an earlier one."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """Asks these jobs to end, and returns at once."""
        ...

    def describe_stop(self, job_id: str) -> str:
        """The shell command that ends the job as `cancel` does, for people; empty if there is none to paste."""
        ...

    def log(self, job_id: str, folder: Path) -> Path | None:
        """The file that the job of the session in this folder prints to, created when it starts. None: no log."""
        ...
