"""The session's servers: started here or already running, and the facts that they report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from vbench.engine import compilelog, external, identity, prefixcache, routing, serverlog
from vbench.engine.external import ExternalServer
from vbench.engine.server import Server, start_replicas
from vbench.plan.sessions import Session
from vbench.session import patience
from vbench.session.context import Servers, SessionContext
from vbench.session.starts import remember_start

LOADING_S = 3.0  # between two looks at the log of a server that starts
READ_BACK = 8192  # bytes


@asynccontextmanager
async def ready_servers(context: SessionContext) -> AsyncIterator[Servers]:
    """Yields the servers, ready but not yet warm; those started here are stopped after the block.

    Raises the errors of `engine.server.start_replicas` and `engine.external.connect`, and ServerChanged if an external
    one is not of the version that was planned.
    """
    began = time.monotonic()
    watching = asyncio.create_task(_report_loading(context))
    try:
        async with _start_or_attach(context) as servers:
            watching.cancel()
            start = {} if context.session.is_external else {"start_s": time.monotonic() - began}
            if start:
                remember_start(context.session, start["start_s"])
            facts = await _facts(context.session, servers)
            if context.session.is_external:  # after a failure it may be another one
                external.check_version(context.environment["engine"], facts["version"])
            yield Servers(servers, start | facts)
    finally:
        watching.cancel()


async def _report_loading(context: SessionContext) -> None:
    """Reports what the first server's log says last, while it starts."""
    reported = ""
    while not context.session.is_external:
        await asyncio.sleep(LOADING_S)
        line = serverlog.find_last_words(_read_end(context.folder / "server.log"))
        if line and line != reported:
            context.events.write_loading(reported := line)


def _read_end(log: Path) -> str:
    """The last READ_BACK bytes of the log; empty if there is none yet."""
    with suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(log.stat().st_size - READ_BACK, 0))
        return file.read().decode(errors="replace")
    return ""


def _start_or_attach(context: SessionContext) -> AbstractAsyncContextManager[Sequence[Server | ExternalServer]]:
    if context.session.is_external:
        return external.connect(context.session.engine, context.readiness)
    return start_replicas(context.session, context.lease, context.folder)


async def _facts(session: Session, servers: Sequence[Server | ExternalServer]) -> dict[str, Any]:
    context_lengths = [await patience.ask(server, "/v1/models", server.check_identity) for server in servers]
    log, control, engines = servers[0].log, servers[0].control, session.engines_per_server
    text = log.read_text(errors="replace") if log else ""
    version = await patience.ask(servers[0], "/version", control.ask_version)
    pages = [await patience.ask(server, "/metrics", server.control.read_metrics) for server in servers]
    return {
        "version": version,
        "engine": identity.describe_reported(version, await control.ask_owner(), text),
        "max_model_len": min((length for length in context_lengths if length is not None), default=None),
        **prefixcache.read_facts(pages, session.model, session.engine),
        **({"engines": engines} if engines > 1 else {}),  # of one server
        **(routing.describe(session.model, session.engine, text) | _log_facts(text) if log else {}),
    }


def _log_facts(log: str) -> dict[str, Any]:
    return serverlog.read_facts(log) | compilelog.read_facts(log)
