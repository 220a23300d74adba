"""Turns a scheduler's signals into one cancellation of the running coroutine; its cleanup is not interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any

from typing_extensions import Self

# The job ends; it is about to be preempted or to reach its time limit; the terminal that the session runs in is closed.
SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)


class Interrupted(SystemExit):
    """The process was asked to end; if uncaught, it exits with 128 plus the signal's number, as shells report it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Interrupts:
    """`with Interrupts() as interrupts: interrupts.run(story())`, in the main thread.

    Inside the block the first of these signals cancels the running story, or raises Interrupted at once if none runs.
    Later ones are ignored, because schedulers repeat them, until the outermost block is left. `on_signal` is called at
    the signal, before any cleanup, also if the signal arrives within an inner block. A terminal's end that was ignored
    before, as by nohup, stays ignored.
    """

    def __init__(self, on_signal: Callable[[], None] | None = None) -> None:
        self.on_signal = on_signal
        self.ended = False
        self._number: int | None = None
        self._story: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
        self._before = {number: signal.signal(number, self._end) for number in SIGNALS if number not in ignored}
        self._outer = _find_block(self._before[signal.SIGTERM])
        if self._outer and self.on_signal is None:
            self.on_signal = self._outer.on_signal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ended and self._outer:
            self._outer.ended = True
            return  # a repeated signal must not cut short what the outer block does about the first
        for number, before in self._before.items():
            signal.signal(number, before)

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """As `asyncio.run`; raises only Interrupted if a signal cancelled the story."""
        try:
            asyncio.run(self._cancellable(story))
        finally:
            if self._number is not None:
                raise Interrupted(self._number) from None

    async def _cancellable(self, story: Coroutine[Any, Any, None]) -> None:
        self._story = asyncio.ensure_future(story)
        try:
            await self._story
        finally:
            self._story = None

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.ended = True
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if self.on_signal is not None:
            self.on_signal()
        if self._story is None:
            raise Interrupted(number)
        self._number = number
        self._story.get_loop().call_soon_threadsafe(self._story.cancel)


def _find_block(handler: Any) -> Interrupts | None:
    """The block that this signal handler belongs to."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, Interrupts) else None
