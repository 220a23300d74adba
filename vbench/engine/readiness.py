"""Waits for a server that is not ready as long as it asks to: its Retry-After, in seconds or as a date (RFC 9110)."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable
from datetime import timezone
from email.utils import parsedate_to_datetime

from vbench.schema.errors import ServerFailed

NOT_READY = (429, 502, 503, 504)  # what servers and proxies answer while the model loads, or are busy or away
LEAST_S = 1.0  # between two requests, whatever the server says
TOLD = re.compile(r"\(Retry-After: ([^()]*)\)$")  # at the end of a failed request's error


class Readiness:
    """Waits for one server, within the time that its start may take. `tell` gets a line before each wait."""

    def __init__(self, limit_s: float, spent_s: float, tell: Callable[[str], None]) -> None:
        """`limit_s` is engine.start_timeout_s, of which `spent_s` are over."""
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s - spent_s
        self._tell = tell

    async def wait(self, said: str, retry_after: str | None) -> bool:
        """Waits as told by a server that `said` it is not ready; False at once if it did not tell how long.

        Raises ServerFailed if that would take longer than a start may.
        """
        wait_s = parse_retry_after(retry_after or "", time.time())
        if wait_s is None:
            return False
        if time.monotonic() + wait_s > self._deadline:
            line = f"{said}: asks for another {wait_s:,.0f} s, but engine.start_timeout_s={self._limit_s:g}"
            raise ServerFailed("unreachable", line)
        self._tell(f"{said}; asked again in {wait_s:,.0f} s")
        await asyncio.sleep(wait_s)
        return True


def find_retry_after(error: str) -> str | None:
    """The Retry-After that the error of a failed request tells of."""
    found = TOLD.search(error)
    return found[1] if found else None


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (since 1970) until the server wants to be asked again, LEAST_S or more; None if unreadable."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return max(float(value), LEAST_S)
    try:
        at = parsedate_to_datetime(value)
        seconds = (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp() - now
    except (TypeError, ValueError, OverflowError):
        return None
    return max(float(math.ceil(seconds)), LEAST_S)
