"""Ratios of two sets of runs, on the points that both have and on no other. Pure.

A ratio is a difference of logarithms: of repeats it has Welch's interval, and the geometric mean of several ratios has
the interval that follows from theirs (Welch and Satterthwaite); a point without repeats among others with them counts
as noisy as the noisiest of these. Where less than half of the points have repeats, the scatter of the ratios over the
points says how far their mean can be trusted: it holds the noise, and how much the points truly differ.
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
    """The geometric mean of the ratios at n points, and the ends of its 95 % interval: NaN where nothing tells."""

    value: float
    low: float
    high: float
    points: int
    interval_from: str  # "repeats", "points", or "" where there is none

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if self.interval_from else "")


def logarithms(rows: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """One row a metric and `by`: of the metric's logarithm the mean over the runs, the variance of that mean, and n.

    What shapes a result and is not compared must be told apart by `by`. The variance is NaN for a single run.
    """
    keys = [*by, "metric"]
    long = rows.melt(id_vars=list(by), value_vars=list(metrics), var_name="metric")
    long = long[long["value"] > 0].assign(value=lambda each: np.log(each["value"].astype(float)))
    found = long.groupby(keys, sort=False)["value"].agg(mean="mean", variance="var", n="count").reset_index()
    return found.assign(variance=found["variance"] / found["n"])


def matched(one: pd.DataFrame, baseline: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """One row a metric and point that both have: `on`, metric, and of log(one / baseline) the mean, variance and df.

    Takes rows of `logarithms`. The variance is that of the mean, NaN where one of the two was measured once.
    """
    both = one.merge(baseline, on=[*on, "metric"], suffixes=("", "_base"))
    parts = both["variance"] ** 2 / (both["n"] - 1) + both["variance_base"] ** 2 / (both["n_base"] - 1)
    variance = both["variance"] + both["variance_base"]
    df = (variance**2 / parts).where(variance > 0, LARGEST_DF)
    return both[[*on, "metric"]].assign(log=both["mean"] - both["mean_base"], variance=variance, df=df)


def ratio(rows: pd.DataFrame) -> Ratio:
    """The geometric mean of the rows of one metric; at least one row of `matched`."""
    n, mean = len(rows), float(rows["log"].mean())
    half, origin = _half_width(rows)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), n, origin)


def ratios(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row a metric of each `by`: the fields of `Ratio`. Takes rows of `matched`."""
    metrics = {metric: place for place, metric in enumerate(dict.fromkeys(found["metric"]))}
    groups = found.groupby([*by, "metric"], sort=False)
    made = [dict(zip([*by, "metric"], key, strict=True)) | vars(ratio(rows)) for key, rows in groups]
    table = pd.DataFrame(made, columns=[*by, "metric", *Ratio.__dataclass_fields__])
    return table.sort_values([*by, "metric"], key=lambda each: each.replace(metrics), ignore_index=True)


def said(row: Any) -> str:
    """A row of `ratios` as a cell has it."""
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
