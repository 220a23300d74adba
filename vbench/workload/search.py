"""The highest load that meets the objectives: which level to probe next, and the answer. Pure: probes in, level out.

A level is a number of requests at once (max_concurrency) or a second (request_rate), or of sessions at once (sessions).
Levels rise, each with a short probe, until one fails: twofold, fourfold while the latencies leave room, and no further
than to where the latencies point (`vbench.workload.curve`). Where the capacity lies is then estimated from all probes
together (`vbench.workload.capacity`). Levels a little below the one at which the latencies should reach the objectives
are measured, until one of them is close to the capacity and hardly can be one of which 98 % or fewer meet the SLO
(`vbench.workload.question`). Between it and a level at which many requests missed the SLO another one is tried if the
answer may be more than FROM_CLIFF higher. After MOST requests the answer is given with a wide interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vbench.schema import Search, Workload
from vbench.workload.capacity import ALLOWED, HIGHEST, LOWEST, Belief, Chances
from vbench.workload.curve import Point, fit_curve
from vbench.workload.grouping import NOTHING, Grouping, estimate_effect
from vbench.workload.question import (
    CLOSE,
    ERROR,
    LIKELY,
    LIKELY_ERROR,
    OWN,
    SURE,
    Question,
    closeness_of,
    find_closest,
    meets_itself,
)

RECIPE = 6  # part of the key of every search: raise it when the same search would have another meaning
MOST_JUDGED = 800  # requests that any probe judges, at most
MOST, MOST_PROBES = 8000, 40  # judged requests and probes of a search, about
MOST_TRIES = 3  # probes of a level that are INVALID, or in which the queue grew
WIDE = 1.5  # a bracket that is halved by short probes
RESOLUTION = 0.025  # of a rate: closer ones are taken as the same level
FIRST_PLACES = 4.0  # level of the first probe of a closed loop
SHORT_STEP, STEP = 1.1, 2.0  # the next level up is so many times as high, at least and at most
LONG_STEP, ROOM = 4.0, 0.6  # … from a level of a closed loop whose pressure is at most this, at most
MARGIN = 0.95  # of the level at which the latencies should reach the objectives: that near to it is measured
OPEN = 0.75  # … within the quarters of the estimate of the capacity
MOSTLY = 0.9  # share of requests that meet the SLO: of probes with fewer, groups of misses run into each other
CLIFF = 0.9  # share of requests that meet the SLO: a level with a smaller one is a cliff, …
FROM_CLIFF = 0.06  # … and the answer lies no more than this below it, unless no level between meets the SLO
EDGE = 0.2  # of a bracket: so near to its ends no level is chosen
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


def streams(load: Workload) -> int:
    """Requests of a load that may be in flight together; of a search, in its highest probe."""
    if load.search:
        return int(HIGHEST)
    together = load.sessions or load.request_count
    return min(load.request_count, load.max_concurrency or load.request_count, together)


def next_question(probes: Sequence[Probe], whole: bool) -> Question | None:
    """What to probe next, level 4 or rate 1 at first; None when the answer is found. `whole` levels are integers."""
    return _State(probes, whole).next_question()


def answer(probes: Sequence[Probe], whole: bool) -> Answer:
    """What is known so far."""
    return _State(probes, whole).answer()


@dataclass(frozen=True)
class Answer:
    """The highest level that meets the SLO, by all probes so far."""

    level: float  # that was probed and is nearest below to the capacity, or at it; 0 if none
    failed: float  # the lowest one above it that was probed and rather misses; inf if none
    low: float  # in the interval from here …
    high: float  # … to here the capacity lies, with a probability of 90 %


class _State:
    """A search after these probes."""

    def __init__(self, probes: Sequence[Probe], whole: bool) -> None:
        self.probes, self.whole = probes, whole
        self.effect = estimate_effect(
            probe.grouping for probe in probes if probe.trusted and probe.met >= MOSTLY * probe.of
        )
        self.levels = sorted({probe.level for probe in probes})
        self.counts = {level: self._count(level) for level in self.levels}
        self.crossing, steepness = fit_curve(
            Point(probe.level, probe.pressure, probe.spread, probe.of) for probe in probes if probe.trusted
        )
        self.belief = Belief.from_counts(self._list_counts(), self.effect, steepness)
        self.capacity = self.belief.describe(LOWEST)  # of any level
        self.chances: Mapping[float, Chances] = {level: self.belief.describe(level) for level in self.levels}

    def next_question(self) -> Question | None:
        if not self.probes:
            return self._ask(FIRST_PLACES if self.whole else 1.0, exploring=True)
        if len(self.probes) >= MOST_PROBES or sum(probe.of for probe in self.probes) >= MOST:
            return None
        for level in self.levels:
            if not self.counts[level][1]:  # no probe of it could be trusted
                return self._ask(level, exploring=True)
        return self._narrow()

    def _narrow(self) -> Question | None:
        lowest = 1.0 if self.whole else LOWEST
        passed = [level for level in self.levels if self.chances[level].meets > 0.5]
        failed = [level for level in self.levels if level not in passed]
        if not failed:
            return self._go_up()
        if not passed and failed[0] > lowest:
            half = failed[0] // 2 if self.whole else failed[0] / 2
            return self._ask(max(half, lowest), exploring=True)
        if passed and failed[0] > passed[-1] * WIDE and (level := self._cut(passed[-1], failed[0])):
            return self._ask(level, exploring=True)
        return self._settle(lowest)

    def answer(self) -> Answer:
        if not self.probes:
            return Answer(0.0, math.inf, 0.0, math.inf)
        known = [level for level in self.levels if self._is_known(level)]
        rather = [
            level for level in self.levels if self.chances[level].fails <= 0.5 and meets_itself(*self.counts[level])
        ]
        level = max(known) if known else max(rather, key=self._closeness, default=0.0)
        failed = [each for each in self.levels if each > level and self._missed(each)]
        return Answer(level, min(failed, default=math.inf), self.capacity.low, self.capacity.high)

    def _go_up(self) -> Question | None:
        top = self.levels[-1]
        if top >= HIGHEST:
            sure = self.chances[top].meets >= SURE and self.chances[top].fails <= ERROR
            return None if sure or self._is_given_up(top) else self._ask(top, exploring=False)
        step = LONG_STEP if self.whole and self._pressure(top) <= ROOM else STEP
        level = min(top * step, max(self._extrapolate(), top * SHORT_STEP), HIGHEST)
        return self._ask(float(math.floor(level)) if self.whole else float(f"{level:.3g}"), exploring=True)

    def _extrapolate(self) -> float:
        """The level at which the pressure should reach 1; inf if it does not grow."""
        if not math.isnan(self.crossing):
            return self.crossing / MARGIN
        if len(self.levels) < 2:
            return math.inf
        low, high = self.levels[-2:]
        growth = (self._pressure(high) - self._pressure(low)) / (high - low)
        return high + (1 - self._pressure(high)) / growth if growth > 0 else math.inf

    def _settle(self, lowest: float) -> Question | None:
        """Narrows the capacity down, then measures the level that is probably close to it."""
        known = [level for level in self.levels if self._is_known(level)]
        if known:
            higher = self._find_higher(known[-1])
            return None if higher is None or self._is_given_up(higher) else self._ask(higher, exploring=False)
        level, close = find_closest(self.belief, self.whole)
        if close >= CLOSE:
            level = max(filter(self._is_close, self.levels), key=lambda each: self.counts[each][1], default=level)
        else:
            level = self._as_level(self._guess())
        level = max(level, lowest)
        none_meets = level == lowest and self._misses_surely(level)
        return None if none_meets or self._is_given_up(level) else self._ask(level, exploring=False)

    def _guess(self) -> float:
        """Where the latencies reach the objectives, less a margin, if the requests that missed leave that open."""
        if math.isnan(self.crossing):
            return self.capacity.middle
        low, high = self.belief.find_capacities(1 - OPEN, OPEN)
        return min(max(self.crossing * MARGIN, low), high)

    def _find_higher(self, known: float) -> float | None:
        """A level between one that may be named and a cliff that lies so far above it that the answer may be higher."""
        cliff = min((each for each in self.levels if each > known and self._is_cliff(each)), default=math.inf)
        highest = min(cliff, self.crossing) if self.crossing > known else cliff
        if math.isinf(cliff) or highest <= known / (1 - FROM_CLIFF) + self.whole:
            return None
        between = [each for each in self.levels if known < each < cliff]
        if between:
            return None if any(self._missed(each) for each in between) else between[-1]
        level = math.sqrt(known * cliff)
        return float(math.floor(level)) if self.whole else float(f"{level:.3g}")

    def _is_cliff(self, level: float) -> bool:
        met, of = self.counts[level]
        return of > 0 and met < CLIFF * of

    def _passes(self, level: float) -> bool:
        found, (met, of) = self._probes_at(level), self.counts[level]
        enough = of >= OWN and meets_itself(met, of)
        return enough and self.chances[level].fails <= ERROR and not found[-1].growing

    def _is_known(self, level: float) -> bool:
        passes = self._passes(level) and self.chances[level].meets >= LIKELY
        return passes and self._closeness(level) >= CLOSE

    def _is_close(self, level: float) -> bool:
        chances = self.chances[level]
        likely = chances.fails <= LIKELY_ERROR and chances.meets >= LIKELY
        return likely and self._closeness(level) >= CLOSE

    def _closeness(self, level: float) -> float:
        return closeness_of(self.belief, level, self.whole)

    def _is_given_up(self, level: float) -> bool:
        return sum(not probe.trusted for probe in self._probes_at(level)) >= MOST_TRIES

    def _as_level(self, capacity: float) -> float:
        if self.whole:
            capacity = min(max(float(math.floor(capacity + 0.5)), 1.0), HIGHEST)
        open_ = [level for level in self.levels if 1 - SURE < self.chances[level].meets < SURE]
        near = min(open_, key=lambda level: abs(math.log(level / capacity)), default=math.inf)
        return near if abs(math.log(near / capacity)) < RESOLUTION else float(f"{capacity:.3g}")

    def _cut(self, passed: float, failed: float) -> float | None:
        """The level at which the pressure should reach 1."""
        low, high = self._pressure(passed), self._pressure(failed)
        share = (1 - low) / (high - low) if low < 1 < high else 0.5
        evenly = passed + (failed - passed) * min(max(share, EDGE), 1 - EDGE)
        level = min(self.crossing, failed) * MARGIN if self.crossing > passed else evenly
        if self.whole:
            level = min(max(math.floor(level), passed + 1), failed - 1)
        return float(f"{level:.3g}") if passed < level < failed else None

    def _ask(self, level: float, exploring: bool) -> Question:
        found, judged = self._probes_at(level), self.counts.get(level, (0, 0))[1]
        return Question(level, exploring, len(found), judged, self.whole, self.effect, self.belief)

    def _list_counts(self) -> Iterator[tuple[float, int, int]]:
        """Of each trusted probe its level, requests that met the SLO, and all; of a level that failed, its counts."""
        for level in self.levels:
            found = [probe for probe in self._probes_at(level) if probe.trusted]
            if sum(probe.of for probe in found) < self.counts[level][1]:
                yield level, *self.counts[level]
            else:
                yield from ((level, probe.met, probe.of) for probe in found)

    def _count(self, level: float) -> tuple[int, int]:
        probes = self._probes_at(level)
        trusted = [probe for probe in probes if probe.trusted]
        met, of = sum(probe.met for probe in trusted), sum(probe.of for probe in trusted)
        given_up = not of and self._is_given_up(level)
        grows = probes[-1].growing and sum(probe.growing for probe in probes) >= MOST_TRIES
        fails = given_up or grows or any(probe.saturated for probe in probes)
        return met, of + round(OVERLOAD * self.effect) * fails

    def _misses_surely(self, level: float) -> bool:
        return level in self.levels and self._missed(level) and self.chances[level].meets <= 1 - SURE

    def _missed(self, level: float) -> bool:
        """Whether a level rather misses the SLO, by its own requests too."""
        met, of = self.counts[level]
        return of - met > ALLOWED * of and self.chances[level].meets <= 0.5

    def _pressure(self, level: float) -> float:
        return max((probe.pressure for probe in self._probes_at(level)), default=math.nan)

    def _probes_at(self, level: float) -> list[Probe]:
        return [probe for probe in self.probes if probe.level == level]


def find_unproven(probes: Sequence[Probe]) -> list[float]:
    """Levels that were given up though no probe of them was trusted or saturated."""
    proven = {probe.level for probe in probes if probe.trusted or probe.saturated}
    return sorted({probe.level for probe in probes} - proven)


def is_whole(search: Search | None) -> bool:
    """Whether the levels of this search are integers."""
    return search in (Search.max_concurrency, Search.sessions)
