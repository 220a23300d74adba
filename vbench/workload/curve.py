"""Where the latencies of a search's probes reach their objectives, by a straight line in logarithms. Pure.

A probe's pressure is the binding objective's 99th percentile in times of its limit. Near the capacity it grows about as
a power of the level. The level at which it reaches 1 says where the capacity should be, and so where to measure next.
Whether a level meets the SLO is told by the requests that missed it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

NEAR = 0.15  # pressures that differ from 1 by this much, in their logarithm, count for 37 % of those at 1
USUAL_POWER = 1.5  # of the level, taken as seen …
USUAL_SPREAD = 0.04  # … by levels that differ by this much, in their logarithm
GENTLER = 0.6  # misses grow less steeply than that, as the percentiles of few requests lie close together
POWERS = 0.5, 30.0  # believed
REACH = 3.0  # of NEAR: if no pressure is nearer to 1 than that, nothing is known
TWICE_TOLD = 2.0  # a percentile's error counts so many times, as the misses among the same requests count already
HOST = 0.05  # error of a probe's pressure, in its logarithm, however many requests: hosts are not always equally fast


class Point(NamedTuple):
    """Of a probe."""

    level: float
    pressure: float  # NaN if unknown
    spread: float  # of the pressures of its requests: logarithm of the 99th over the 90th percentile; NaN if unknown
    judged: int


class Curve(NamedTuple):
    """How the pressure grows with the level near the capacity."""

    crossing: float = math.nan  # the level at which it reaches 1
    steepness: float = math.nan  # power of the level with which the share of misses should grow
    error: float = math.inf  # of the logarithm of the crossing


UNKNOWN = Curve()


def fit_curve(points: Iterable[Point], effect: float = 1.0) -> Curve:
    """By probes whose pressure is near 1; NaN where there are none. `effect` is that of misses that come in groups."""
    near = [
        (
            each.judged * math.exp(-((math.log(each.pressure) / NEAR) ** 2)),
            math.log(each.level),
            math.log(each.pressure),
            each.spread,
        )
        for each in points
        if each.pressure > 0 and each.spread > 0 and abs(math.log(each.pressure)) <= REACH * NEAR
    ]
    total = sum(weight for weight, *_ in near)
    if not total:
        return UNKNOWN
    x = sum(weight * level for weight, level, *_ in near) / total
    y = sum(weight * pressure for weight, _, pressure, _ in near) / total
    spread = sum(weight * each for weight, *_, each in near) / total
    square = sum(weight * (level - x) ** 2 for weight, level, *_ in near) / total + USUAL_SPREAD**2
    joint = sum(weight * (level - x) * (pressure - y) for weight, level, pressure, _ in near) / total
    power = min(max((joint + USUAL_POWER * USUAL_SPREAD**2) / square, POWERS[0]), POWERS[1])
    # Of n latencies whose logarithms have an exponential tail, the 99th percentile's error is the tail's scale times …
    of_percentile = TWICE_TOLD * spread / math.log(10) * math.sqrt(99 * effect / total)
    of_host = HOST * math.sqrt(sum(weight**2 for weight, *_ in near)) / total
    of_power = y * USUAL_SPREAD / math.sqrt(square)  # of one level alone, nothing tells the power
    error = math.hypot(of_host, of_percentile, of_power) / power
    return Curve(math.exp(x - y / power), GENTLER * power * math.log(10) / spread, error)
