"""The story of a session: lease its GPUs, start the servers, rehearse, then measure and record each run.

By hand: `python -m vbench.session multirun/EXPERIMENT/SESSION/session.json`
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from vbench.engine import environment
from vbench.engine.command import find_unset_variable
from vbench.host import cores, gpus
from vbench.host.interrupts import Interrupted, Interrupts
from vbench.host.leases import HostLease, hold_lease
from vbench.loadgen import ClientLost, Workers, choose_count
from vbench.plan.sessions import Run, Session
from vbench.schema.errors import Refused, ServerFailed
from vbench.schema.failures import Kind
from vbench.schema.record import Failure, find_record, put_aside
from vbench.schema.secrets import declare
from vbench.session import sessionfile
from vbench.session.context import SessionContext
from vbench.session.failures import infeasible_reason, record_failure, record_unstarted
from vbench.session.measuring import measure_until_trusted, record_start
from vbench.session.probing import search
from vbench.session.rehearsal import rehearse
from vbench.session.serving import ready_servers
from vbench.session.starts import find_usual_starts
from vbench.watch import Events
from vbench.workload.search import streams

SIGNAL_DELAY_S = 1.0  # a scheduler ends all processes of a job at once: the server may die before our signal comes


def execute(session: Session, folder: Path, events: Events) -> None:
    """Measures each run of the session that has no final record below `folder`; failures are recorded, not raised.

    Waits for any other process that executes this session, so that no run is measured twice. Raises Interrupted if a
    signal ends it: the servers are stopped, and unfinished runs stay unrecorded.
    """
    for name in session.engine.env_from:
        declare(os.environ.get(name, ""))
    with Interrupts() as interrupts, sessionfile.hold(folder):
        left = deque(run for run in session.runs if not _is_done(folder / run.folder))
        for run in left:
            put_aside(folder / run.folder)
        try:
            if left and (unset := find_unset_variable(session.engine, os.environ)):
                record_unstarted(session, folder, events, left, Failure("variable_unset", unset))
            elif left and not _give_up(session, folder, events, left):
                with hold_lease(session, events.write_waiting, session.launcher.exclusive) as lease:
                    events.write_leased(lease.uuids)
                    if not _give_up(session, folder, events, left):  # sessions that it waited for may have failed
                        _measure_runs(session, folder, events, lease, left, interrupts)
        except Refused as refused:
            record_unstarted(session, folder, events, left, Failure(_why_refused(session), str(refused)))
        except Interrupted as interrupted:
            events.write_ended(interrupted.signal.name)
            raise
        events.write_ended("completed")


def _measure_runs(
    session: Session, folder: Path, events: Events, lease: HostLease, left: deque[Run], interrupts: Interrupts
) -> None:
    """Measures what is left, with new servers after each failure."""
    processes = _client_processes(session, len(lease.cores))
    on_cpu = not session.hardware.gpus and not session.is_external
    server_cores, client_cores = cores.split_servers_and_client(lease.cores, on_cpu, processes)
    where = {"server_cores": [] if session.is_external else sorted(server_cores), "client_cores": sorted(client_cores)}
    held = {"held_since": datetime.now(timezone.utc).isoformat()}  # GPU time counts from here
    facts = environment.describe_environment(session.engine, lease.uuids) | where | held
    servers_lease = replace(lease, cores=server_cores)
    while left:  # each time at least one run is taken off: if the servers do not start, all are
        began = datetime.now(timezone.utc)
        rest = replace(session, runs=tuple(left))
        context = SessionContext(rest, folder, servers_lease, Workers(processes), facts, events, began)
        try:
            with cores.pin_to_cores(client_cores), context.workers:
                interrupts.run(_measure_on_servers(context, left))
        except (ServerFailed, ClientLost, Refused) as error:
            time.sleep(SIGNAL_DELAY_S)  # cut short if the whole job is being ended
            record_failure(context, left, error)


async def _measure_on_servers(context: SessionContext, left: deque[Run]) -> None:
    """Takes each run off `left` as it begins, and records it as it ends. Raises ServerFailed, ClientLost, Refused."""
    context.events.write_starting(context.session, find_usual_starts(context.session))
    async with ready_servers(context) as cold:
        servers = replace(cold, facts=cold.facts | await rehearse(context, cold, left))
        context.events.write_ready(servers.facts)
        while left:
            run = left.popleft()
            load = run.config.workload
            measure = record_start if load.start_only else search if load.search else measure_until_trusted
            context.save(run, await measure(context, servers, run))


def _client_processes(session: Session, cores: int) -> int:
    loads = [run.config.workload for run in session.runs]
    given = [load.client_processes for load in loads if load.client_processes]
    return max(given) if given else choose_count(max(map(streams, loads)), cores)


def _give_up(session: Session, folder: Path, events: Events, left: deque[Run]) -> bool:
    """Records what is left as failed if a start cannot succeed; whether that is so."""
    reason = infeasible_reason(session, folder)
    if reason:
        record_unstarted(session, folder, events, left, reason)
    return reason is not None


def _why_refused(session: Session) -> Kind:
    """A node that SLURM chose, without such a GPU, was never looked at, and stays so; elsewhere the driver saw GPUs
    just now, also inside a user's own allocation.
    """
    gpu = session.hardware.gpu
    return "no_gpu" if gpu and gpus.is_chosen_by_slurm() and not gpus.count_matching(gpu) else "gpu_lost"


def _is_done(folder: Path) -> bool:
    """Whether the run needs no measuring. A requeued job does not repeat the runs that failed under it."""
    found, job = find_record(folder), os.environ.get("SLURM_JOB_ID")
    return found is not None and (found.final or (job is not None and found.environment.get("slurm_job") == job))
