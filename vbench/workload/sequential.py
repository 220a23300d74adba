"""The sequential test of a level: does it meet the SLO, by so many requests of which so many met every objective? Pure.

Wald's sequential probability ratio test of two shares of requests that meet every objective: FAILING against PASSING.
A level whose true share is FAILING (or less) passes with a probability below ERROR, and one whose true share is PASSING
(or more) fails with a probability below ERROR. In between, where 99 % lies, either answer is right.

Requests that are in flight together share the engine's steps, so their misses come in groups: over blocks of one
request's duration, counts of misses scatter 1 to 5 times as much as independent ones would (variance, on the simulated
engines of the tests). Each request therefore counts as 1 / `effect` of an independent one. A search estimates the
effect from its own probes (`vbench.workload.grouping`); DESIGN_EFFECT is the usual one.

Without a miss a level passes after 343 requests where the effect is 2, after 599 where it is 3; each miss costs it
another 110. If it is open for long, its share lies close to 99 %: a wider bound then tells apart levels whose shares
hardly differ. After MOST requests the likelier share decides.
"""

from __future__ import annotations

import math

FAILING, PASSING = 0.98, 0.997  # shares of requests that meet every objective
ERROR = 0.05  # of either kind
DESIGN_EFFECT = 2.0
MOST = 3000  # requests of a level

# A level still open after CLEAR requests lies close to 99 %: its bound grows, to 1 + WIDER times after CLOSE requests.
CLEAR, CLOSE, WIDER = 400, 1000, 0.5

_MET = math.log(PASSING / FAILING)
_MISSED = math.log((1 - PASSING) / (1 - FAILING))
_BOUND = math.log((1 - ERROR) / ERROR)


def evidence(met: int, of: int, effect: float = DESIGN_EFFECT) -> float:
    """The log-likelihood ratio of PASSING over FAILING: above 0 the level rather passes."""
    return (met * _MET + (of - met) * _MISSED) / effect


def verdict(met: int, of: int, effect: float = DESIGN_EFFECT) -> bool | None:
    """Whether a level passes, when `met` of `of` requests met every objective; None while that is open."""
    found = evidence(met, of, effect)
    if abs(found) < bound(of) and of < MOST:
        return None
    return found > 0


def bound(of: int) -> float:
    """The evidence that decides after `of` requests: Wald's bound, and more of it where so many left the level open."""
    return _BOUND * (1 + WIDER * min(max(of - CLEAR, 0) / (CLOSE - CLEAR), 1.0))
