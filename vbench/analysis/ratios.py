"""Ratios of two sets of runs, at the points that both have. Pure.

A ratio is a difference of logarithms. With repeats it gets Welch's interval, and the geometric mean of several ratios
gets the interval that follows from theirs (Welch and Satterthwaite); a point without repeats is assumed to be as noisy
as the noisiest point with repeats. If fewer than half of the points have repeats, the interval comes from the scatter
of the ratios over the points, which holds the noise and also how much the points truly differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vbench.metrics.intervals import t_quantile

LARGEST_DF = 1000  # beyond it Student's t is the normal distribution


@dataclass(frozen=True)
class Ratio:
    """The geometric mean of the ratios at n points, and the ends of its 95 % interval; NaN without an interval."""

    value: float
    low: float
    high: float
    points: int
    interval_from: str  # "repeats", "points", or "" where there is none

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if self.interval_from else "")


def log_means(rows: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and `by`: the mean of the metric's logarithm, the variance of that mean, and n runs.

    `by` must separate everything that shapes a result and is not compared. The variance is NaN for a single run.
    """
    keys = [*by, "metric"]
    long = rows.melt(id_vars=list(by), value_vars=list(metrics), var_name="metric")
    long = long[long["value"] > 0].assign(value=lambda each: np.log(each["value"].astype(float)))
    found = long.groupby(keys, sort=False)["value"].agg(mean="mean", variance="var", n="count").reset_index()
    return found.assign(variance=found["variance"] / found["n"])


def match_points(one: pd.DataFrame, baseline: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and point that both have: `on`, metric, and the log, variance and df of one / baseline.

    Takes rows of `log_means`. The variance is that of the mean, NaN where one of the two was measured only once.
    """
    both = one.merge(baseline, on=[*on, "metric"], suffixes=("", "_base"))
    parts = both["variance"] ** 2 / (both["n"] - 1) + both["variance_base"] ** 2 / (both["n_base"] - 1)
    variance = both["variance"] + both["variance_base"]
    df = (variance**2 / parts).where(variance > 0, LARGEST_DF)
    return both[[*on, "metric"]].assign(log=both["mean"] - both["mean_base"], variance=variance, df=df)


def mean_ratio(rows: pd.DataFrame) -> Ratio:
    """The geometric mean of the rows of one metric; at least one row of `match_points`."""
    n, mean = len(rows), float(rows["log"].mean())
    half, origin = _half_width(rows)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), n, origin)


def mean_ratios(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and `by`: the fields of `Ratio`. Takes rows of `match_points`."""
    metrics = {metric: place for place, metric in enumerate(dict.fromkeys(found["metric"]))}
    groups = found.groupby([*by, "metric"], sort=False)
    made = [dict(zip([*by, "metric"], key, strict=True)) | vars(mean_ratio(rows)) for key, rows in groups]
    table = pd.DataFrame(made, columns=[*by, "metric", *Ratio.__dataclass_fields__])
    return table.sort_values([*by, "metric"], key=lambda each: each.replace(metrics), ignore_index=True)


def ratio_text(row: Any) -> str:
    """A row of `mean_ratios` as text: `0.985 [0.971, 0.999]`."""
    return str(Ratio(*(getattr(row, field) for field in Ratio.__dataclass_fields__)))


def _half_width(rows: pd.DataFrame) -> tuple[float, str]:
    n, variances, df = len(rows), rows["variance"].to_numpy(dtype=float), rows["df"].to_numpy(dtype=float)
    known = ~np.isnan(variances)
    if known.sum() * 2 >= n:
        noisiest = int(np.nanargmax(variances))
        variances, df = np.where(known, variances, variances[noisiest]), np.where(known, df, df[noisiest])
        total = variances.sum() / n**2
        together = total**2 / ((variances / n**2) ** 2 / df).sum() if total > 0 else LARGEST_DF
        return t_quantile(max(1.0, min(LARGEST_DF, together))) * math.sqrt(total), "repeats"
    if n > 1:
        return t_quantile(n - 1) * float(rows["log"].std()) / math.sqrt(n), "points"
    return math.nan, ""
