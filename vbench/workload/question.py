"""A question of a search: which level to measure next, and when its probe has told enough. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from vbench.schema.record import Floats
from vbench.workload.capacity import FAILING, HIGHEST, LOWEST, Belief
from vbench.workload.grouping import DESIGN_EFFECT

FEWEST = 4  # requests that can fail a level
EXPLORING = 8  # requests that a short probe judges, at least
OWN = 100  # requests of the level that is named, at least
SURE = 0.8  # probability at which a probe has told that its level meets the SLO, or that it does not
ERROR = 0.02  # probability that 98 % or fewer of the requests of the level that is named meet the SLO
SAFE = 0.8  # of ERROR, at which a probe ends: its latencies and the groups of its misses may change the estimate
LIKELY_ERROR = 0.1  # of a level that is measured in order to name it, at most
LIKELY = 0.7  # probability that the level that is named meets the SLO, at least
ABOVE, TENTH = 0.03, 0.1  # a level is close if it exceeds the capacity by no more, or is less than it by no more
CLOSE, MAY_BE_CLOSE = 0.87, 0.5  # probability that the level that is named is close; with the second it may be named
LONGER = 2.0  # a short probe of a level that may be named judges so many requests for each place, and for each of OWN


@dataclass(frozen=True)
class Question:
    """What to measure next: a level, and when its probe has told enough."""

    level: float
    exploring: bool  # until it seems to pass, or fails
    attempt: int = 0  # how many probes of the level there were before
    met: int = 0  # requests of these probes that met the SLO …
    judged: int = 0  # … of so many
    whole: bool = True  # whether levels are integers
    effect: float = DESIGN_EFFECT  # of misses that come in groups
    belief: Belief = field(default_factory=lambda: Belief.from_counts([], DESIGN_EFFECT), repr=False, compare=False)

    def verdict(self, met: int, of: int) -> bool | None:
        """Of the level, by a probe of which so far `met` of `of` requests met the SLO; None while it must go on."""
        if of < FEWEST:
            return None
        belief = self.belief.update(self.level, met, of, self.effect)
        chances = belief.describe(self.level)
        if chances.meets <= 1 - SURE and met < of:  # other levels alone fail none: it would be asked again in vain
            return False
        # Of a level that is asked for again, a few requests would not tell what those before did not.
        if of < (EXPLORING if self.exploring and not self.judged else OWN):
            return None
        close = closeness_of(belief, self.level, self.whole)
        likely = chances.meets >= LIKELY and meets_itself(self.met + met, self.judged + of)
        if likely and chances.fails <= SAFE * ERROR and close >= CLOSE:
            return True
        # To go on costs less than another probe, which has to build its load up first.
        may_be_named = likely and close >= MAY_BE_CLOSE
        if self.exploring:
            told = met == of or chances.meets >= SURE
            return True if told and not (may_be_named and of < LONGER * max(self.level, OWN)) else None
        told = chances.meets >= SURE or find_closest(belief, self.whole)[1] >= CLOSE
        return True if told and not may_be_named else None


def meets_itself(met: int, of: int) -> bool:
    """Whether a level meets the SLO by its own requests, whatever those of its neighbours let expect."""
    return met > (1 - FAILING) * of


def find_closest(belief: Belief, whole: bool) -> tuple[float, float]:
    """The level that is most probably close to the capacity, and how probably, of those that may be named."""
    at = belief.describe(LOWEST)
    low, high = at.low, max(min(belief.find_level(LIKELY_ERROR), at.middle), at.low)
    levels = np.exp(np.arange(math.log(low), math.log(high) + 0.01, 0.01))
    if whole:
        levels = np.unique(np.floor(levels).clip(1.0, HIGHEST))
    close = _closeness(belief, levels, whole)
    best = int(close.argmax())
    return float(f"{levels[best]:.3g}"), float(close[best])


def closeness_of(belief: Belief, level: float, whole: bool) -> float:
    """How probably the capacity is that close to a level."""
    return float(_closeness(belief, np.array([level]), whole)[0])


def _closeness(belief: Belief, levels: Floats, whole: bool) -> Floats:
    """How probably the capacity is close to each of these levels, (k,)."""
    low, high = levels / (1 + ABOVE), levels / (1 - TENTH)
    return belief.chances_between(low, np.maximum(np.floor(high), levels + 1) if whole else high)
