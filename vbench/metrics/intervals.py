"""How far the mean of a few repeats can be trusted: Student's t interval, with scipy's quantile. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

CONFIDENCE = 0.95
FEW = 9.95  # a number below it has a digit behind the point


@dataclass(frozen=True)
class Interval:
    """The mean of n samples, and half the width of its two-sided 95 % interval; both in the samples' unit."""

    mean: float  # NaN if n is 0
    half_width: float  # NaN if n is below 2: one sample has no spread
    n: int

    @property
    def relative(self) -> float:
        """The half-width as a share of the mean; NaN if either is unknown or the mean is 0."""
        return self.half_width / abs(self.mean) if self.mean else math.nan

    def __format__(self, spec: str) -> str:
        """`9,612 ± 50`, both numbers by the same spec; the mean alone if the half-width is unknown."""
        if spec.endswith(".0f") and 0 < abs(self.mean) < FEW:
            spec = ".2g"  # 0.4 tokens/s are not 0
        if math.isnan(self.half_width):
            return format(self.mean, spec)
        half = format(self.half_width, spec)
        return f"{self.mean:{spec}} ± {half if half.strip('0.') else format(self.half_width, '.1g')}"  # never ± 0.0


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
    from scipy.special import stdtrit  # heavy to import, and jobs do not need it

    return float(stdtrit(df, (1 + CONFIDENCE) / 2))
