"""The story of a session: lease its GPUs, start the servers, for each run load, measure, judge, record.

By hand: `python -m vbench.session multirun/EXPERIMENT/SESSION/session.json`
"""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vbench import tracking
from vbench.engine import attached, compilelog, environment, identity, routing, serverlog
from vbench.engine.attached import ExternalServer
from vbench.engine.server import Server, keep_logs, replicas
from vbench.host import cores
from vbench.host.interrupts import Interrupted, Interrupts
from vbench.host.leases import HostLease, leased
from vbench.loadgen import ClientLost, Workers, processes_for
from vbench.plan import fit, ladders
from vbench.plan.sessions import Run, Session
from vbench.schema.errors import Refused, ServerFailed
from vbench.schema.record import RECORD, Failure, Record, find_record, is_aside, put_aside
from vbench.session import sessionfile
from vbench.session.context import Servers, SessionContext, blank
from vbench.session.measuring import measure_until_trusted, started
from vbench.session.probing import search
from vbench.session.rehearsal import rehearse
from vbench.tracking.delivery import Delivery
from vbench.watch.events import Event, Events
from vbench.workload.search import streams

TOLD_TOGETHER_S = 1.0  # a scheduler ends all processes of a job: the server may be gone before we are told


def execute(session: Session, folder: Path, events: Events) -> None:
    """Measures each run of the session that has no final record below `folder`; failures are recorded, not raised.

    Whoever else executes this session is waited for, so that none of it is measured twice. Raises Interrupted where a
    signal ends it: servers are ended then, and what is unfinished stays unrecorded.
    """
    with Interrupts() as interrupts, sessionfile.alone(folder):
        left = deque(run for run in session.runs if not _known(folder / run.folder))
        for run in left:
            put_aside(folder / run.folder)
        try:
            if left and not _given_up(session, folder, events, left):
                with leased(session, events.waiting, session.launcher.exclusive) as share:
                    events.leased(share.uuids)
                    if not _given_up(session, folder, events, left):  # by what those have told that it has waited for
                        _execute(session, folder, events, share, left, interrupts)
        except Refused as refused:  # the host is not, or no longer, what the driver found it to be
            _record_unstarted(session, folder, events, left, Failure("gpu_lost", str(refused)))
        except Interrupted as interrupted:
            events.ended(interrupted.signal.name)
            raise
        events.ended("completed")


def _execute(
    session: Session, folder: Path, events: Events, share: HostLease, left: deque[Run], interrupts: Interrupts
) -> None:
    processes = _client_processes(session, len(share.cores))
    on_cpu = not session.hardware.gpus and not session.attached
    server_cores, client_cores = cores.split(share.cores, on_cpu, processes)
    where = {"server_cores": [] if session.attached else sorted(server_cores), "client_cores": sorted(client_cores)}
    held = {"held_since": datetime.now(timezone.utc).isoformat()}  # its share of the host: GPU time counts from here
    facts = environment.environment(session.engine, share.uuids) | where | held
    servers_share = dataclasses.replace(share, cores=server_cores)
    while left:  # each turn takes at least one run off: servers that do not start take all
        began = datetime.now(timezone.utc)
        rest = dataclasses.replace(session, runs=tuple(left))
        bench = SessionContext(rest, folder, servers_share, Workers(processes), facts, events, began)
        try:
            with cores.on_cores(client_cores), bench.workers:
                interrupts.run(_measure_all(bench, left))
        except (ServerFailed, ClientLost, Refused) as error:
            time.sleep(TOLD_TOGETHER_S)  # cut short where the end was that of the whole job
            _record_failure(bench, left, _failure(error))


async def _measure_all(bench: SessionContext, left: deque[Run]) -> None:
    """Takes each run off `left` as it begins, and records it as it ends. Raises ServerFailed, ClientLost, Refused."""
    bench.events.starting(bench.session)
    began = time.monotonic()
    async with _servers(bench) as servers:
        fleet = Servers(servers, _start_s(bench, began) | await _server_facts(bench.session, servers))
        fleet = dataclasses.replace(fleet, facts=fleet.facts | await rehearse(bench, fleet))
        bench.events.ready(fleet.facts)
        while left:
            run = left.popleft()
            load = run.config.workload
            find = started if load.start_only else search if load.search else measure_until_trusted
            bench.save(run, await find(bench, fleet, run))


def _servers(bench: SessionContext) -> AbstractAsyncContextManager[Sequence[Server | ExternalServer]]:
    if bench.session.attached:
        return attached.attached(bench.session.engine)
    return replicas(bench.session, bench.share, bench.folder)


def _start_s(bench: SessionContext, began: float) -> dict[str, float]:
    return {} if bench.session.attached else {"start_s": time.monotonic() - began}


async def _server_facts(session: Session, servers: Sequence[Server | ExternalServer]) -> dict[str, Any]:
    longest = [await server.check_identity() for server in servers]
    log, control = servers[0].log, servers[0].control
    text, version = log.read_text(errors="replace") if log else "", await control.version()
    return {
        "version": version,
        "engine": identity.reported(version, await control.owner(), text),
        "max_model_len": min((length for length in longest if length is not None), default=None),
        **(routing.describe(session.model, session.engine, text) | _log_facts(text) if log else {}),
    }


def _log_facts(log: str) -> dict[str, Any]:
    return serverlog.facts(log) | compilelog.facts(log)


def _client_processes(session: Session, cores: int) -> int:
    loads = [run.config.workload for run in session.runs]
    given = [load.client_processes for load in loads if load.client_processes]
    return max(given) if given else processes_for(max(map(streams, loads)), cores)


def _record_failure(bench: SessionContext, left: deque[Run], failure: Failure) -> None:
    """The run that had begun failed, and is not tried again; where none had, the start of all did, and so all."""
    bench.events.failed(failure)
    begun = [run for run in bench.session.runs if run not in left and not find_record(bench.folder / run.folder)]
    for run in begun or bench.session.runs:
        keep_logs(bench.folder, bench.folder_of(run))
        bench.save(run, dataclasses.replace(bench.record(run, bench.started), failure=failure))
    if not begun:
        left.clear()


def infeasible_reason(session: Session, folder: Path) -> Failure | None:
    """Why the session is not worth a start: by its plan, or by what the records of sessions beside its folder say."""
    version = identity.engine_version(session.engine)
    smaller = ladders.find_smaller_oom(session, version, _beside(session, folder))
    return identity.planned_otherwise(session, version) or fit.find_infeasibility(session) or smaller


def _given_up(session: Session, folder: Path, events: Events, left: deque[Run]) -> bool:
    """Whether what is left is not worth a start, and so is recorded as failed."""
    hopeless = infeasible_reason(session, folder)
    if hopeless:
        _record_unstarted(session, folder, events, left, hopeless)
    return hopeless is not None


def _beside(session: Session, folder: Path) -> Iterator[Record]:
    system = session.folder.rpartition("-")[0]  # what of a session's name is not its hash
    for path in folder.parent.glob(f"{system}-*/*/{RECORD}"):
        if not is_aside(path.parent):
            try:
                yield Record.load(path.parent)
            except (OSError, ValueError, KeyError, TypeError):  # of another version, or gone since
                continue


def _record_unstarted(session: Session, folder: Path, events: Events, left: deque[Run], failure: Failure) -> None:
    now = datetime.now(timezone.utc)
    facts = environment.environment(session.engine, ())
    events.failed(failure)
    for run in left:
        run_folder = folder / run.folder
        run_folder.mkdir(parents=True, exist_ok=True)
        record = dataclasses.replace(blank(session, run, facts, now), failure=failure)
        record.save(run_folder)
        events.recorded(record, run_folder)


def _known(folder: Path) -> bool:
    """Whether the run needs no measuring. A job that is begun again goes on behind what it has itself seen fail."""
    found, job = find_record(folder), os.environ.get("SLURM_JOB_ID")
    return found is not None and (found.final or (job is not None and found.environment.get("slurm_job") == job))


def _failure(error: ServerFailed | ClientLost | Refused) -> Failure:
    if isinstance(error, ServerFailed):
        return Failure(error.kind, error.telling_line)
    return Failure("client_failed" if isinstance(error, ClientLost) else "infeasible", str(error))


def job(path: str, minutes: float | None = None) -> None:
    """What a job does: the session of that file, told in events.jsonl beside it.

    After `minutes`, counted from when it has its share of the host, it ends as if a scheduler had ended it. Raises
    Interrupted, a SystemExit, where either is so.
    """
    folder = Path(path).parent
    try:
        given = sessionfile.read(Path(path))
    except Refused as refused:  # written by another version, or out of reach
        Events(folder).ended("refused")
        raise SystemExit(f"vbench: {refused}") from None
    filed = Delivery() if tracking.database() is None else None  # a local store has one writer: the driver

    def hear(event: Event) -> None:
        if minutes and event.kind == "leased":
            _end_in(minutes)
        if filed and event.kind == "recorded":
            filed.add(folder / event.facts["folder"])

    try:
        execute(given, folder, Events(folder, hear))
    finally:
        if filed:
            filed.close()
            for line in filed.report():
                print(f"not filed: {line}")  # noqa: T201  into the job's log: a driver tells what it cannot file itself


def _end_in(minutes: float) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGUSR2))
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
