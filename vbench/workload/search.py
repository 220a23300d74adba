"""The highest load that meets the objectives: which level to probe next, and the answer. Pure: probes in, level out.

A level is a number of requests at once (max_concurrency) or a second (request_rate), or of sessions at once (sessions).
Levels rise, each with a short probe, until one fails: twofold, fourfold while the latencies leave room, and no further
than to where the latencies point (`vbench.workload.curve`). Where the capacity lies is then estimated from all probes
together (`vbench.workload.capacity`). Levels a little below the one at which the latencies should reach the objectives
are measured, until one of them is close to the capacity and hardly can be one of which 98 % or fewer meet the SLO
(`vbench.workload.question`). A level that was told is not asked again (`vbench.workload.levels`). Between it and a
level at which many requests missed the SLO another one is tried if the answer may be more than FROM_CLIFF higher. After
MOST requests the answer is given with a wide interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vbench.schema import Search, Workload
from vbench.workload.capacity import HIGHEST, LOWEST
from vbench.workload.incident import find_set_aside, find_suspect, set_aside
from vbench.workload.levels import Levels, Probe
from vbench.workload.question import CLOSE, ERROR, SURE, Question, find_closest

RECIPE = 7  # part of the key of every search: raise it when the same search would have another meaning
MOST_JUDGED = 800  # requests that any probe judges, at most
MOST, MOST_PROBES = 8000, 40  # judged requests and probes of a search, about
WIDE = 1.5  # a bracket that is halved by short probes
RESOLUTION = 0.025  # of a rate: closer ones are taken as the same level
FIRST_PLACES = 4.0  # level of the first probe of a closed loop
SHORT_STEP, STEP = 1.1, 2.0  # the next level up is so many times as high, at least and at most
LONG_STEP, ROOM = 4.0, 0.6  # … from a level of a closed loop whose pressure is at most this, at most
UNSURE = 0.1  # error of a crossing, in its logarithm: with a larger one the climb goes by its last two levels
MARGIN = 0.95  # of the level at which the latencies should reach the objectives: that near to it is measured
NEAR = 0.9  # pressure of an answer, above which it is not far too low
OPEN = 0.75  # … within the quarters of the estimate of the capacity
FROM_CLIFF = 0.06  # … and the answer lies no more than this below it, unless no level between meets the SLO
EDGE = 0.2  # of a bracket: so near to its ends no level is chosen


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
    in_one_moment: bool = False  # it missed in one moment only, and the latencies leave room for a far higher level
    set_aside: float | None = None  # a level of which a probe that a moment hit counts for nothing


class _State:
    """A search after these probes."""

    def __init__(self, probes: Sequence[Probe], whole: bool) -> None:
        self.probes, self.whole, self.incident = probes, whole, find_set_aside(probes)
        self.seen = Levels(set_aside(probes, self.incident), whole)

    def next_question(self) -> Question | None:
        if not self.probes:
            return self.ask(FIRST_PLACES if self.whole else 1.0, exploring=True)
        if len(self.probes) >= MOST_PROBES or sum(probe.of for probe in self.probes) >= MOST:
            return None
        for level in self.seen.levels:
            if not self.seen.counts[level][1]:  # no probe of it could be trusted
                return self.ask(level, exploring=True)
        return self._narrow()

    def _narrow(self) -> Question | None:
        lowest = 1.0 if self.whole else LOWEST
        passed = [level for level in self.seen.levels if self.seen.chances[level].meets > 0.5]
        failed = [level for level in self.seen.levels if level not in passed]
        if not failed:
            return self._go_up()
        if not passed and failed[0] > lowest:
            half = failed[0] // 2 if self.whole else failed[0] / 2
            return self.ask(max(half, lowest), exploring=True)
        if passed and failed[0] > passed[-1] * WIDE and (level := self._cut(passed[-1], failed[0])):
            return self.ask(level, exploring=True)
        return self._doubt(ROOM) or self._settle(lowest) or self._doubt(NEAR)

    def answer(self) -> Answer:
        if not self.probes:
            return Answer(0.0, math.inf, 0.0, math.inf)
        seen = self.seen
        known = [level for level in seen.levels if seen.is_known(level)]
        rather = [level for level in seen.levels if seen.chances[level].fails <= 0.5 and not seen.is_blocked(level)]
        level = max(known) if known else max(rather, key=seen.closeness, default=0.0)
        failed = [each for each in seen.levels if each > level and seen.missed(each)]
        lowest = min(failed, default=math.inf)
        doubtful = find_suspect(self.probes, lowest) is not None and seen.least_pressure(level) <= NEAR
        aside = None if self.incident is None else self.probes[self.incident].level
        return Answer(level, lowest, *seen.find_interval(), doubtful, aside)

    def _go_up(self) -> Question | None:
        top = self.seen.levels[-1]
        if top >= HIGHEST:
            sure = self.seen.chances[top].meets >= SURE and self.seen.chances[top].fails <= ERROR
            return None if sure or self.seen.is_given_up(top) else self.ask(top, exploring=False)
        step = LONG_STEP if self.whole and self.seen.least_pressure(top) <= ROOM else STEP
        level = min(top * step, max(self._extrapolate(), top * SHORT_STEP), HIGHEST)
        return self.ask(max(float(math.floor(level)), top + 1) if self.whole else float(f"{level:.3g}"), exploring=True)

    def _extrapolate(self) -> float:
        """The level at which the pressure should reach 1; inf if it does not grow.

        All levels rather pass here. What made one of a level's probes slow nevertheless was a passing moment.
        """
        if self.seen.error <= UNSURE:
            return self.seen.crossing / MARGIN
        if len(self.seen.levels) < 2:
            return math.inf
        low, high = self.seen.levels[-2:]
        growth = (self.seen.least_pressure(high) - self.seen.least_pressure(low)) / (high - low)
        return high + (1 - self.seen.least_pressure(high)) / growth if growth > 0 else math.inf

    def _settle(self, lowest: float) -> Question | None:
        """Narrows the capacity down, then measures the level that is probably close to it."""
        known = [level for level in self.seen.levels if self.seen.is_known(level)]
        if known:
            higher = self._find_higher(known[-1])
            return None if higher is None or self.seen.is_given_up(higher) else self.ask(higher, exploring=False)
        closest, close = find_closest(self.seen.belief, self.whole)
        if close >= CLOSE:
            measured = filter(self.seen.is_close, self.seen.levels)
            closest = max(measured, key=lambda each: self.seen.counts[each][1], default=closest)
        else:
            closest = self._as_level(self._guess())
        level = self._find_untold(max(closest, lowest), lowest)
        return None if level is None or self.seen.is_given_up(level) else self.ask(level, exploring=False)

    def _guess(self) -> float:
        """Where the latencies reach the objectives, less a margin, if the requests that missed leave that open."""
        if math.isnan(self.seen.crossing):
            return self.seen.capacity.middle
        low, high = self.seen.belief.find_capacities(1 - OPEN, OPEN)
        return min(max(self.seen.crossing * MARGIN, low), high)

    def _find_untold(self, level: float, lowest: float) -> float | None:
        """The level, or the nearest one that was not told: above it if it rather passes, else below it.

        None if the opposite was told of the next one, or if there is none.
        """
        seen, up = self.seen, self.seen.rather_passes(level)
        while level in seen.levels and seen.is_told(level):
            if seen.rather_passes(level) is not up:
                return None
            further = self._step(level, up)
            between = [each for each in seen.levels if min(level, further) < each < max(level, further)]
            level = min(between, key=lambda each: abs(each - level), default=further)
        if level < lowest:
            return None if seen.misses_surely(lowest) else lowest
        hopeless = up and seen.belief.describe(level).meets <= 1 - SURE
        return None if hopeless or level > HIGHEST else level

    def _step(self, level: float, up: bool) -> float:
        further = level * (1 + RESOLUTION) if up else level / (1 + RESOLUTION)
        if self.whole:
            return max(float(math.floor(further)), level + 1) if up else min(float(math.ceil(further)), level - 1)
        return float(f"{further:.3g}")

    def _find_higher(self, known: float) -> float | None:
        """A level between one that may be named and a cliff that lies so far above it that the answer may be higher."""
        cliff = min((each for each in self.seen.levels if each > known and self.seen.is_cliff(each)), default=math.inf)
        highest = min(cliff, self.seen.crossing) if self.seen.crossing > known else cliff
        if math.isinf(cliff) or highest <= known / (1 - FROM_CLIFF) + self.whole:
            return None
        between = [each for each in self.seen.levels if known < each < cliff]
        if between:
            failed = any(self.seen.missed(each) or self.seen.is_blocked(each) for each in between)
            return None if failed else between[-1]
        level = math.sqrt(known * cliff)
        return float(math.floor(level)) if self.whole else float(f"{level:.3g}")

    def _as_level(self, capacity: float) -> float:
        if self.whole:
            capacity = min(max(float(math.floor(capacity + 0.5)), 1.0), HIGHEST)
        open_ = [level for level in self.seen.levels if 1 - SURE < self.seen.chances[level].meets < SURE]
        near = min(open_, key=lambda level: abs(math.log(level / capacity)), default=math.inf)
        return near if abs(math.log(near / capacity)) < RESOLUTION else float(f"{capacity:.3g}")

    def _cut(self, passed: float, failed: float) -> float | None:
        """The level at which the pressure should reach 1."""
        low, high = self.seen.pressure(passed), self.seen.pressure(failed)
        share = (1 - low) / (high - low) if low < 1 < high else 0.5
        evenly = passed + (failed - passed) * min(max(share, EDGE), 1 - EDGE)
        level = min(self.seen.crossing, failed) * MARGIN if self.seen.crossing > passed else evenly
        if self.whole:
            level = min(max(math.floor(level), passed + 1), failed - 1)
        return float(f"{level:.3g}") if passed < level < failed else None

    def _doubt(self, room: float) -> Question | None:
        """The level that bounds the answer once more, as if it had not failed, if it missed the SLO in one moment only.

        Only if the pressure at the answer is at most `room`: otherwise it is near the capacity anyway.
        """
        found = self.answer()
        suspect = find_suspect(self.probes, found.failed)
        leaves_room = self.seen.least_pressure(found.level) <= room
        if suspect is None or not leaves_room or self.incident is not None or self.seen.is_given_up(found.failed):
            return None
        doubted, others = self.probes[suspect], [*self.probes[:suspect], *self.probes[suspect + 1 :]]
        attempt = len(self.seen.probes_at(found.failed))
        question = _State(others, self.whole).ask(found.failed, exploring=True)
        return replace(question, attempt=attempt, met=doubted.met, judged=doubted.of)

    def ask(self, level: float, exploring: bool) -> Question:
        met, judged = self.seen.counts.get(level, (0, 0))
        attempt = len(self.seen.probes_at(level))
        return Question(level, exploring, attempt, met, judged, self.whole, self.seen.effect, self.seen.belief)


def find_unproven(probes: Sequence[Probe]) -> list[float]:
    """Levels that were given up though no probe of them was trusted or saturated."""
    proven = {probe.level for probe in probes if probe.trusted or probe.saturated}
    return sorted({probe.level for probe in probes} - proven)


def is_whole(search: Search | None) -> bool:
    """Whether the levels of this search are integers."""
    return search in (Search.max_concurrency, Search.sessions)
