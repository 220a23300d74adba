"""The session's servers: started here or already running, and the facts that they report."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from vbench.engine import compilelog, external, identity, routing, serverlog
from vbench.engine.external import ExternalServer
from vbench.engine.server import Server, start_replicas
from vbench.plan.sessions import Session
from vbench.session.context import Servers, SessionContext


@asynccontextmanager
async def ready_servers(context: SessionContext) -> AsyncIterator[Servers]:
    """Yields the servers, ready but not yet warm; those started here are stopped after the block.

    Raises the errors of `engine.server.start_replicas` and `engine.external.connect`.
    """
    began = time.monotonic()
    async with _start_or_attach(context) as servers:
        start = {} if context.session.is_external else {"start_s": time.monotonic() - began}
        yield Servers(servers, start | await _facts(context.session, servers))


def _start_or_attach(context: SessionContext) -> AbstractAsyncContextManager[Sequence[Server | ExternalServer]]:
    if context.session.is_external:
        return external.connect(context.session.engine)
    return start_replicas(context.session, context.lease, context.folder)


async def _facts(session: Session, servers: Sequence[Server | ExternalServer]) -> dict[str, Any]:
    context_lengths = [await server.check_identity() for server in servers]
    log, control = servers[0].log, servers[0].control
    text, version = log.read_text(errors="replace") if log else "", await control.ask_version()
    return {
        "version": version,
        "engine": identity.describe_reported(version, await control.ask_owner(), text),
        "max_model_len": min((length for length in context_lengths if length is not None), default=None),
        **(routing.describe(session.model, session.engine, text) | _log_facts(text) if log else {}),
    }


def _log_facts(log: str) -> dict[str, Any]:
    return serverlog.read_facts(log) | compilelog.read_facts(log)
