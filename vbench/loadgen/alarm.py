"""A kernel timer that wakes the loop: uvloop's own timers, in whole milliseconds, are too coarse for arrivals."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC = 1  # the clock of time.perf_counter_ns
_ABSOLUTE = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """Calls `ring` once, at the instant that was set; setting it again replaces the instant."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._fd, self._wake)

    def set(self, at: int) -> None:
        """Rings at `at`, in ns of perf_counter; at once if that is past."""
        interval_and_instant = (ctypes.c_long * 4)(0, 0, *divmod(at, 1_000_000_000))
        _libc.timerfd_settime(self._fd, _ABSOLUTE, interval_and_instant, None)

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # set again since it rang
            os.read(self._fd, 8)
            self._ring()
