"""What the probes of a search tell of each level, and whether further requests of it would tell more. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vbench.workload.capacity import ALLOWED, LOWEST, Belief, Chances
from vbench.workload.curve import Point, fit_curve
from vbench.workload.grouping import DESIGN_EFFECT, NOTHING, Grouping, estimate_effect
from vbench.workload.question import CLOSE, ERROR, LIKELY, LIKELY_ERROR, OWN, SURE, closeness_of, meets_itself

MOST_TRIES = 3  # probes of a level that are INVALID, or in which the queue grew
FINE = 20  # whole levels from here on lie so near to each other that the next one below serves as well
MOST_LONG = 5  # probes of a level that judge OWN requests at least
MOSTLY = 0.9  # share of requests that meet the SLO: of probes with fewer, groups of misses run into each other
CLIFF = 0.9  # share of requests that meet the SLO: a level with a smaller one is a cliff, …
OVERLOAD = 20  # misses, in groups, as which an overload counts, and a level that was given up


@dataclass(frozen=True)
class Probe:
    """One measurement of a level."""

    level: float
    met: int  # steady requests that met every objective
    of: int  # steady requests
    trusted: bool = True  # its counts can be believed
    saturated: bool = False  # the load outgrew the server: the level fails without further probes
    growing: bool = False  # the queue was growing, so that a longer load may fail
    pressure: float = math.nan  # the binding objective's 99th percentile, in times of its limit
    spread: float = math.nan  # of that objective: logarithm of its 99th over its 90th percentile
    grouping: Grouping = NOTHING  # of its misses
    in_one_moment: bool = False  # all requests that missed were in flight together: one pause may have done it


class Levels:
    """The levels of these probes."""

    def __init__(self, probes: Sequence[Probe], whole: bool) -> None:
        self.probes, self.whole = probes, whole
        self.effect = estimate_effect(
            probe.grouping for probe in probes if probe.trusted and probe.met >= MOSTLY * probe.of
        )
        self.levels = sorted({probe.level for probe in probes})
        self.counts = {level: self._count(level) for level in self.levels}
        points = [Point(probe.level, probe.pressure, probe.spread, probe.of) for probe in probes if probe.trusted]
        self.curve = fit_curve(points, self.effect)
        self.crossing, self.error = self.curve.crossing, self.curve.error
        self.belief = Belief.from_counts(self._list_counts(), self.effect, self.curve)
        self.capacity = self.belief.describe(LOWEST)  # of any level
        self.chances: Mapping[float, Chances] = {level: self.belief.describe(level) for level in self.levels}

    def find_interval(self) -> tuple[float, float]:
        """Where the capacity lies with a probability of 90 %.

        Where misses come one at a time, DESIGN_EFFECT counts each request as half of one. That margin makes up for a
        search that ends where chance lets it end. Where misses come in groups the interval has the same margin.
        """
        told = Belief.from_counts(self._list_counts(), self.effect**2 / DESIGN_EFFECT, self.curve).describe(LOWEST)
        return told.low, told.high

    def rather_passes(self, level: float) -> bool:
        return level in self.levels and self.chances[level].meets > 0.5 and not self.is_blocked(level)

    def is_blocked(self, level: float) -> bool:
        """Whether its own requests keep a level from being named, whatever those of its neighbours let expect."""
        return not meets_itself(*self.counts[level])

    def is_told(self, level: float) -> bool:
        """Whether further requests would hardly change what is known of a level."""
        passes = self.passes(level) and self.chances[level].meets >= SURE
        sure = not self.whole or level >= FINE or self.misses_surely(level)
        blocked = sure and self.counts[level][1] > 0 and self.is_blocked(level)
        long = sum(probe.trusted and probe.of >= OWN for probe in self.probes_at(level))
        return passes or blocked or long >= MOST_LONG

    def is_cliff(self, level: float) -> bool:
        met, of = self.counts[level]
        return of > 0 and met < CLIFF * of

    def passes(self, level: float) -> bool:
        found, (met, of) = self.probes_at(level), self.counts[level]
        enough = of >= OWN and meets_itself(met, of)
        return enough and self.chances[level].fails <= ERROR and not found[-1].growing

    def is_known(self, level: float) -> bool:
        passes = self.passes(level) and self.chances[level].meets >= LIKELY
        return passes and self.closeness(level) >= CLOSE

    def is_close(self, level: float) -> bool:
        chances = self.chances[level]
        likely = chances.fails <= LIKELY_ERROR and chances.meets >= LIKELY
        return likely and self.closeness(level) >= CLOSE

    def closeness(self, level: float) -> float:
        return closeness_of(self.belief, level, self.whole)

    def is_given_up(self, level: float) -> bool:
        return sum(not probe.trusted for probe in self.probes_at(level)) >= MOST_TRIES

    def _list_counts(self) -> Iterator[tuple[float, int, int]]:
        """Of each trusted probe its level, requests that met the SLO, and all; of a level that failed, its counts."""
        for level in self.levels:
            found = [probe for probe in self.probes_at(level) if probe.trusted]
            if sum(probe.of for probe in found) < self.counts[level][1]:
                yield level, *self.counts[level]
            else:
                yield from ((level, probe.met, probe.of) for probe in found)

    def _count(self, level: float) -> tuple[int, int]:
        probes = self.probes_at(level)
        trusted = [probe for probe in probes if probe.trusted]
        met, of = sum(probe.met for probe in trusted), sum(probe.of for probe in trusted)
        given_up = not of and self.is_given_up(level)
        grows = probes[-1].growing and sum(probe.growing for probe in probes) >= MOST_TRIES
        fails = given_up or grows or any(probe.saturated for probe in probes)
        return met, of + round(OVERLOAD * self.effect) * fails

    def misses_surely(self, level: float) -> bool:
        return self.missed(level) and self.chances[level].meets <= 1 - SURE

    def missed(self, level: float) -> bool:
        """Whether a level rather misses the SLO, by its own requests too."""
        met, of = self.counts[level]
        return of - met > ALLOWED * of and self.chances[level].meets <= 0.5

    def pressure(self, level: float) -> float:
        return max((probe.pressure for probe in self.probes_at(level)), default=math.nan)

    def least_pressure(self, level: float) -> float:
        return min((probe.pressure for probe in self.probes_at(level) if probe.trusted), default=math.nan)

    def probes_at(self, level: float) -> list[Probe]:
        return [probe for probe in self.probes if probe.level == level]
