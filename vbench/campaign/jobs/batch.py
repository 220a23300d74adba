"""What a SLURM job does: its session, and to be queued again where the scheduler cuts it short.

A job that is begun again finds on disk what it has recorded and goes on behind it. Where it is begun over and over and
records nothing, the run in its way is given up, so that those behind it get their turn.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from vbench import session
from vbench.campaign.jobs import queue
from vbench.engine import environment
from vbench.host.interrupts import SIGNALS, Interrupted, Interrupts
from vbench.plan.sessions import Run, Session
from vbench.schema.failures import Kind
from vbench.schema.record import RECORD, Failure, atomic
from vbench.session import sessionfile
from vbench.session.context import blank
from vbench.watch.events import EventReader, Events

PATIENCE = 3  # times that a job is begun without recording anything
TURN = "turn.json"


@dataclass(frozen=True)
class Turn:
    """One beginning of a job, kept in the session's folder for the next."""

    job: str
    recorded: int  # records, of whatever verdict, that there were
    number: int  # of the beginnings that found so many
    cut: Kind = "preempted"  # how the one before it ended, as far as it was told: its node may also have died

    @classmethod
    def begin(cls, folder: Path, job_id: str) -> Turn:
        turn = cls(job_id, sum(1 for _ in folder.glob(f"*/{RECORD}")), 1)
        try:
            last = cls(**json.loads((folder / TURN).read_text()))
        except FileNotFoundError:
            return turn
        if last.job != job_id:
            return turn
        return replace(turn, number=last.number + 1 if last.recorded == turn.recorded else 1, cut=last.cut)

    def write(self, folder: Path) -> None:
        with atomic(folder / TURN) as partial:
            partial.write_text(json.dumps(asdict(self)) + "\n")


def job(path: str) -> None:
    """Carries out the session of this file. Raises Interrupted, a SystemExit, where the job is cut short.

    SLURM requeues what it preempts only once it has killed it: a job that ends of itself, as asked, ends for good. So
    this one asks to be queued again, unless the scheduler has already decided otherwise (scancel, scontrol requeue).
    """
    folder, job_id = Path(path).parent, os.environ["SLURM_JOB_ID"]
    with Interrupts():
        turn = Turn.begin(folder, job_id)
        turn.write(folder)
        try:
            if turn.number > PATIENCE:
                _give_up(sessionfile.read(Path(path)), folder, turn)
            session.job(path)
        except Interrupted:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            now = queue.Running.of(job_id)
            replace(turn, cut="time_limit" if now and now.near_its_limit else "preempted").write(folder)
            if now:
                queue.requeue(job_id)
            raise


def _give_up(session_of: Session, folder: Path, turn: Turn) -> None:
    events = Events(folder)
    failure = Failure(turn.cut, f"the job was begun {turn.number - 1} times and got no further")
    for run in _in_the_way(session_of, folder):
        facts = environment.environment(run.config.engine, [])
        record = replace(blank(session_of, run, facts, datetime.now(timezone.utc)), failure=failure)
        (folder / run.folder).mkdir(exist_ok=True)
        record.save(folder / run.folder)
        events.recorded(record, folder / run.folder)


def _in_the_way(session_of: Session, folder: Path) -> Sequence[Run]:
    """The next run; all that are left where not even the servers have become ready."""
    left = [run for run in session_of.runs if not (folder / run.folder / RECORD).exists()]
    came_to = [event.kind for event in EventReader(folder).read() if event.kind in {"starting", "ready", "measuring"}]
    return left if came_to[-1:] == ["starting"] else left[:1]
