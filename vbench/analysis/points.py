"""Runs to points: the mean of what was measured at one load of one system, and its 95 % interval. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vbench.analysis.frame import METRICS
from vbench.analysis.loads import NUM_PROMPTS, LoadAxis
from vbench.metrics.intervals import Interval, t_quantile
from vbench.metrics.quantiles import needs_text, percentile_of, upper_key
from vbench.schema.errors import Refused

POINT = ("model_label", "system_label", "load")
HALF_WIDTH = "_half_width"
USUAL_NUM_PROMPTS = 320
SERVER = "server"
NO_SPREAD = 1e-12  # relative; below it is rounding
CARRIED = ("model", "hardware", "parallelism", "load_axis")  # the same for all runs of a point


def mean_points(rows: pd.DataFrame, metrics: Sequence[str] = METRICS, by: Sequence[str] = POINT) -> pd.DataFrame:
    """One row for each `by`: the mean of each metric over its repeats, and their count. Takes labelled VALID rows.

    Columns: `by`, CARRIED, runs, `starts` (servers that they ran on), the metrics, and of each `…_half_width`: half of
    the mean's 95 % interval, NaN if it is unknown. Repeats on one server share what its start decided, so they are not
    independent: where a point has several starts, its mean is that of the means of the starts, and the interval is
    Student's t over these. Of a single start it is t over the runs, and does not cover the start. Values that agree
    exactly tell nothing of their spread. `replies`: the fewest of a run; and of each percentile the highest bound of a
    run.
    """
    keys, point = list(metrics), list(by)
    groups = rows.groupby(point, sort=True)
    servers = rows[SERVER] if SERVER in rows else pd.Series(None, index=rows.index, dtype=object)
    starts = servers.groupby([rows[key] for key in point]).nunique().clip(lower=1).rename("starts")
    means, halves = _summarise(groups[keys])
    if (starts > 1).any():
        of_starts = rows[keys].groupby([*(rows[key] for key in point), servers]).mean()
        several = starts[starts > 1].index
        for whole, clustered in zip((means, halves), _summarise(of_starts.groupby(level=point)), strict=True):
            whole.loc[several] = clustered.loc[several]
    carried = groups[[each for each in CARRIED if each not in by]].first()
    found = pd.concat([carried, groups.size().rename("runs"), starts, means], axis=1)
    bounds = [upper_key(key) for key in keys if percentile_of(key) and upper_key(key) in rows]
    told = {key: (key, "max") for key in bounds} | ({"replies": ("completed", "min")} if "completed" in rows else {})
    found = found.join(halves.add_suffix(HALF_WIDTH))
    return (found.join(groups.agg(**told)) if told else found).reset_index()


def _summarise(groups: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The mean of each group, and half of its 95 % interval; NaN without a spread."""
    means, spreads, counts = groups.mean(), groups.std(), groups.count()
    quantiles = counts.apply(lambda count: count.map(_quantile))
    spread = spreads.fillna(0.0) > NO_SPREAD * means.abs().fillna(0.0)  # numpy may warn where it compares with NaN
    return means, (spreads / np.sqrt(counts) * quantiles).where(spread)


def mean_text(row: Mapping[Any, Any], key: str, digits: str) -> str:
    """A table's cell: `9.6 ± 0.1`; of a percentile also its bound, `9.6 ± 0.1 (≤ 9.9)`, or how many replies it needs.

    Takes a row of `mean_points`.
    """
    if pd.isna(row.get(key)):
        return "none"
    few = needs_text(key, row.get("replies", np.inf))
    if few:
        return few
    bound = row.get(upper_key(key), np.nan)
    return format(Interval(row[key], row[key + HALF_WIDTH], row["runs"]), digits) + (
        "" if pd.isna(bound) else f" (≤ {bound:{digits}})"
    )


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
    """What ± means, over how many repeats, and what it does not cover; "" without repeats. Takes `mean_points`."""
    repeated = found[found["runs"] > 1]
    if repeated.empty:
        return ""
    words = f"mean ± half of its 95 % interval, n = {count_range(found['runs'])} repeats"
    return f"{words} {describe_starts(repeated['starts'])}"


def describe_starts(starts: pd.Series) -> str:
    """How many starts of its server each repeated point had, and what a single one leaves open."""
    if starts.min() > 1:
        return f"over {count_range(starts)} starts of the server (t over the means of the starts)"
    uncovered = "which does not cover what another start would change (engine.restarts measures that)"
    if starts.max() == 1:
        return f"on one start of the server, {uncovered}"
    return f"over {count_range(starts)} starts of the server; where it is one, t over its repeats, {uncovered}"


def bounds_caption(found: pd.DataFrame, keys: Sequence[str]) -> str:
    """What (≤ …) and "needs n" mean; "" where no cell has one. Takes `mean_points`, and the metrics that are shown."""
    shown = [key for key in keys if percentile_of(key) and key in found]
    if not shown:
        return ""
    return (
        "(≤ …): with 95 % confidence the true percentile is not above this, the highest of the repeats; needs n: there "
        "are fewer replies than that takes"
    )


def count_range(counts: pd.Series) -> str:
    """`3`, or `1 to 3` where they differ."""
    least, most = counts.min(), counts.max()
    return f"{least}" if least == most else f"{least} to {most}"


def _quantile(count: int) -> float:
    return t_quantile(count - 1) if count > 1 else np.nan
