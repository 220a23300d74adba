"""One session on its way through a campaign: what of it is known, which job has it, what it left."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path

import vbench
from vbench.campaign.jobfile import JOB, JobFile
from vbench.campaign.jobs import JobEnd, JobPhase, Jobs, State, Submission, backend
from vbench.host import locks
from vbench.plan.resources import Resources, expected_s, resources
from vbench.plan.reusable import reusable
from vbench.plan.sessions import Run, Session
from vbench.schema import Rerun
from vbench.schema.failures import Kind
from vbench.schema.record import RECORD, Failure, Record, find_record, is_aside, put_aside
from vbench.session import sessionfile
from vbench.session.context import blank
from vbench.watch.events import EVENTS, Event, EventReader

SUBMITTING = "submit.lock"  # in the experiment's folder
KINDS: Mapping[JobEnd, Kind] = {
    JobEnd.cancelled: "cancelled",
    JobEnd.time_limit: "time_limit",
    JobEnd.preempted: "preempted",
}


@dataclasses.dataclass
class Task:
    """A session, its folder, and the job that has it, if one does."""

    session: Session
    folder: Path
    rerun_requested: Rerun  # what of it is to be measured again though it is known
    rerun_pending: Rerun = Rerun.none  # what of that is not yet under way
    elsewhere: dict[str, Record] = dataclasses.field(default_factory=dict)  # by run key: what only the store has
    job: JobFile | None = None
    jobs: Jobs | None = None  # the backend of the job
    submissions: int = 0  # by this driver
    over: bool = False

    @cached_property
    def resources(self) -> Resources:
        return resources(self.session)

    @cached_property
    def order(self) -> tuple[float, ...]:
        """Largest first, then longest: what is left over at the end is small."""
        return -self.resources.gpus, -expected_s(self.session)

    @cached_property
    def tail(self) -> EventReader:
        return EventReader(self.folder)

    def attach(self, jobs: Jobs) -> None:
        """Takes up what an earlier driver began: its job, where that lives, and what it was asked to measure again."""
        self.rerun_pending, earlier = self.rerun_requested, JobFile.read(self.folder)
        if earlier is None:
            return
        self.jobs = jobs if jobs.name == earlier.launcher else backend(earlier.launcher)
        self.job = earlier
        if next(state for _, state in states([self])).phase is JobPhase.ended:
            self.job = None
        if self.job or earlier.rerun == self.rerun_requested.name:
            self.rerun_pending = Rerun.none

    def records(self) -> Iterator[tuple[Run, Record | None]]:
        """The runs of the plan with their records, here or in the store."""
        for run in self.session.runs:
            yield run, find_record(self.folder / run.folder) or self.elsewhere.get(run.key)

    def missing(self) -> tuple[Run, ...]:
        """The runs to be measured."""
        return tuple(run for run, record in self.records() if not reusable(record, self.rerun_pending))

    def submission(self, launcher: str, on_event: Callable[[], object]) -> Submission | None:
        """The session file of what is missing, and room for its records.

        None while another process measures it; and where that has left nothing to do, which is then over.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if sessionfile.taken(self.folder):
            return None
        with sessionfile.alone(self.folder):
            left = dataclasses.replace(self.session, runs=self.missing())
            if not left.runs:
                self.over = True
                return None
            self._note(launcher, "")
            for run in left.runs:
                put_aside(self.folder / run.folder)
            (self.folder / EVENTS).unlink(missing_ok=True)
            self.__dict__.pop("tail", None)
            path = sessionfile.write(left, self.folder).absolute()
        return Submission(left, path, self.resources, on_event, partial(self._note, launcher))

    def submitted(self, jobs: Jobs, job_id: str) -> None:
        """Notes the job that has the session now."""
        self.job = self._note(jobs.name, job_id)
        self.jobs, self.rerun_pending = jobs, Rerun.none
        self.submissions += 1

    def _note(self, launcher: str, job_id: str) -> JobFile:
        return JobFile.now(launcher, self.rerun_requested, job_id).write(self.folder)

    def skip(self, failure: Failure) -> list[Event]:
        """Records what is missing as failed, without a job; the events that tell of it."""
        missing = self.missing()
        self.folder.mkdir(parents=True, exist_ok=True)
        for run in missing:
            put_aside(self.folder / run.folder)
        return [self._fail(run, failure) for run in missing]

    def fail(self, state: State) -> list[Event]:
        """Records what its job, ended, left unrecorded; the events that tell of it."""
        ended = state.end or JobEnd.lost
        line = f"its job ended ({ended.name}) before it was measured: {self.why(state)}"
        failure = Failure(KINDS.get(ended, "client_failed"), line)
        return [self._fail(run, failure) for run, record in self.records() if record is None]

    def why(self, state: State) -> str:
        """What its backend says of the end of its job, and what the job printed last."""
        return ": ".join(filter(None, [state.detail, self._last_words()])) or "it left no word"

    def _last_words(self) -> str:
        log = self.jobs.log(self.job.id, self.folder) if self.jobs and self.job else None
        lines = log.read_text(errors="replace").strip().splitlines() if log and log.exists() else []
        return f"{lines[-1]} (log: {log})" if lines else ""

    def _fail(self, run: Run, failure: Failure) -> Event:
        began = datetime.fromisoformat(self.job.submitted_at) if self.job else datetime.now(timezone.utc)
        record = dataclasses.replace(blank(self.session, run, {"vbench": vbench.__version__}, began), failure=failure)
        folder = self.folder / run.folder
        folder.mkdir(exist_ok=True)
        record.save(folder)
        return Event.recorded(record, folder)

    def found(self) -> Iterator[tuple[Path, Record]]:
        """All records of its plan on disk, with their folders: a search's probes before it."""
        for run in self.session.runs:
            record = find_record(self.folder / run.folder)
            if record and run.config.workload.search:
                probes = sorted(self.folder.glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)
                for path in probes:
                    probe = Record.load(path.parent)
                    if probe.parent == run.key and not is_aside(path.parent):
                        yield path.parent, probe
            if record:
                yield self.folder / run.folder, record


def states(tasks: Sequence[Task]) -> Iterator[tuple[Task, State]]:
    """Of the jobs of these tasks; each backend is asked once.

    A job that was being submitted when its driver died may have no id: it shows by the lock on its session.
    """
    ids = defaultdict(list)
    for task in tasks:
        if task.jobs and task.job and task.job.id:
            ids[task.jobs].append(task.job.id)
    told = {job_id: state for jobs, theirs in ids.items() for job_id, state in jobs.states(theirs).items()}
    for task in tasks:
        job_id = task.job.id if task.job else ""
        unnamed = State(JobPhase.running if sessionfile.taken(task.folder) else JobPhase.ended, JobEnd.lost)
        yield task, told.get(job_id, unnamed)


@contextmanager
def submitting(tasks: Sequence[Task]) -> Iterator[None]:
    """No other command submits to the experiments of these tasks during the block, if it asks too."""
    with ExitStack() as turns:
        for folder in sorted({task.folder.parent for task in tasks}):
            folder.mkdir(parents=True, exist_ok=True)
            turns.enter_context(locks.hold(folder / SUBMITTING))
        yield


def beside(tasks: Sequence[Task], jobs: Jobs) -> int:
    """How many jobs of this backend live that other commands have in the experiments of these tasks."""
    ours = {task.folder for task in tasks}
    others = {path.parent for folder in {task.folder.parent for task in tasks} for path in folder.glob(f"*/{JOB}")}
    files = [JobFile.read(folder) for folder in others - ours]
    ids = [each.id for each in files if each and each.launcher == jobs.name and each.id]
    return sum(state.phase is not JobPhase.ended for state in jobs.states(ids).values())
