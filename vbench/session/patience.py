"""Control requests that are asked again for a few seconds: one that fails once says nothing of a run.

A front end that was just loaded may drop a connection, and a proxy may answer 503 for a moment. What a server refuses
(HTTP 4xx) it would refuse again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from vbench.engine.endpoint import UNANSWERED
from vbench.engine.external import ExternalServer
from vbench.engine.server import Server
from vbench.schema.errors import ServerFailed
from vbench.schema.failures import Kind

AGAIN_S, PAUSE_S = 5.0, 0.25
TOO_MANY = 429
Answer = TypeVar("Answer")


async def ask(server: Server | ExternalServer, path: str, request: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to a control request for `path`, which is only named in the failure.

    Raises ServerFailed if the server has ended, or has not answered for AGAIN_S; UNANSWERED if it refuses.
    """
    until = None
    while True:
        try:
            return await request()
        except UNANSWERED as error:  # noqa: PERF203  a network is slower
            if _is_refusal(error):
                raise
            server.check_alive()
            now = time.monotonic()
            until = until or now + AGAIN_S
            if now >= until:
                kind: Kind = "server_died" if server.process else "unreachable"
                line = f"{server.control.base_url}{path} does not answer, asked again for {AGAIN_S:g} s"
                raise ServerFailed(kind, f"{line}: {_describe(error)}", server.log) from None
            await asyncio.sleep(PAUSE_S)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, aiohttp.ClientResponseError) and 400 <= error.status < 500 and error.status != TOO_MANY


def _describe(error: Exception) -> str:
    """In a few words: a timeout has none of its own, and the repr of an answer would show our headers."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status} {error.message}"
    return str(error).replace(" ssl:default", "") or type(error).__name__
