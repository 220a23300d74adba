"""Control requests of a session: asked again for a few seconds, unless the server has ended or refuses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp

from vbench.engine import asking
from vbench.engine.endpoint import UNANSWERED
from vbench.engine.external import ExternalServer
from vbench.engine.server import Server
from vbench.schema.errors import ServerFailed
from vbench.schema.failures import Kind

Answer = TypeVar("Answer")


async def ask(server: Server | ExternalServer, path: str, request: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer to a control request for `path`, which is only named in the failure.

    Raises ServerFailed if the server has ended, or has not answered for AGAIN_S; UNANSWERED if it refuses.
    """

    def may_pass(error: Exception) -> bool:
        if asking.is_refusal(error):
            return False
        server.check_alive()
        return True

    try:
        return await asking.ask_again(request, may_pass)
    except UNANSWERED as error:
        if asking.is_refusal(error):
            raise
        kind: Kind = "server_died" if server.process else "unreachable"
        line = f"{server.control.base_url}{path} does not answer, asked again for {asking.AGAIN_S:g} s"
        raise ServerFailed(kind, f"{line}: {_describe(error)}", server.log) from None


def _describe(error: Exception) -> str:
    """In a few words: a timeout has none of its own, and the repr of an answer would show our headers."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status} {error.message}"
    return str(error).replace(" ssl:default", "") or type(error).__name__
