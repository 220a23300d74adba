"""What the probes of a search tell about the capacity: the level at which 99 % of requests meet the SLO. Pure.

The share of requests that miss it grows as ALLOWED · (level / capacity) ** slope, within FLOOR and CEILING.
Neither capacity nor slope is known: each pair of them on a grid is believed as much as the requests of all levels
together make it likely, and none was more likely than another before. So what was seen at one level also counts at its
neighbours. Thresholds of perception are found in the same way (QUEST, Watson and Pelli 1983; with an unknown slope,
King-Smith and Rose 1997). Where the latencies should reach the objectives makes capacities near it more likely, but
not less likely that a level fails: that rests on the requests that missed.

Requests that are in flight together share the engine's steps, so their misses come in groups. Each request therefore
counts as 1 / `effect` of an independent one (`vbench.workload.grouping`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from vbench.schema.record import Floats
from vbench.workload.curve import UNKNOWN, Curve

HIGHEST, LOWEST = 8192.0, 1 / 64  # levels
ALLOWED = 0.01  # share of requests that may miss the SLO
FAILING, PASSING = 0.02, 0.002  # shares of misses at which a level surely fails, and surely passes
FLOOR = 5e-4  # of the share of misses: far below the capacity a rare one says nothing about it
CEILING = 0.5  # and far above it, 60 % or 90 % say the same
TAIL = 0.05  # probability on either side of the interval that a search gives
STEP = 0.02  # between two capacities of the grid, in their logarithm
SLOPES = np.array([2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 22.0, 33.0, 50.0, 75.0, 110.0])
MOST_TOLD = 12.0  # log-likelihood of one probe: no more, because the host may have been faster or slower meanwhile
CAUTION = 0.5  # errors by which a crossing is taken to lie lower: the 99th percentile of few requests is rather too low
TRUST, TOLERANCE = 0.9, 0.8  # in the slope that the latencies tell, and the error of its logarithm

_LOGS = np.arange(math.log(LOWEST / 2), math.log(HIGHEST * 2), STEP)
_CAPACITIES = np.exp(_LOGS)
_FAILS_FROM = (_CAPACITIES[:, None] * (FAILING / ALLOWED) ** (1 / SLOPES)).ravel()  # by capacity and slope
_BY_FAILING = np.argsort(_FAILS_FROM)
_FAILING_LEVELS = _FAILS_FROM[_BY_FAILING]


@dataclass(frozen=True)
class Belief:
    """How likely each capacity and slope is, as a log-likelihood, (capacities, slopes)."""

    likelihood: Floats
    expected: Floats = field(default_factory=lambda: np.zeros(len(_LOGS)))  # by the latencies, (capacities,)

    @classmethod
    def from_counts(cls, counts: Iterable[tuple[float, int, int]], effect: float, curve: Curve = UNKNOWN) -> Belief:
        """By probes: their level, how many requests met the SLO, and of how many; and by what their latencies tell."""
        belief = cls(
            np.zeros((len(_LOGS), 1)) + _expect_slope(curve.steepness), _expect_capacity(curve.crossing, curve.error)
        )
        for level, met, of in counts:
            belief = belief.update(level, met, of, effect)
        return belief

    def update(self, level: float, met: int, of: int, effect: float) -> Belief:
        """The belief after a further probe of a level, in which `met` of `of` requests met the SLO."""
        missed, met_ = _log_shares(level)
        told = ((of - met) * missed + met * met_) / effect
        return Belief(self.likelihood + np.maximum(told, told.max() - MOST_TOLD), self.expected)

    @cached_property
    def weights(self) -> Floats:
        """The probability of each capacity and slope, (capacities, slopes)."""
        return _normalise(self.likelihood + self.expected[:, None])

    @cached_property
    def by_counts(self) -> Floats:
        """The same without what the latencies let expect of the capacity."""
        return _normalise(self.likelihood)

    def chances_between(self, low: Floats, high: Floats) -> Floats:
        """The probabilities that the capacity is at least `low` and below `high`, both (k,)."""
        until = np.concatenate([[0.0], self.weights.sum(axis=1).cumsum()])
        ends = (np.searchsorted(_LOGS, np.log(each) - STEP / 2) for each in (low, high))
        begin, end = (until[each] for each in ends)
        found: Floats = end - begin
        return found

    def find_level(self, fails: float) -> float:
        """The level of which 98 % or fewer of the requests meet the SLO with this probability."""
        weights = self.by_counts.ravel()[_BY_FAILING]
        return float(_FAILING_LEVELS[np.searchsorted(weights.cumsum(), fails).clip(max=len(weights) - 1)])

    def find_capacities(self, *shares: float) -> list[float]:
        """Quantiles of the capacity."""
        found: list[float] = _CAPACITIES[
            np.searchsorted(self.weights.sum(axis=1).cumsum(), shares).clip(max=len(_LOGS) - 1)
        ].tolist()
        return found

    def describe(self, level: float) -> Chances:
        """Everything that a search asks about a level."""
        of_capacity = self.weights.sum(axis=1)
        shares = _shares(level)
        low, middle, high = self.find_capacities(TAIL, 0.5, 1 - TAIL)
        return Chances(
            meets=float(of_capacity[math.log(level) - STEP / 2 <= _LOGS].sum()),
            fails=float(self.by_counts[shares >= FAILING].sum()),
            low=low,
            middle=middle,
            high=high,
        )


@dataclass(frozen=True)
class Chances:
    """What is believed of a level and of the capacity."""

    meets: float  # probability that 99 % of the level's requests meet the SLO
    fails: float  # probability that 98 % or fewer do
    low: float  # of the capacity: 5 % lie below
    middle: float  # its median
    high: float  # 5 % lie above


def _normalise(likelihood: Floats) -> Floats:
    weights: Floats = np.exp(likelihood - likelihood.max())
    normalised: Floats = weights / weights.sum()
    return normalised


def _expect_capacity(crossing: float, error: float) -> Floats:
    """Logarithms of what the latencies make the capacities likely, but for a constant, (capacities,).

    By Student's distribution with three degrees of freedom, whose tails are heavy, so that requests can refute it.
    """
    if math.isnan(crossing):
        return np.zeros(len(_LOGS))
    found: Floats = -2 * np.log1p(((_LOGS - math.log(crossing) + CAUTION * error) / error) ** 2 / 3)
    return found


def _expect_slope(steepness: float) -> Floats:
    """Logarithms of the probabilities of the slopes before any request was judged, (slopes,)."""
    even: Floats = np.full(len(SLOPES), 1 / len(SLOPES))
    slope = SLOPES[0] if math.isnan(steepness) else min(max(steepness, SLOPES[0]), SLOPES[-1])
    trust = 0.0 if math.isnan(steepness) else TRUST
    near = np.exp(-0.5 * (np.log(SLOPES / slope) / TOLERANCE) ** 2)
    found: Floats = np.log(trust * near / near.sum() + (1 - trust) * even)
    return found


@lru_cache(maxsize=64)
def _shares(level: float) -> Floats:
    """The share of misses at this level by capacity and slope."""
    exponents = np.clip(SLOPES * (math.log(level) - _LOGS)[:, None], -20.0, 20.0)
    shares: Floats = np.clip(ALLOWED * np.exp(exponents), FLOOR, CEILING)
    return shares


@lru_cache(maxsize=64)
def _log_shares(level: float) -> tuple[Floats, Floats]:
    """Logarithms of the shares of misses and of those that meet the SLO."""
    shares = _shares(level)
    return np.log(shares), np.log1p(-shares)
