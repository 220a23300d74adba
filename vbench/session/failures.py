"""Records the failures of a session: before its start, if it cannot succeed; later, for the run that failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from vbench.engine import environment, identity
from vbench.engine.server import keep_logs
from vbench.loadgen import ClientLost
from vbench.plan import fit, ladders
from vbench.plan.sessions import Run, Session
from vbench.schema.errors import Refused, ServerChanged, ServerFailed
from vbench.schema.record import RECORD, Failure, Record, find_record, is_aside
from vbench.session.context import SessionContext, blank_record
from vbench.watch import Events


def infeasible_reason(session: Session, folder: Path) -> Failure | None:
    """Why a start cannot succeed, from the session's plan or from records of the experiment's other sessions."""
    version = identity.ask_engine_version(session.engine)
    smaller = ladders.find_smaller_oom(session, version, _neighbours(session, folder))
    return identity.find_plan_mismatch(session, version) or fit.find_infeasibility(session) or smaller


def record_unstarted(session: Session, folder: Path, events: Events, runs: Iterable[Run], failure: Failure) -> None:
    """Records the failure for runs whose servers were never started."""
    now = datetime.now(timezone.utc)
    facts = environment.describe_environment(session.engine, ())
    events.write_failed(failure)
    for run in runs:
        run_folder = folder / run.folder
        run_folder.mkdir(parents=True, exist_ok=True)
        record = replace(blank_record(session, run, facts, now), failure=failure)
        record.save(run_folder)
        events.write_recorded(record, run_folder)


def record_failure(context: SessionContext, left: deque[Run], error: ServerFailed | ClientLost | Refused) -> None:
    """Records the failure for the run that was being measured; if none was, the start failed, and so do all runs.

    A failed run is not tried again in this session. Runs that fail with the start are removed from `left`, and so are
    all if the server is another one now: they were planned, and are named, by what it was.
    """
    failure = _failure(error)
    context.events.write_failed(failure)
    begun = [run for run in context.session.runs if run not in left and not find_record(context.folder / run.folder)]
    if begun and isinstance(error, ServerChanged):
        begun += left
        left.clear()
    for run in begun or context.session.runs:
        keep_logs(context.folder, context.folder_of(run))
        context.save(run, replace(context.record(run, context.started), failure=failure))
    if not begun:
        left.clear()


def _failure(error: ServerFailed | ClientLost | Refused) -> Failure:
    if isinstance(error, ServerFailed):
        return Failure(error.kind, error.telling_line)
    return Failure("client_failed" if isinstance(error, ClientLost) else "infeasible", str(error))


def _neighbours(session: Session, folder: Path) -> Iterator[Record]:
    """Records of sessions of the same experiment and system; their folders' names differ by a hash."""
    system = session.folder.rpartition("-")[0]
    for path in folder.parent.glob(f"{system}-*/*/{RECORD}"):
        if not is_aside(path.parent):
            try:
                yield Record.load(path.parent)
            except (OSError, ValueError, KeyError, TypeError):  # from another version, or removed meanwhile
                continue
