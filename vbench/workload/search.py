"""The highest load that meets the objectives: which level to probe next, and the answer. Pure: probes in, level out.

A level is a number of requests at once (max_concurrency) or a second (request_rate). Levels double, each with a short
probe, until one fails; the bracket is then halved down to RESOLUTION. A short probe only says which way to go: a level
that seems to fail is probed until that is certain, and the highest one that seems to pass must pass the sequential test
(`vbench.workload.sequential`) before it is the answer. All trusted probes of a level count together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vbench.schema import Search, Workload
from vbench.workload import sequential

RECIPE = 2  # part of the key of every search: raise it when the same search would have another meaning
EXPLORING = 8  # requests of a short probe, at least
DECIDING = 500  # requests of any probe, at most
MOST_TRIES = 3  # probes of a level that are INVALID, or in which the queue grew
RESOLUTION = 0.05  # of the level: closer than that is not searched
HIGHEST, LOWEST = 8192.0, 1 / 64


@dataclass(frozen=True)
class Probe:
    """One measurement of a level."""

    level: float
    met: int  # steady requests that met every objective
    of: int  # steady requests
    trusted: bool = True  # the run was VALID
    saturated: bool = False  # the load outgrew the server: the level fails without further probes
    growing: bool = False  # the queue was growing, so that a longer load may fail


@dataclass(frozen=True)
class Question:
    """What to measure next: a level, and how many of its requests to judge."""

    level: float
    requests: int
    exploring: bool  # a short look; otherwise the probe is to decide
    attempt: int  # how many probes of the level there were before


def streams(load: Workload) -> int:
    """Requests of a load that may be in flight together; of a search, in its highest probe."""
    if load.search:
        return int(HIGHEST)
    return min(load.num_prompts, load.max_concurrency or load.num_prompts)


def decide(probes: Sequence[Probe]) -> bool | None:
    """Whether a level passes by these probes of it; None while that is open."""
    if any(probe.saturated for probe in probes):
        return False
    met, of = _counts(probes)
    given_up = sum(not probe.trusted for probe in probes) >= MOST_TRIES
    verdict = sequential.verdict(met, of)
    if verdict is None and given_up:
        verdict = of > 0 and sequential.evidence(met, of) > 0
    if verdict and probes[-1].growing:
        return False if sum(probe.growing for probe in probes) >= MOST_TRIES else None
    return verdict


def bracket(probes: Sequence[Probe]) -> tuple[float, float]:
    """The highest level that seems to pass, 0 if none, below the lowest that seems to fail, inf if none."""
    seems = {level: _seems_to_pass(_probes_at(probes, level)) for level in {probe.level for probe in probes}}
    failed = min((level for level, passes in seems.items() if not passes), default=math.inf)
    return max((level for level, passes in seems.items() if passes and level < failed), default=0.0), failed


def next_question(probes: Sequence[Probe], whole: bool) -> Question | None:
    """What to probe next, level 1 at first; None when the answer is found. `whole` levels are integers."""
    if not probes:
        return _explore(1.0, probes)
    passed, failed = bracket(probes)
    if failed < math.inf and decide(_probes_at(probes, failed)) is None:
        return _confirm(failed, probes)
    if math.isinf(failed) and passed < HIGHEST:
        return _explore(passed * 2, probes)
    if not passed:
        return None if whole or failed <= LOWEST else _explore(failed / 2, probes)
    if failed < math.inf and failed - passed > max(float(whole), RESOLUTION * passed):
        middle = (passed + failed) / 2
        return _explore(float(math.floor(middle)) if whole else middle, probes)
    return _decide(passed, probes) if decide(_probes_at(probes, passed)) is None else None


def answer(probes: Sequence[Probe]) -> float:
    """The highest level that passed below the lowest that failed; 0 if none did."""
    return bracket(probes)[0]


def find_unproven(probes: Sequence[Probe]) -> list[float]:
    """Levels that were given up though no probe of them was trusted or saturated."""
    proven = {probe.level for probe in probes if probe.trusted or probe.saturated}
    return sorted({probe.level for probe in probes} - proven)


def is_whole(search: Search | None) -> bool:
    """Whether the levels of this search are integers."""
    return search is Search.max_concurrency


def _explore(level: float, probes: Sequence[Probe]) -> Question:
    return Question(level, EXPLORING, exploring=True, attempt=len(_probes_at(probes, level)))


def _confirm(level: float, probes: Sequence[Probe]) -> Question:
    """Looks again at a level that seems to fail: twice as long as so far, since most failures show soon."""
    found = _probes_at(probes, level)
    _, of = _counts(found)
    requests = min(sequential.requests_needed(*_counts(found)), max(2 * of, EXPLORING), DECIDING)
    return Question(level, requests, exploring=False, attempt=len(found))


def _decide(level: float, probes: Sequence[Probe]) -> Question:
    """Lets a level pass if all requests of the probe meet the objectives."""
    found = _probes_at(probes, level)
    requests = min(max(sequential.requests_needed(*_counts(found)), EXPLORING), DECIDING)
    return Question(level, requests, exploring=False, attempt=len(found))


def _seems_to_pass(probes: Sequence[Probe]) -> bool:
    verdict = decide(probes)
    return sequential.evidence(*_counts(probes)) > 0 if verdict is None else verdict


def _probes_at(probes: Sequence[Probe], level: float) -> list[Probe]:
    return [probe for probe in probes if probe.level == level]


def _counts(probes: Sequence[Probe]) -> tuple[int, int]:
    trusted = [probe for probe in probes if probe.trusted]
    return sum(probe.met for probe in trusted), sum(probe.of for probe in trusted)
