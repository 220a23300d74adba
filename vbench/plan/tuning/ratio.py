"""The ratio of an option's scores to those of the defaults, each start of a server one sample. Pure.

The same interval as `vbench.analysis.ratios` gives for one point on several starts: Welch's, of logarithms.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vbench.metrics.intervals import t_quantile

NO_SPREAD = 1e-20  # of a variance of logarithms; below it is rounding


@dataclass(frozen=True)
class Ratio:
    """The ratio of the geometric means, and the ends of its 95 % interval; NaN where the values have no spread."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if self.low == self.low else "")


def compare(scores: Sequence[float], base: Sequence[float]) -> Ratio:
    """Of at least two scores above 0 on each side."""
    sides = [[math.log(each) for each in some] for some in (scores, base)]
    log = statistics.fmean(sides[0]) - statistics.fmean(sides[1])
    variances = [statistics.variance(side) / len(side) for side in sides]
    total = math.fsum(variances)
    if total < NO_SPREAD:
        return Ratio(math.exp(log), math.nan, math.nan)
    df = total**2 / sum(each**2 / (len(side) - 1) for each, side in zip(variances, sides, strict=True))
    half = t_quantile(max(1.0, df)) * math.sqrt(total)
    return Ratio(math.exp(log), math.exp(log - half), math.exp(log + half))
