"""A number that was not measured here and now: its value, how far it may be off, and what it rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Basis(Enum):
    """What a number rests on, from the firmest to the weakest."""

    measured = "measured"  # records of the same system under the same load
    interpolated = "interpolated"  # records of the same system under a lower and a higher load
    predicted = "predicted"  # a model of the engine, fitted to records of other systems
    assumed = "assumed"  # a stated assumption


@dataclass(frozen=True)
class Estimate:
    """A value between `low` and `high`, in the unit that the holder of the estimate says."""

    value: float
    low: float
    high: float
    basis: Basis
    source: str  # a phrase for people: "3 recorded starts of llama8b on 1xh100"


@dataclass(frozen=True)
class Total:
    """A sum of estimates. `low` and `high` are the sums of theirs: errors of one origin do not cancel out."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: Total | Estimate) -> Total:
        return Total(self.value + other.value, self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> Total:
        return Total(self.value * factor, self.low * factor, self.high * factor)


def add_up(estimates: Iterable[Total | Estimate]) -> Total:
    total = Total()
    for each in estimates:
        total += each
    return total


def weakest(bases: Iterable[Basis]) -> Basis | None:
    """The weakest of these; None if there are none."""
    order = list(Basis)
    return max(bases, key=order.index, default=None)
