"""One measurement of one option, what it found, and the world that measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

DEFAULT = -1  # the place of the defaults, which are compared in every round


@dataclass(frozen=True)
class Trial:
    """One start of the server with one option, under a share of the load."""

    option: int  # its place among the options, or DEFAULT
    start: int  # which start of this option it is; also chooses the seeds, so that options get the same prompts
    share: float = 1.0  # of the load's length


@dataclass(frozen=True)
class Outcome:
    """The score of a trial, higher is better, 0 if no request met the SLO; None if it has none, and why."""

    score: float | None
    why: str = ""


class World(Protocol):
    """What measures trials, and knows what they cost."""

    def measure(self, trials: Sequence[Trial]) -> Sequence[Outcome]:
        """The outcome of each trial, in order. A trial that fails is an outcome, not an exception."""
        ...

    def affords(self, trials: Sequence[Trial]) -> bool:
        """Whether the budget has room for these trials."""
        ...


class Sampler(Protocol):
    """Chooses the options of the first round."""

    def ask(self) -> Sequence[int]:
        """The places of the options to measure next, none of them twice; empty when it has chosen all."""
        ...

    def tell(self, scores: Sequence[tuple[int, float | None]]) -> None:
        """Takes the scores of the options that it chose last."""
        ...
