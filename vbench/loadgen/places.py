"""The places of a load (`max_concurrency`): a process's own, or those that all processes of the load share.

A closed loop always has more to send, so each process keeps its part of the places busy. Where requests have times of
their own, one process may have none due while another has no place left: there the places are one semaphore of the
kernel (an eventfd), which every load process has inherited. Whoever ends a request puts its place back; whoever waits
is woken by the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Protocol


class Places(Protocol):
    """What a request in flight needs one of."""

    is_awaited: bool  # whether the last that was asked for could not be had

    def take(self) -> bool:
        """Takes one; False if none is free."""

    def put_back(self) -> None:
        """One that was taken is free."""

    def close(self) -> None:
        """None is asked for any more."""


class OwnPlaces:
    """So many places of one process; who gives one back asks again by itself."""

    def __init__(self, count: int) -> None:
        self._free = count
        self.is_awaited = False

    def take(self) -> bool:
        self.is_awaited = self._free <= 0
        self._free -= not self.is_awaited
        return not self.is_awaited

    def put_back(self) -> None:
        self._free += 1

    def close(self) -> None:
        """There is nothing to close."""


class SharedPlaces:
    """The places of all processes; `wake` is called when one is free that could not be had before."""

    def __init__(self, pool: int, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._pool, self._loop, self._wake = pool, loop, wake
        self.is_awaited = False

    def take(self) -> bool:
        try:
            os.eventfd_read(self._pool)
        except BlockingIOError:
            if not self.is_awaited:
                self._loop.add_reader(self._pool, self._on_free)
            self.is_awaited = True
            return False
        self.close()
        return True

    def put_back(self) -> None:
        os.eventfd_write(self._pool, 1)

    def close(self) -> None:
        if self.is_awaited:
            self._loop.remove_reader(self._pool)
        self.is_awaited = False

    def _on_free(self) -> None:
        self.close()  # else the loop would be woken as long as there is a place, though nothing may be due
        self._wake()


def make_pool() -> int:
    """A pool without places, as a file descriptor to be inherited."""
    return os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)


def fill_pool(pool: int, count: int) -> None:
    """Leaves exactly so many places in it, whatever the last load left. Nobody may use it meanwhile."""
    with contextlib.suppress(BlockingIOError):
        while True:
            os.eventfd_read(pool)
    if count:
        os.eventfd_write(pool, count)
