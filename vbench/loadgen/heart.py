"""The heartbeats of a load process's loop: how late each is handled tells how late it may stamp what arrives."""

from __future__ import annotations

import asyncio
import time

from vbench.loadgen.alarm import Alarm
from vbench.loadgen.lag import HEARTBEAT_NS


class Heart:
    """Beats every HEARTBEAT_NS from `start` on (ns of perf_counter) until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: int) -> None:
        self.lags: list[int] = []  # how late each beat was handled, ns
        self._due = start
        self._alarm = Alarm(loop, self._beat)
        self._alarm.set(start)

    def close(self) -> None:
        self._alarm.close()

    def _beat(self) -> None:
        now = time.perf_counter_ns()
        missed = range(now - self._due, -1, -HEARTBEAT_NS)  # a long stall delays every heartbeat in it
        self.lags += missed
        self._due += len(missed) * HEARTBEAT_NS
        self._alarm.set(self._due)
