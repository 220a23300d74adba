"""Control requests that are asked again for a few seconds: one that fails once says nothing of a server.

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

AGAIN_S, PAUSE_S = 5.0, 0.25
TOO_MANY = 429
Answer = TypeVar("Answer")


async def ask_again(request: Callable[[], Awaitable[Answer]], may_pass: Callable[[Exception], bool]) -> Answer:
    """The answer; asked for again, for AGAIN_S, after errors that may pass. Raises the last of UNANSWERED."""
    until = None
    while True:
        try:
            return await request()
        except UNANSWERED as error:  # noqa: PERF203  a network is slower
            now = time.monotonic()
            until = until or now + AGAIN_S
            if not may_pass(error) or now >= until:
                raise
            await asyncio.sleep(PAUSE_S)


def is_refusal(error: Exception) -> bool:
    """Whether the server answered that it will not."""
    return isinstance(error, aiohttp.ClientResponseError) and 400 <= error.status < 500 and error.status != TOO_MANY


def is_moody(error: Exception) -> bool:
    """Whether a server, or a proxy before it, is there and may answer otherwise in a moment."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status >= 500 or error.status == TOO_MANY
    return isinstance(error, aiohttp.ServerDisconnectedError)
