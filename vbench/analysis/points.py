"""Runs to points: the mean of what was measured at one load of one system, and its 95 % interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from vbench.analysis.frame import METRICS
from vbench.analysis.loads import NUM_PROMPTS, LoadAxis
from vbench.metrics.intervals import t_quantile
from vbench.schema.errors import Refused

POINT = ("model_label", "system_label", "load")
HALF_WIDTH = "_half_width"
USUAL_NUM_PROMPTS = 320
CARRIED = ("model", "hardware", "parallelism", "load_axis")  # the same for all runs of a point


def mean_points(rows: pd.DataFrame, metrics: Sequence[str] = METRICS, by: Sequence[str] = POINT) -> pd.DataFrame:
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


def choose_load(found: pd.DataFrame, asked: int | None, axis: LoadAxis) -> tuple[float, str]:
    """The load at which to compare, and why that one. Takes `mean_points`, at least one row.

    `asked` is a num_prompts. Raises Refused if another load parameter was swept.
    """
    if asked is not None and axis is not NUM_PROMPTS:
        raise Refused(
            f"num_prompts={asked}: these runs vary in {axis.name}, which is their load; leave num_prompts out, "
            f"or choose runs with where=\"params.`workload.num_prompts` = '{asked}'\""
        )
    wanted = (asked or USUAL_NUM_PROMPTS) if axis is NUM_PROMPTS else None
    loads = found.groupby("load").size()
    keys = [key for key in ("model_label", "system_label", "gpus") if key in found]
    systems = len(found[keys].drop_duplicates())
    if wanted is not None and (loads.get(wanted, 0) == systems or (asked and wanted in loads.index)):
        return wanted, ""
    everywhere = loads[loads == systems]
    if len(everywhere):
        lacking = f", because not all have {wanted}" if wanted else ""
        return float(everywhere.index.max()), f"the largest load that all systems share{lacking}"
    if wanted is not None and wanted in loads.index:
        return float(wanted), "no load is shared by all systems"
    lacking = f"none has {wanted}, and " if wanted else ""
    best = float(loads[loads == loads.max()].index.max())
    return best, f"the load that most systems have: {lacking}no load is shared by all"


def repeats_caption(found: pd.DataFrame) -> str:
    """What ± means, and over how many repeats; "" where there are none. Takes `mean_points`."""
    if not len(found) or found["runs"].max() <= 1:
        return ""
    return f"mean ± half of its 95 % interval, n = {count_range(found['runs'])} repeats"


def count_range(counts: pd.Series) -> str:
    """`3`, or `1 to 3` where they differ."""
    least, most = counts.min(), counts.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _quantile(count: int) -> float:
    return t_quantile(count - 1) if count > 1 else np.nan
