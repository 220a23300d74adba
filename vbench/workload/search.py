"""The highest load that meets the objectives: doubling until one fails, then bisection. Pure: probes in, level out.

A level is a number of requests at once (max_concurrency) or a second (request_rate). It passes where 99 % of its
requests meet every objective. Where its requests are too few to tell, or the probe was INVALID, it is undecided and is
probed again with fresh prompts, three times at the most, all its probes counting together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vbench.schema import RunConfig, Search, Workload

PASSING = 0.99
TURNS = 4  # of a concurrency: a probe has so many requests for each place, that most of it is steady
SECONDS = 20  # of a rate, likewise
MOST_TRIES = 3
CONFIDENCE_Z = 1.645  # one side 95 %
RESOLUTION = 0.05  # of the level: closer than that is not searched
HIGHEST, LOWEST = 8192.0, 1 / 64


@dataclass(frozen=True)
class Probe:
    """One measurement of a level."""

    level: float
    met: int  # requests that met every objective
    of: int  # requests
    trusted: bool = True  # the run was VALID
    saturated: bool = False  # the load outgrew the server: no further probe is needed to fail it


def probe_config(config: RunConfig, level: float, attempt: int) -> RunConfig:
    """The ordinary run that probes a level of this search; each attempt has fresh prompts."""
    load = config.workload
    if load.search is Search.max_concurrency:
        asked = replace(load, max_concurrency=int(level), num_prompts=max(load.num_prompts, TURNS * int(level)))
    else:
        asked = replace(load, request_rate=level, num_prompts=max(load.num_prompts, math.ceil(SECONDS * level)))
    return replace(config, workload=replace(asked, search=None, seed=load.seed + attempt))


def streams(load: Workload) -> int:
    """Requests of a load that may be in flight together; of a search, in its highest probe."""
    if load.search:
        return int(HIGHEST)
    return min(load.num_prompts, load.max_concurrency or load.num_prompts)


def decided(probes: Sequence[Probe]) -> bool | None:
    """Whether a level passes by these probes of it; None where that is still open."""
    if any(probe.saturated for probe in probes):
        return False
    trusted = [probe for probe in probes if probe.trusted]
    met, of = sum(probe.met for probe in trusted), sum(probe.of for probe in trusted)
    last_try = len(probes) >= MOST_TRIES
    if not of:
        return False if last_try else None
    low, high = _wilson(met, of)
    if low >= PASSING or (met == of and of >= 100) or (last_try and met / of >= PASSING):
        return True
    return False if high < PASSING or last_try else None


def unproven(probes: Sequence[Probe]) -> list[float]:
    """Levels that were given up though no probe of them was trusted, or told by saturation."""
    told = {probe.level for probe in probes if probe.trusted or probe.saturated}
    return sorted({probe.level for probe in probes} - told)


def next_level(probes: Sequence[Probe], whole: bool) -> float | None:
    """The level to probe next, 1 at first; None when the answer is found. `whole` levels are integers."""
    if not probes:
        return 1.0
    levels = {probe.level for probe in probes}
    verdicts = {level: decided([probe for probe in probes if probe.level == level]) for level in levels}
    still_open = [level for level, verdict in verdicts.items() if verdict is None]
    if still_open:
        return still_open[0]
    passed = max((level for level, verdict in verdicts.items() if verdict), default=0.0)
    failed = min((level for level, verdict in verdicts.items() if not verdict), default=math.inf)
    if math.isinf(failed):
        return passed * 2 if passed < HIGHEST else None
    if not passed:
        return None if whole or failed <= LOWEST else failed / 2
    if failed - passed <= max(float(whole), RESOLUTION * passed):
        return None
    middle = (passed + failed) / 2
    return float(math.floor(middle)) if whole else middle


def answer(probes: Sequence[Probe]) -> float:
    """The highest level that passed, 0 where none did."""
    levels = {probe.level for probe in probes}
    return max((level for level in levels if decided([probe for probe in probes if probe.level == level])), default=0.0)


def _wilson(met: int, of: int) -> tuple[float, float]:
    """Bounds of the true share, by Wilson's score interval."""
    z2, share = CONFIDENCE_Z**2, met / of
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = CONFIDENCE_Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return middle - half, middle + half
