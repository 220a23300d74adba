"""Sessions as jobs: one face over what carries them out. The backends never import each other.

    local    a process of this host for each, which outlives the driver
    slurm    a batch job for each
    inline   the driver's own process, one after the other

A job gets the path of its session's file and nothing else, and is believed by what it leaves on disk: records, and
`events.jsonl`. What a backend knows beyond that is whether the job still lives.
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
    unknown = "unknown"  # whoever knows does not answer: what was last known holds


class JobEnd(Enum):
    """How a job ended, as far as the backend can tell; what was measured is on disk whatever this says."""

    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"
    time_limit = "time_limit"
    preempted = "preempted"
    lost = "lost"  # it is gone and nobody says why: killed, or its node died


@dataclass(frozen=True)
class State:
    """A job as its backend sees it."""

    phase: JobPhase
    end: JobEnd | None = None  # of one that has ended
    detail: str = ""  # for people: why it waits, on which node it runs, how it ended


@dataclass(frozen=True)
class Submission:
    """One session, ready to be carried out."""

    session: Session
    path: Path  # of its session.json, absolute; the folder around it is the job's
    resources: Resources
    on_event: Callable[[], object] = lambda: None  # after each event, where the session runs in the driver's process
    note: Callable[[str], object] = lambda _: None  # takes an id that finds the job before it has its own


def backend(name: str) -> Jobs:
    """The backend of this name. Each is imported only where it is used."""
    made: Jobs = getattr(import_module(f"{__name__}.{name}"), name.capitalize())()
    return made


def strict(setup: Sequence[str]) -> list[str]:
    """These lines of bash, of which one that fails ends the job."""
    return ["set -e", *setup, "set +e"] if setup else []


class Jobs(Protocol):
    """A backend. None of this raises where a job is gone; a scheduler that refuses a job raises Refused."""

    name: str  # hydra/launcher's word for it
    on_this_host: bool  # its sessions use this host's GPUs and cores

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Job ids, in order. They mean the same to another driver on this host, or of this cluster.

        A batch larger than `launcher.max_parallel` is all that there is of its experiments, and keeps the bound itself.
        """
        ...

    def states(self, ids: Sequence[str]) -> dict[str, State]:
        """The state of each id: of jobs of this driver or of an earlier one."""
        ...

    def cancel(self, ids: Sequence[str]) -> None:
        """Asks these jobs to end; returns at once."""
        ...

    def log(self, job_id: str, folder: Path) -> Path | None:
        """What the job of the session in this folder prints to; there once it has begun. None: the driver's own."""
        ...
