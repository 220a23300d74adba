"""Ratios of two sets of runs, at the points that both have. Pure.

A ratio is a difference of logarithms. The geometric mean of several gets its interval from the best of these:

starts   every point was measured on several starts of both servers: all that was measured on one start shares what that
         start decided, at every load, so the starts are the independent samples (cluster-robust variance)
repeats  at least half of the points have repeats on a start: Welch's interval, and of several points Welch and
         Satterthwaite's; a point without repeats is assumed to be as noisy as the noisiest with repeats. The interval
         does not cover what another start would change
points   the scatter of the ratios over the points, which holds the noise and also how much the points truly differ

Values that agree exactly tell nothing of their spread: their variance is unknown, not zero. A point at which a run has
a value of 0 has no ratio, and neither has a mean that it is part of: without it the mean would be too good. Percentiles
over too few replies are no values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vbench.analysis.points import SERVER, withhold_untold
from vbench.metrics.intervals import t_quantile

Values = Any  # an array of one column of `match_points`
VALUES = ("log", "variance", "df", "starts", "starts_base")
NO_SPREAD = 1e-20  # of a variance of logarithms; below it is rounding
NO_RATIO = "none: 0 in a run"
LARGEST_DF = 1000  # beyond it Student's t is the normal distribution


@dataclass(frozen=True)
class Ratio:
    """The geometric mean of the ratios at n points, and the ends of its 95 % interval; NaN without an interval.

    `value` is NaN where a run has a 0.
    """

    value: float
    low: float
    high: float
    points: int
    interval_from: str  # "starts", "repeats", "points", or "" where there is none

    def __str__(self) -> str:
        if math.isnan(self.value):
            return NO_RATIO
        return f"{self.value:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if self.interval_from else "")


def log_means(rows: pd.DataFrame, metrics: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and `by`: the mean of the metric's logarithm, the variance of that mean, and n.

    `by` must separate everything that shapes a result and is not compared. n counts runs, or starts of the server if
    there are several; `starts` then holds the mean of each by its server, else None. The variance is NaN if n is 1.
    The mean is NaN if a value is 0 or less.
    """
    keys = [*by, "metric"]
    rows = rows if SERVER in rows else rows.assign(**{SERVER: None})
    rows = withhold_untold(rows, metrics)
    long = rows.melt(id_vars=[*by, SERVER], value_vars=list(metrics), var_name="metric")
    long = long[long["value"].notna()].astype({"value": float})
    zero = long["value"] <= 0
    long["value"] = np.log(long["value"].where(~zero, 1.0))
    found = _summarise(long, keys).assign(starts=None)
    of_starts = long.dropna(subset=[SERVER]).groupby([*keys, SERVER], sort=False)["value"].mean().reset_index()
    several = of_starts[of_starts.groupby(keys, sort=False)["value"].transform("size") > 1]
    if len(several):
        groups = several.groupby(keys, sort=False)
        values = [dict(zip(each[SERVER], each["value"], strict=True)) for _, each in groups]
        clustered = _summarise(several, keys).assign(starts=values)
        both = pd.concat([each.set_index(keys) for each in (clustered, found)])
        found = both[~both.index.duplicated()].loc[found.set_index(keys).index].reset_index()
    if zero.any():
        lacking = pd.MultiIndex.from_frame(found[keys]).isin(pd.MultiIndex.from_frame(long.loc[zero, keys]))
        found = found.assign(mean=found["mean"].mask(lacking), starts=found["starts"].mask(lacking, None))
        found["variance"] = found["variance"].mask(lacking)
    return found.assign(variance=found["variance"].where(found["variance"] > NO_SPREAD))


def match_points(one: pd.DataFrame, baseline: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and point that both have: `on`, metric, and the log, variance and df of one / baseline.

    Takes rows of `log_means`. The variance is that of the mean, NaN where one of the two has none. `starts` and
    `starts_base` are those of `log_means`.
    """
    both = one.merge(baseline, on=[*on, "metric"], suffixes=("", "_base"))
    parts = both["variance"] ** 2 / (both["n"] - 1) + both["variance_base"] ** 2 / (both["n_base"] - 1)
    variance = both["variance"] + both["variance_base"]
    kept = both[[*on, "metric", "starts", "starts_base"]]
    return kept.assign(log=both["mean"] - both["mean_base"], variance=variance, df=variance**2 / parts)


def mean_ratio(rows: pd.DataFrame) -> Ratio:
    """The geometric mean of the rows of one metric; at least one row of `match_points`."""
    return _ratio(*(rows[column].to_numpy() for column in VALUES))


def mean_ratios(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """One row for each metric and `by`: the fields of `Ratio`. Takes rows of `match_points`."""
    columns = [*by, "metric"]
    metrics = {metric: place for place, metric in enumerate(dict.fromkeys(found["metric"]))}
    groups = found.groupby(columns, sort=False).ngroup().to_numpy()
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1) if len(found) else []
    values = [found[column].to_numpy() for column in VALUES]  # once: a large store has thousands of groups
    made = pd.DataFrame(
        [vars(_ratio(*(each[part] for each in values))) for part in parts], columns=list(Ratio.__dataclass_fields__)
    )
    table = found[columns].iloc[[part[0] for part in parts]].reset_index(drop=True).join(made)
    return table.sort_values(columns, key=lambda each: each.replace(metrics), ignore_index=True)


def ratio_text(row: Any) -> str:
    """A row of `mean_ratios` as text: `0.985 [0.971, 0.999]`."""
    return str(Ratio(*(getattr(row, field) for field in Ratio.__dataclass_fields__)))


def _summarise(long: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    found = long.groupby(list(keys), sort=False)["value"].agg(mean="mean", variance="var", n="count").reset_index()
    return found.assign(variance=found["variance"] / found["n"])


def _ratio(logs: Values, variances: Values, df: Values, starts: Values, starts_base: Values) -> Ratio:
    mean = float(logs.mean())
    if math.isnan(mean):
        return Ratio(mean, mean, mean, len(logs), "")
    half, origin = _half_width(logs, variances.astype(float), df.astype(float), (starts, starts_base))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs), origin)


def _half_width(logs: Values, variances: Values, df: Values, sides: tuple[Values, Values]) -> tuple[float, str]:
    n, known = len(logs), ~np.isnan(variances)
    if known.all() and all(each is not None for side in sides for each in side):
        clustered = [_clustered_variance(side.tolist()) for side in sides]
        total = sum(variance for variance, _ in clustered)
        if total > NO_SPREAD:
            together = total**2 / sum(variance**2 / free for variance, free in clustered)
            return _quantile(together) * math.sqrt(total), "starts"
    if known.any() and known.sum() * 2 >= n:
        noisiest = int(np.nanargmax(variances))
        variances, df = np.where(known, variances, variances[noisiest]), np.where(known, df, df[noisiest])
        total = variances.sum() / n**2
        return _quantile(total**2 / ((variances / n**2) ** 2 / df).sum()) * math.sqrt(total), "repeats"
    scatter = float(np.std(logs, ddof=1)) if n > 1 else 0.0
    if scatter > math.sqrt(NO_SPREAD):
        return t_quantile(n - 1) * scatter / math.sqrt(n), "points"
    return math.nan, ""


def _quantile(df: float) -> float:
    return t_quantile(max(1.0, min(LARGEST_DF, df)))


def _clustered_variance(points: Sequence[Mapping[str, float]]) -> tuple[float, int]:
    """The variance of the mean over the points of the means over their starts, and its degrees of freedom.

    `points` give what each start measured. A start's deviations at its points are summed before they are squared,
    because they are not independent.
    """
    sums: dict[str, float] = defaultdict(float)
    for starts in points:
        centre = math.fsum(starts.values()) / len(starts)
        for server, value in starts.items():
            sums[server] += (value - centre) / (len(starts) * len(points))
    groups = len(sums)
    return groups / (groups - 1) * math.fsum(each**2 for each in sums.values()), groups - 1
