"""What a SLURM job does: it executes its session, and asks to be requeued if the scheduler cuts it short.

A restarted job finds its records on disk and continues after them. If it is restarted repeatedly and records nothing,
it gives up on the run that blocks it, so that the runs after that one can be measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from vbench.campaign.jobs import entry, queue
from vbench.campaign.jobs.printing import redacted_output
from vbench.engine import environment
from vbench.host.interrupts import Interrupted, Interrupts
from vbench.plan.sessions import Run, Session
from vbench.schema.failures import Kind
from vbench.schema.record import RECORD, Failure, atomic
from vbench.session import sessionfile
from vbench.session.context import blank_record
from vbench.watch import EventReader, Events

PATIENCE = 3  # starts of a job that record nothing, before a run is given up
ATTEMPT = "turn.json"
FOLDER = "slurm"  # below the experiment's folder: scripts, pickles, and the jobs' logs
LOG_TAIL = 65536  # bytes of a log that are searched for SLURM's last word


@dataclass(frozen=True)
class Attempt:
    """One start of a job, kept in the session's folder for the next start."""

    job: str
    recorded: int  # records, of any verdict, that existed when it started
    number: int  # of this start among those that found as many records
    cut: Kind | None = None  # how the start before it ended; None if it is the first
    ended: Kind | None = None  # how this start was ended; None while it runs and if it was killed without a signal

    @classmethod
    def begin(cls, folder: Path, job_id: str) -> Attempt:
        first = cls(job_id, sum(1 for _ in folder.glob(f"*/{RECORD}")), 1)
        try:
            last = cls(**json.loads((folder / ATTEMPT).read_text()))
        except (OSError, ValueError, TypeError):  # none yet, or truncated because the node failed
            return first
        if last.job != job_id:
            return first
        number = last.number + 1 if last.recorded == first.recorded else 1
        # A scheduler that takes a job's resources sends a signal first; a node that dies sends none.
        return replace(first, number=number, cut=last.ended or "node_failed")

    def write(self, folder: Path) -> None:
        with atomic(folder / ATTEMPT) as partial:
            partial.write_text(json.dumps(asdict(self)) + "\n")


def job(path: str) -> None:
    """Executes the session of this file. Raises Interrupted, a SystemExit, if the job is cut short.

    SLURM requeues a preempted job only if SLURM had to kill it; a job that ends when asked to is not requeued. So this
    job asks to be requeued, unless the scheduler has decided otherwise (scancel, scontrol requeue).
    """
    with redacted_output():
        _execute(path)


def _execute(path: str) -> None:
    folder, job_id = Path(path).parent, os.environ["SLURM_JOB_ID"]
    attempt = Attempt.begin(folder, job_id)

    def note_end(kind: Kind) -> None:
        with suppress(OSError):  # a full disk must not keep the job from ending its servers and being requeued
            replace(attempt, ended=kind).write(folder)

    # noted at the signal, because the scheduler may kill the job before its servers have ended
    with Interrupts(on_signal=lambda: note_end("preempted")):
        try:
            attempt.write(folder)
            if attempt.number > PATIENCE:
                _give_up(sessionfile.read(Path(path)), folder, attempt)
            entry.run_and_deliver(path)
        except Interrupted as interrupted:
            own = queue.OwnJob.find(_full_id(job_id))
            if own.is_ending and _says_node_failed(log_path(_full_id(job_id), folder)):
                note_end("node_failed")
            elif own.is_near_limit:
                note_end("time_limit")
            _print_end(interrupted, own, "" if own.is_ending else queue.requeue(_full_id(job_id)))
            raise


def _print_end(interrupted: Interrupted, own: queue.OwnJob, refusal: str) -> None:
    """Prints into the job's log whether it is queued again, and if not, why."""
    state = own.state or "unknown, as squeue does not answer"
    if own.is_ending:
        end = f"not requeued by itself: SLURM has decided about it already (state {state})"
    else:
        end = f"not requeued: {refusal} (state before: {state})" if refusal else f"requeued (state before: {state})"
    print(f"vbench: {interrupted.signal.name}; {end}", flush=True)  # noqa: T201


def log_path(job_id: str, folder: Path) -> Path:
    """The log of a job (123, or 123_4 in an array) whose session has this folder."""
    return folder.parent / FOLDER / f"{job_id}_0_log.out"


def _full_id(job_id: str) -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job_id


def _says_node_failed(log: Path) -> bool:
    """Whether slurmd's last line on a cancelled step names a node failure. It sends a signal then if it still runs.

    "*** STEP 8.0 ON a100n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***"
    """
    try:
        lines = log.read_bytes()[-LOG_TAIL:].splitlines()
    except OSError:
        return False
    cancelled = [line for line in lines if line.startswith(b"slurmstepd") and b" CANCELLED AT " in line]
    return bool(cancelled) and b"DUE TO NODE FAILURE" in cancelled[-1]


def _give_up(interrupted: Session, folder: Path, attempt: Attempt) -> None:
    events = Events(folder)
    failure = Failure(attempt.cut or "preempted", f"the job was started {attempt.number - 1} times and got no further")
    for run in _runs_in_the_way(interrupted, folder):
        facts = environment.describe_environment(run.config.engine, [])
        record = replace(blank_record(interrupted, run, facts, datetime.now(timezone.utc)), failure=failure)
        (folder / run.folder).mkdir(exist_ok=True)
        record.save(folder / run.folder)
        events.write_recorded(record, folder / run.folder)


def _runs_in_the_way(interrupted: Session, folder: Path) -> Sequence[Run]:
    """The next run, or all runs that are left if not even the servers became ready."""
    left = [run for run in interrupted.runs if not (folder / run.folder / RECORD).exists()]
    reached = [event.kind for event in EventReader(folder).read() if event.kind in {"starting", "ready", "measuring"}]
    return left if reached[-1:] == ["starting"] else left[:1]
