"""One session on its way through a campaign.

to_submit ── submitted ──> in_flight ── finish ──> done
│  ^ ───── follow ───────^ │ │
│  └──────── retry ────────┘ │
└──────── finish ────────────┘   nothing to measure, recorded as infeasible, or cancelled
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from enum import Enum
from functools import cached_property, partial
from pathlib import Path

from vbench.campaign.jobfile import JobFile
from vbench.campaign.jobs import JobEnd, JobPhase, Jobs, JobState, Submission
from vbench.campaign.results import Results
from vbench.plan.resources import Resources, expected_s, resources
from vbench.plan.sessions import Run, Session
from vbench.schema import Rerun
from vbench.schema.failures import Kind
from vbench.schema.record import Failure, put_aside
from vbench.session import sessionfile
from vbench.watch import EVENTS, Event, EventReader

# Of slurmstepd, as it kills a step for its memory, or sees that the kernel did: SLURM 17 to 25.
KILLED_FOR_MEMORY = re.compile(r"^slurmstepd\S* error: .*(exceeded .*memory limit|oom[-_ ]kill)", re.IGNORECASE)


class TaskState(Enum):
    """Where a session is."""

    to_submit = "to submit"  # runs are missing, and no job has this session
    in_flight = "in flight"  # a job has it
    done = "done"  # nothing is left to measure, or we no longer try


@dataclasses.dataclass(frozen=True)
class Job:
    """The job that has a session: its backend, what job.json says of it, and the session's folder."""

    backend: Jobs
    file: JobFile
    folder: Path

    def last_line(self) -> str:
        """The line that tells why the job was killed, else the last that it printed, and where its log is; empty if it
        printed nothing.
        """
        lines = self._printed()
        told = [line for line in lines if KILLED_FOR_MEMORY.search(line)] or lines[-1:]
        return f"{told[0]} (log: {self.backend.log(self.file.id, self.folder)})" if told else ""

    def killed_for_memory(self) -> bool:
        """Whether its log says that it was killed because it used more memory than it had asked for."""
        return any(map(KILLED_FOR_MEMORY.search, self._printed()))

    def _printed(self) -> list[str]:
        """The lines of its log without submitit's own, which explain no failure: `Exiting after successful …`."""
        log = self.backend.log(self.file.id, self.folder)
        printed = log.read_text(errors="replace").splitlines() if log and log.exists() else []
        return [line for line in printed if line.strip() and not line.startswith("submitit INFO")]


@dataclasses.dataclass(eq=False)
class Task:
    """A session, its results, and the job that has it, if one does."""

    session: Session
    folder: Path
    rerun_requested: Rerun  # which runs to measure again although they have a record
    state: TaskState = TaskState.to_submit
    job: Job | None = None  # while in flight
    submissions: int = 0  # by this driver
    rerun_pending: Rerun = dataclasses.field(init=False)  # the part of rerun_requested that no job has yet

    def __post_init__(self) -> None:
        self.rerun_pending = self.rerun_requested

    @cached_property
    def results(self) -> Results:
        return Results(self.session, self.folder)

    @cached_property
    def resources(self) -> Resources:
        return resources(self.session)

    @cached_property
    def order(self) -> tuple[float, ...]:
        """Sort key: round by round of `engine.restarts`, so that a drifting host meets every point alike.

        In each round largest first, then longest, so that small sessions remain for the end.
        """
        return self.session.engine.restart, -self.resources.gpus, -expected_s(self.session)

    @cached_property
    def events(self) -> EventReader:
        return EventReader(self.folder)

    def find_missing_runs(self) -> tuple[Run, ...]:
        """The runs to be measured."""
        return self.results.find_missing(self.rerun_pending)

    # Transitions

    def follow(self, job: Job) -> None:
        """Notes that a job of another or an earlier command has the session."""
        self.__dict__.pop("events", None)  # read its events from the start
        self.job, self.rerun_pending, self.state = job, Rerun.none, TaskState.in_flight

    def note_submission(self, jobs: Jobs, job_id: str) -> None:
        """Notes, also in job.json, that a job of this command has the session."""
        self.job = Job(jobs, self._note(jobs.name, job_id), self.folder)
        self.rerun_pending, self.state = Rerun.none, TaskState.in_flight
        self.submissions += 1

    def retry(self) -> None:
        """Notes that its job has ended, and that the missing runs are to be submitted again."""
        self.job, self.state = None, TaskState.to_submit

    def finish(self) -> None:
        """Marks it done: nothing of it will be submitted any more."""
        self.job, self.state = None, TaskState.done

    # What submission and end write to disk

    def prepare(self, launcher: str, on_event: Callable[[], object]) -> Submission | None:
        """Writes the session file for the missing runs, and puts old records aside.

        None if another process is measuring the session, or if nothing is missing any more: then the task is done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if sessionfile.is_held(self.folder):
            return None
        with sessionfile.hold(self.folder):
            left = dataclasses.replace(self.session, runs=self.find_missing_runs())
            if not left.runs:
                self.finish()
                return None
            self._note(launcher, "")
            for run in left.runs:
                put_aside(self.folder / run.folder)
            if self.rerun_pending is Rerun.all:
                self.results.put_probes_aside(left.runs)
            (self.folder / EVENTS).unlink(missing_ok=True)
            self.__dict__.pop("events", None)
            path = sessionfile.write(left, self.folder).absolute()
        return Submission(left, path, self.resources, on_event, partial(self._note, launcher))

    def record_infeasible(self, failure: Failure) -> list[Event]:
        """Records the missing runs as failed, without a job; returns the events for it."""
        now = datetime.now(timezone.utc)
        return [self.results.record_failure(run, failure, now) for run in self.find_missing_runs()]

    def record_unmeasured(self, ended: JobState) -> list[Event]:
        """Records as failed the runs that the ended job left without a record; returns the events for it."""
        end = self._end(ended)
        failure = Failure(KINDS[end], f"its job ended ({end.name}) before it was measured: {self.why(ended)}")
        began = datetime.fromisoformat(self.job.file.submitted_at) if self.job else datetime.now(timezone.utc)
        unmeasured = [run for run, record in self.results.pair_with_records() if record is None]
        return [self.results.record_failure(run, failure, began) for run in unmeasured]

    def why_missing(self, ended: JobState) -> str:
        """Why runs are missing after the job's end: the failures that it recorded, else how it ended."""
        records = [record for _, record in self.results.pair_with_records()]
        failures = [record.failure for record in records if record and record.failure and not record.final]
        reasons = list(dict.fromkeys(f"{failure.kind}: {failure.line}" for failure in failures))
        if None in records or not reasons:
            reasons.append(f"{self._end(ended).name}: {self.why(ended)}")
        return "; ".join(reasons)

    def why(self, ended: JobState) -> str:
        """Why its job ended: what the backend reports, and the job's last line of output."""
        printed = self.job.last_line() if self.job else ""
        return ": ".join(filter(None, [ended.detail, printed])) or "it printed nothing"

    def _end(self, ended: JobState) -> JobEnd:
        """How its job ended. SLURM may call a job FAILED whose step was killed for its memory: only the log tells."""
        unexplained = ended.end in (JobEnd.failed, JobEnd.lost, None)
        if unexplained and self.job and self.job.killed_for_memory():
            return JobEnd.out_of_memory
        return ended.end or JobEnd.lost

    def _note(self, launcher: str, job_id: str) -> JobFile:
        return JobFile.create(launcher, self.rerun_requested, job_id).write(self.folder)


KINDS: dict[JobEnd, Kind] = {
    JobEnd.completed: "client_failed",
    JobEnd.failed: "client_failed",
    JobEnd.cancelled: "cancelled",
    JobEnd.time_limit: "time_limit",
    JobEnd.preempted: "preempted",
    JobEnd.out_of_memory: "oom_host",
    JobEnd.node_failed: "node_failed",
    JobEnd.lost: "client_failed",
}


def in_state(tasks: Sequence[Task], state: TaskState) -> list[Task]:
    return [task for task in tasks if task.state is state]


def to_submit(tasks: Sequence[Task]) -> list[Task]:
    """The tasks still to be submitted, in that order."""
    return sorted(in_state(tasks, TaskState.to_submit), key=lambda task: task.order)


def states(jobs: Sequence[Job]) -> list[JobState]:
    """The states of these jobs, in order; each backend is asked once.

    A job that was being submitted when its driver died may have no id: the lock on its session shows whether it lives.
    """
    ids = defaultdict(list)
    for job in jobs:
        if job.file.id:
            ids[job.backend].append(job.file.id)
    by_job = {(jobs.name, each): state for jobs, some in ids.items() for each, state in jobs.states(some).items()}
    return [by_job.get((job.backend.name, job.file.id)) or _state_by_lock(job) for job in jobs]


def _state_by_lock(job: Job) -> JobState:
    return JobState(JobPhase.running if sessionfile.is_held(job.folder) else JobPhase.ended, JobEnd.lost)
