"""The sequential test of a level: does it meet the SLO, by so many requests of which so many met every objective? Pure.

Wald's sequential probability ratio test of two shares of requests that meet every objective: FAILING against PASSING.
A level whose true share is FAILING (or less) passes with a probability below ERROR, and one whose true share is PASSING
(or more) fails with a probability below ERROR. In between, where 99 % lies, either answer is right.

Requests that are in flight together share the engine's steps, so their misses come in groups: over blocks of one
request's duration, counts of misses scatter 1 to 5 times as much as independent ones would (variance, on the simulated
engines of the tests). Each request therefore counts as 1 / DESIGN_EFFECT of an independent one.

Without a miss a level passes after 343 requests; each miss costs it another 110. Expected sizes, if misses are
independent: 440 requests at a true share of 99.8 %, 730 at 99.5 %, 1,100 at 99.1 % (the most), 310 at 98 %, 40 at 90 %.
After MOST requests the likelier share decides.
"""

from __future__ import annotations

import math

FAILING, PASSING = 0.98, 0.997  # shares of requests that meet every objective
ERROR = 0.05  # of either kind
DESIGN_EFFECT = 2.0
MOST = 2400  # requests of a level

_MET = math.log(PASSING / FAILING) / DESIGN_EFFECT
_MISSED = math.log((1 - PASSING) / (1 - FAILING)) / DESIGN_EFFECT
_BOUND = math.log((1 - ERROR) / ERROR)


def evidence(met: int, of: int) -> float:
    """The log-likelihood ratio of PASSING over FAILING: above 0 the level rather passes."""
    return met * _MET + (of - met) * _MISSED


def verdict(met: int, of: int) -> bool | None:
    """Whether a level passes, when `met` of `of` requests met every objective; None while that is open."""
    found = evidence(met, of)
    if abs(found) < _BOUND and of < MOST:
        return None
    return found > 0


def requests_needed(met: int, of: int) -> int:
    """How many more requests, if all of them meet every objective, let the level pass."""
    return max(math.ceil((_BOUND - evidence(met, of)) / _MET), 0)
