"""How far the mean of a few repeats can be trusted: Student's t interval. Pure, and without scipy.

The t distribution's tails are a regularised incomplete beta function: P(|T| > t) = I_x(df/2, 1/2), x = df / (df + t²)
(Abramowitz and Stegun 26.7.1 with 26.5.27), which a continued fraction (26.5.8) gives to machine precision.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
PRECISION = 1e-14


@dataclass(frozen=True)
class Interval:
    """The mean of n samples, and half the width of its two-sided 95 % interval; both in the samples' unit."""

    mean: float  # NaN where n is 0
    half_width: float  # NaN where n is below 2: one sample says nothing of its spread
    n: int

    @property
    def relative(self) -> float:
        """The half-width as a share of the mean; NaN where either is unknown or the mean is 0."""
        return self.half_width / abs(self.mean) if self.mean else math.nan

    def __format__(self, spec: str) -> str:
        """`9,612 ± 50`, both numbers by the same spec; the mean alone where the half-width is unknown."""
        return format(self.mean, spec) + ("" if math.isnan(self.half_width) else f" ± {self.half_width:{spec}}")


def interval(samples: Iterable[float]) -> Interval:
    """The mean of the samples and its interval, as if they were independent and normally distributed."""
    values = [float(sample) for sample in samples]
    if not values:
        return Interval(math.nan, math.nan, 0)
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Interval(mean, math.nan, n)
    return Interval(mean, t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n), n)


@cache
def t_quantile(df: float) -> float:
    """The t beyond which, to both sides, a Student distribution of df >= 1 degrees of freedom has 5 %."""
    low, high = 1.9, 12.8  # between the normal distribution's 1.960 and the 12.706 of df = 1
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _outside(middle, df) > 1 - CONFIDENCE else (low, middle)
    return (low + high) / 2


def _outside(t: float, df: float) -> float:
    """P(|T| > t)."""
    return _incomplete_beta(df / (df + t * t), df / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), for 0 < x < 1."""
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast only below
        return 1 - _incomplete_beta(1 - x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(logarithm) / a * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction 1 / (1 + d1 / (1 + d2 / (1 + …))), forwards by Lentz's method."""
    value, above, below = 1.0, 1.0, 0.0
    for step in range(1, 100_000):
        term = _term(step, x, a, b)
        above, below = 1 + term / above, 1 / (1 + term * below)
        value *= above * below
        if abs(above * below - 1) < PRECISION:
            break
    return 1 / value


def _term(step: int, x: float, a: float, b: float) -> float:
    m, odd = divmod(step, 2)
    if odd:
        return -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    return m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
