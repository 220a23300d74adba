"""When each request of a load is due: at its scheduled time, or so long after the requests that it waits for. Pure.

A session that ends is replaced by the next, if the number of sessions at once is limited.
"""

from __future__ import annotations

import heapq
from collections import deque

import numpy as np

from vbench.loadgen.load import NEVER, Load
from vbench.schema.record import Ints


class Agenda:
    """The requests that are due, in the order of their times; instants in ns."""

    def __init__(self, load: Load) -> None:
        n, structure = len(load), load.structure
        self.due = [NEVER] * n
        self._waits = [0] * n  # requests that this one still waits for
        self._followers: list[list[int]] = [[] for _ in range(n)] if structure else []
        self._queue: list[tuple[int, int]] = []  # a heap of (due, request)
        self._backlog: deque[int] = deque()  # sessions that wait for another to end
        self._left: list[int] = []  # requests of each session that have not ended
        if structure:
            self._session = structure.session.tolist()
            self._wait_ns = (structure.wait_s * 1e9).astype(np.int64).tolist()
            for earlier, later in structure.after.tolist():
                self._followers[earlier].append(later)
                self._waits[later] += 1
            numbers, place = np.unique(structure.session, return_inverse=True)
            self._place = place.tolist()
            self._left = np.bincount(place).tolist()
            self._firsts: list[list[int]] = [[] for _ in numbers]  # of each session, what waits for no other request
            for index, session in enumerate(self._place):
                if not self._waits[index]:
                    self._firsts[session].append(index)
            if load.sessions:
                self._backlog.extend(range(load.sessions, len(numbers)))
        scheduled: Ints = (load.scheduled * 1e9).astype(np.int64)
        held = {index for session in self._backlog for index in self._firsts[session]}
        for index, due in enumerate(scheduled.tolist()):
            if not self._waits[index] and index not in held:
                self._add(index, due)

    def start(self, at: int) -> None:
        """Sets the clock: what is due so far is due so long after `at`."""
        self._queue = [(at + due, index) for due, index in self._queue]
        for due, index in self._queue:
            self.due[index] = due

    def next_due(self) -> int | None:
        """When the next request is due; None if none is, until others end."""
        return self._queue[0][0] if self._queue else None

    def pop(self) -> int:
        """Takes the request that is due next."""
        return heapq.heappop(self._queue)[1]

    def count_due(self, until: int) -> int:
        """How many requests are due until then."""
        found, places = 0, [0]
        while places:  # a heap: no child is due before its parent
            place = places.pop()
            if place < len(self._queue) and self._queue[place][0] <= until:
                found += 1
                places += (2 * place + 1, 2 * place + 2)
        return found

    def end(self, index: int, at: int) -> None:
        """Request `index` has ended: those that waited for it alone are due after their wait."""
        if not self._left:
            return
        for follower in self._followers[index]:
            self._waits[follower] -= 1
            if not self._waits[follower]:
                self._add(follower, at + self._wait_ns[follower])
        self._count_ended(index, at)

    def break_off(self, index: int, at: int) -> list[int]:
        """Request `index` has failed: returns the later ones of its session, which are not sent."""
        given_up: list[int] = []
        following = list(self._followers[index]) if self._left else []
        while following:
            each = following.pop()
            if self._waits[each] >= 0:
                self._waits[each] = NEVER
                given_up.append(each)
                following += self._followers[each]
        for each in [*given_up, index] if self._left else ():
            self._count_ended(each, at)
        return given_up

    def clear(self) -> None:
        """Nothing more is due."""
        self._queue.clear()
        self._backlog.clear()
        self._waits = [NEVER] * len(self._waits)

    def _add(self, index: int, due: int) -> None:
        self.due[index] = due
        heapq.heappush(self._queue, (due, index))

    def _count_ended(self, index: int, at: int) -> None:
        place = self._place[index]
        self._left[place] -= 1
        if not self._left[place] and self._backlog:
            for first in self._firsts[self._backlog.popleft()]:
                self._add(first, at + self._wait_ns[first])
