"""The highest load that meets the objectives: which level to probe next, and the answer. Pure: probes in, level out.

A level is a number of requests at once (max_concurrency) or a second (request_rate), or of sessions at once (sessions).
Levels double, each with a short probe, until one fails; the bracket is then halved down to RESOLUTION. A short probe
only says which way to go: it goes on until its level seems to pass, or fails by the sequential test
(`vbench.workload.sequential`). The highest level that seems to pass must pass that test before it is the answer. All
trusted probes of a level count together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vbench.schema import Search, Workload
from vbench.workload import sequential
from vbench.workload.grouping import NOTHING, Grouping, estimate_effect

RECIPE = 3  # part of the key of every search: raise it when the same search would have another meaning
EXPLORING = 8  # requests that a short probe judges, at least
MOST_JUDGED = 800  # requests that any probe judges, at most
MOST_TRIES = 3  # probes of a level that are INVALID, or in which the queue grew
RESOLUTION = 0.05  # of the level: closer than that is not searched
FIRST_PLACES = 4.0  # level of the first probe of a closed loop
LONG_STEP, ROOM = 4.0, 0.5  # from a level whose latencies leave this much room, the next is so many times as high
MOSTLY = 0.9  # share of requests that meet the SLO: of probes with fewer, groups of misses run into each other
EDGE = 0.2  # of a bracket: so near to its ends no level is chosen
HIGHEST, LOWEST = 8192.0, 1 / 64


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
    grouping: Grouping = NOTHING  # of its misses


@dataclass(frozen=True)
class Question:
    """What to measure next: a level, and when its probe has told enough."""

    level: float
    exploring: bool  # until it seems to pass, or fails; otherwise until the level passes or fails
    attempt: int = 0  # how many probes of the level there were before
    met: int = 0  # of these probes together
    of: int = 0
    effect: float = sequential.DESIGN_EFFECT  # of misses that come in groups

    def verdict(self, met: int, of: int) -> bool | None:
        """Of the level, by a probe of which so far `met` of `of` requests met the SLO; None while it must go on."""
        met, of = self.met + met, self.of + of
        found = sequential.verdict(met, of, self.effect)
        seems_to_pass = self.exploring and of >= EXPLORING and sequential.evidence(met, of) > 0
        return True if found is None and seems_to_pass else found


def streams(load: Workload) -> int:
    """Requests of a load that may be in flight together; of a search, in its highest probe."""
    if load.search:
        return int(HIGHEST)
    together = load.sessions or load.request_count
    return min(load.request_count, load.max_concurrency or load.request_count, together)


def decide(probes: Sequence[Probe], effect: float = sequential.DESIGN_EFFECT) -> bool | None:
    """Whether a level passes by these probes of it; None while that is open."""
    if any(probe.saturated for probe in probes):
        return False
    met, of = _counts(probes)
    given_up = sum(not probe.trusted for probe in probes) >= MOST_TRIES
    verdict = sequential.verdict(met, of, effect)
    if verdict is None and given_up:
        verdict = of > 0 and sequential.evidence(met, of) > 0
    if verdict and probes[-1].growing:
        return False if sum(probe.growing for probe in probes) >= MOST_TRIES else None
    return verdict


def bracket(probes: Sequence[Probe]) -> tuple[float, float]:
    """The highest level that seems to pass, 0 if none, below the lowest that seems to fail, inf if none."""
    seems = {level: _seems_to_pass(probes, level) for level in {probe.level for probe in probes}}
    failed = min((level for level, passes in seems.items() if not passes), default=math.inf)
    return max((level for level, passes in seems.items() if passes and level < failed), default=0.0), failed


def next_question(probes: Sequence[Probe], whole: bool) -> Question | None:
    """What to probe next, level 1 at first; None when the answer is found. `whole` levels are integers."""
    if not probes:
        return _explore(FIRST_PLACES if whole else 1.0, probes)
    passed, failed = bracket(probes)
    if failed < math.inf and _decide_level(probes, failed) is None:
        return _explore(failed, probes)
    if math.isinf(failed) and passed < HIGHEST:
        step = LONG_STEP if whole and _pressure(probes, passed) <= ROOM else 2.0
        return _explore(min(passed * step, HIGHEST), probes)
    if not passed:
        lowest = 1.0 if whole else LOWEST
        return None if failed <= lowest else _explore(failed / 2, probes)
    if failed < math.inf and failed - passed > max(float(whole), RESOLUTION * passed):
        return _explore(_between(probes, passed, failed) if whole else (passed + failed) / 2, probes)
    return _decide(passed, probes) if _decide_level(probes, passed) is None else None


def answer(probes: Sequence[Probe]) -> float:
    """The highest level that passed below the lowest that failed; 0 if none did."""
    return bracket(probes)[0]


def find_unproven(probes: Sequence[Probe]) -> list[float]:
    """Levels that were given up though no probe of them was trusted or saturated."""
    proven = {probe.level for probe in probes if probe.trusted or probe.saturated}
    return sorted({probe.level for probe in probes} - proven)


def is_whole(search: Search | None) -> bool:
    """Whether the levels of this search are integers."""
    return search in (Search.max_concurrency, Search.sessions)


def _explore(level: float, probes: Sequence[Probe]) -> Question:
    return _question(level, probes, exploring=True)


def _decide(level: float, probes: Sequence[Probe]) -> Question:
    return _question(level, probes, exploring=False)


def _question(level: float, probes: Sequence[Probe], exploring: bool) -> Question:
    found = _probes_at(probes, level)
    return Question(level, exploring, len(found), *_counts(found), effect=_effect(probes))


def _between(probes: Sequence[Probe], passed: float, failed: float) -> float:
    """The level at which the pressure should reach 1, if it grows evenly from one level to the other."""
    low, high = _pressure(probes, passed), _pressure(probes, failed)
    share = (1 - low) / (high - low) if low < 1 < high else 0.5
    level = passed + (failed - passed) * min(max(share, EDGE), 1 - EDGE)
    return min(max(math.floor(level), passed + 1), failed - 1)


def _pressure(probes: Sequence[Probe], level: float) -> float:
    return max((probe.pressure for probe in _probes_at(probes, level)), default=math.nan)


def _seems_to_pass(probes: Sequence[Probe], level: float) -> bool:
    verdict = _decide_level(probes, level)
    return sequential.evidence(*_counts(_probes_at(probes, level))) > 0 if verdict is None else verdict


def _decide_level(probes: Sequence[Probe], level: float) -> bool | None:
    return decide(_probes_at(probes, level), _effect(probes))


def _effect(probes: Sequence[Probe]) -> float:
    """How large the groups are in which misses come: by all probes in which most requests met the SLO."""
    return estimate_effect(probe.grouping for probe in probes if probe.trusted and probe.met >= MOSTLY * probe.of)


def _probes_at(probes: Sequence[Probe], level: float) -> list[Probe]:
    return [probe for probe in probes if probe.level == level]


def _counts(probes: Sequence[Probe]) -> tuple[int, int]:
    trusted = [probe for probe in probes if probe.trusted]
    return sum(probe.met for probe in trusted), sum(probe.of for probe in trusted)
