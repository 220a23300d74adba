"""The signals by which a scheduler ends a job. The story unwinds where it waits; its cleaning up is not disturbed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from types import FrameType, TracebackType
from typing import Any

from typing_extensions import Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)  # the end of a job; and what warns of it: preemption, the time limit


class Interrupted(SystemExit):
    """The process was asked to end; uncaught, it does, as a shell says it: with 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)


class Interrupts:
    """`with Interrupts() as interrupts: interrupts.run(story())`, in the main thread.

    Within the block the first of these signals cancels the story that runs, or, where none does, raises Interrupted
    at once. More of them are ignored: a scheduler repeats itself.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._story: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._before = [signal.signal(number, self._end) for number in SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, before)

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        """As `asyncio.run`; raises Interrupted, and nothing else, where the story was cut short by a signal."""
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
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        if self._story is None:
            raise Interrupted(number)
        self._number = number
        self._story.get_loop().call_soon_threadsafe(self._story.cancel)
