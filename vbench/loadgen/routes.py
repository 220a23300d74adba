"""Which replica gets a request, as one load process sees them. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from vbench.loadgen.load import Load
from vbench.schema import Routing


class Loaded(Protocol):
    """A replica and how many requests it has in flight."""

    index: int
    in_flight: int


class Routes:
    """Chooses a replica for each request, by the load's routing.

    `first`, an integer modulo the number of replicas, is preferred first if several are equal; each process passes its
    number, so that they start with different replicas. Preference rotates.
    """

    def __init__(self, load: Load, replicas: Sequence[Loaded], first: int) -> None:
        self._load, self._replicas, self._preferred = load, replicas, first
        self._session = load.structure.session.tolist() if load.structure else list(range(len(load)))
        self._chosen: dict[int, Loaded] = {}  # by session, where they are sticky
        self._sessions = [0] * len(replicas)  # that began at each
        self._choose: Callable[[int], Loaded] = {
            Routing.least_loaded: self._least_loaded,
            Routing.round_robin: self._round_robin,
            Routing.sticky: self._sticky,
            Routing.prefix_hash: self._prefix_hash,
        }[load.routing or Routing.least_loaded]

    def choose(self, index: int) -> int:
        """The index of the replica for request `index`."""
        return self._choose(index).index

    def _least_loaded(self, _index: int) -> Loaded:
        preferred = self._rotate()
        count = len(self._replicas)
        return min(self._replicas, key=lambda each: (each.in_flight, (each.index - preferred) % count))

    def _round_robin(self, _index: int) -> Loaded:
        return self._replicas[self._rotate() % len(self._replicas)]

    def _sticky(self, index: int) -> Loaded:
        session = self._session[index]
        if session not in self._chosen:
            preferred, count = self._rotate(), len(self._replicas)
            chosen = min(
                self._replicas, key=lambda each: (self._sessions[each.index], (each.index - preferred) % count)
            )
            self._sessions[chosen.index] += 1
            self._chosen[session] = chosen
        return self._chosen[session]

    def _prefix_hash(self, index: int) -> Loaded:
        structure = self._load.structure
        if structure is None:
            first = self._load.prompts[index]
        else:
            while structure.extends[index] >= 0:
                index = int(structure.extends[index])
            first = self._load.prompts[int(structure.own_parts(index)[0])]
        return self._replicas[zlib.crc32(np.ascontiguousarray(first).tobytes()) % len(self._replicas)]

    def _rotate(self) -> int:
        preferred = self._preferred
        self._preferred = (preferred + 1) % len(self._replicas)
        return preferred
