"""How long sessions take on a number of GPUs, in the order in which a host starts them. Pure.

Largest first, then longest, as `campaign.task` orders them; a session that finds too few GPUs free waits at the head of
the queue and the others behind it, as `host.leases` has it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Slot:
    """When a session has its GPUs: `gpus` are their numbers, from 0."""

    session: int  # its index in what was packed
    gpus: tuple[int, ...]
    start_s: float
    end_s: float


def pack(sessions: Sequence[tuple[int, float]], gpus: int, at_once: int | None = None) -> list[Slot]:
    """Packs sessions, each (GPUs, seconds), onto `gpus` GPUs, at most `at_once` of them at a time.

    A session without a GPU has the host to itself, and takes all of them. Raises ValueError if one asks for more GPUs
    than there are.
    """
    gpus = max(gpus, 1)
    order = sorted(range(len(sessions)), key=lambda index: (-sessions[index][0], -sessions[index][1]))
    free, running, now = list(range(gpus)), list[tuple[float, int, tuple[int, ...]]](), 0.0
    slots = []
    for index in order:
        needed, seconds = sessions[index]
        needed = needed or gpus
        if needed > gpus:
            raise ValueError(f"{needed} GPUs of {gpus}")
        while len(free) < needed or (at_once and len(running) >= at_once):
            now, _, freed = heapq.heappop(running)
            free = sorted([*free, *freed])
        taken, free = tuple(free[:needed]), free[needed:]
        heapq.heappush(running, (now + seconds, index, taken))
        slots.append(Slot(index, taken, now, now + seconds))
    return slots


def wall_s(slots: Sequence[Slot]) -> float:
    """Seconds until the last of them has ended."""
    return max((slot.end_s for slot in slots), default=0.0)
