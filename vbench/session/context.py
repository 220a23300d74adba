"""State common to all parts of a session: its folder, load client and servers, and how its runs are recorded."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from vbench.engine.counters import count_earlier_requests
from vbench.engine.external import ExternalServer
from vbench.engine.readiness import Readiness
from vbench.engine.server import Server
from vbench.host.cputime import ServerProcesses, join_processes
from vbench.host.leases import HostLease
from vbench.loadgen import Client, Endpoint, Load, Progress, Workers
from vbench.metrics.stalls import STEP_TOKENS
from vbench.plan.sessions import Run, Session
from vbench.schema import effective_config
from vbench.schema.record import Record, Requests
from vbench.session import patience
from vbench.watch import Events

IDLE_S = 30.0


@dataclass(frozen=True)
class SessionContext:
    """A session and where it runs: folder, GPUs and cores, load client, and the facts common to all records."""

    session: Session
    folder: Path
    lease: HostLease  # the servers' GPUs and cores
    workers: Workers
    environment: dict[str, Any]
    events: Events
    started: datetime

    def folder_of(self, run: Run) -> Path:
        """Returns the run's folder, created if missing."""
        folder = self.folder / run.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def readiness(self) -> Readiness:
        """The patience with a server that is not ready: what is left of the time for a start."""
        spent = datetime.now(timezone.utc) - self.started
        return Readiness(self.session.engine.start_timeout_s, spent.total_seconds(), self.events.write_loading)

    def record(self, run: Run, started: datetime) -> Record:
        """The record of a run that ends now, without results."""
        return blank_record(self.session, run, self.environment, started)

    async def load(
        self,
        load: Load,
        tick: Callable[[Progress], None] | None = None,
        enough: Callable[[Progress], str] | None = None,
    ) -> tuple[Requests, Client]:
        """Sends a load from a separate thread. Cancelling this kills the load processes.

        Raises ClientLost, Refused as `Workers.run` does.
        """
        try:
            requests, client = await asyncio.to_thread(self.workers.run, load, tick, enough)
        except asyncio.CancelledError:
            self.workers.kill()  # a thread cannot be cancelled: it would run until the load ends
            raise
        return requests.without_secrets(), client

    def save(self, run: Run, record: Record) -> None:
        """Writes the record and reports it."""
        folder = self.folder_of(run)
        record.save(folder)
        self.events.write_recorded(record, folder)


def blank_record(session: Session, run: Run, environment: dict[str, Any], started: datetime) -> Record:
    """The record of a run that ends now, without results."""
    return Record(
        run_key=run.key,
        session=session.folder,
        name=run.name,
        experiment=session.experiment,
        started_at=started.isoformat(),
        ended_at=datetime.now(timezone.utc).isoformat(),
        config=effective_config(run.config),
        environment=environment,
    )


@dataclass(frozen=True)
class Servers:
    """The session's servers, ready, and their facts: start_s, version, max_model_len, …"""

    servers: Sequence[Server | ExternalServer]
    facts: dict[str, Any]

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(server.endpoint for server in self.servers)

    def find_processes(self) -> ServerProcesses:
        """The processes of the servers started here, as they are now."""
        return join_processes([server.find_processes() for server in self.servers if server.process])

    @property
    def engine_count(self) -> int:
        """Engines of all servers: with attention data parallelism several share the address of one."""
        return len(self.servers) * int(self.facts.get("engines", 1))

    @property
    def step_tokens(self) -> int:
        """Tokens of a server's largest step: where it has several engines, these step together."""
        return int(self.facts.get("max_num_batched_tokens", STEP_TOKENS)) * int(self.facts.get("engines", 1))

    @property
    def logs(self) -> list[Path]:
        """Logs of the servers started here."""
        return [server.log for server in self.servers if server.log]

    def settle_logs(self) -> None:
        """Waits until what the servers started here have printed is in their logs."""
        for server in self.servers:
            server.settle_log()

    def check_alive(self) -> None:
        """Raises ServerFailed if one of them has ended."""
        for server in self.servers:
            server.check_alive()

    async def check_unchanged(self) -> None:
        """Raises ServerFailed if a server has ended, or if another one answers in its place."""
        for server in self.servers:
            server.check_alive()
            await patience.ask(server, "/v1/models", server.check_identity)

    async def wait_until_idle(self) -> None:
        """Waits, at most IDLE_S, until the servers have dropped aborted requests."""
        deadline = time.monotonic() + IDLE_S
        while time.monotonic() < deadline:
            if not sum(count_earlier_requests(await self.counters()).values()):
                return
            await asyncio.sleep(0.1)

    async def counters(self) -> dict[str, float]:
        """Returns the servers' counters, summed. Raises ServerFailed if one of them does not answer."""
        total: Counter[str] = Counter()
        for server in self.servers:
            total.update(await patience.ask(server, "/metrics", server.control.read_counters))
        return dict(total)

    async def read_metrics(self) -> list[str]:
        """The text of each server's /metrics. Raises as `counters`."""
        return [await patience.ask(server, "/metrics", server.control.read_metrics) for server in self.servers]
