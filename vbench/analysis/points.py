"""Runs to points: the mean of what was measured at one load of one system, and how far it can be trusted. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vbench.analysis.frame import METRICS
from vbench.metrics.intervals import t_quantile

POINT = ("system", "series", "num_prompts")
HALF_WIDTH = "_half_width"
USUAL_LOAD = 320
CARRIED = ("model", "hardware", "parallelism")  # the same for all runs of a point


def points(rows: pd.DataFrame, metrics: Sequence[str] = METRICS, by: Sequence[str] = POINT) -> pd.DataFrame:
    """One row for each `by`: the mean of each metric over its repeats, and their count. Takes labelled VALID rows.

    Columns: `by`, CARRIED, runs, the metrics, and of each `…_half_width`: half of the mean's 95 % interval (Student's
    t), NaN for a single run.
    """
    groups = rows.groupby(list(by), sort=True)
    keys = list(metrics)
    means, counts = groups[keys].mean(), groups[keys].count()
    half_widths = groups[keys].std() / np.sqrt(counts) * counts.apply(lambda count: count.map(_quantile))
    found = pd.concat(
        [groups[[each for each in CARRIED if each not in by]].first(), groups.size().rename("runs"), means], axis=1
    )
    return found.join(half_widths.add_suffix(HALF_WIDTH)).reset_index()


def shared_load(measured: pd.DataFrame, asked: int | None) -> tuple[int, str]:
    """The num_prompts at which to compare, and why that one. Takes `points`; at least one row."""
    wanted = asked or USUAL_LOAD
    loads = measured.groupby("num_prompts").size()
    systems = len(measured[[key for key in ("system", "series", "gpus") if key in measured]].drop_duplicates())
    if loads.get(wanted, 0) == systems or (asked and wanted in loads.index):
        return wanted, ""
    everywhere = loads[loads == systems]
    if len(everywhere):
        best = int(everywhere.index.max())
        return best, f"the largest load that all systems share, for not all have {wanted}"
    if wanted in loads.index:
        return wanted, "no load is shared by all systems"
    best = int(loads[loads == loads.max()].index.max())
    return best, f"the load that most systems have: none has {wanted}, and no load is shared by all"


def spread(measured: pd.DataFrame) -> str:
    """What ± means, and over how many repeats; "" where there are none."""
    if measured["runs"].max() <= 1:
        return ""
    return f"mean ± half of its 95 % interval, n = {span(measured['runs'])} repeats"


def span(counts: pd.Series) -> str:
    """`3`, or `1 to 3` where they differ."""
    least, most = counts.min(), counts.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _quantile(count: int) -> float:
    return t_quantile(count - 1) if count > 1 else np.nan
