"""Runs to points: the mean of what was measured at one load of one system, and its 95 % interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vbench.analysis.frame import METRICS
from vbench.analysis.loads import NUM_PROMPTS, LoadAxis
from vbench.metrics.intervals import Interval, t_quantile
from vbench.metrics.quantiles import (
    count_replies,
    needs_text,
    percentile_of,
    upper_key,
    withhold,
    witness_key,
)
from vbench.schema.errors import Refused
from vbench.schema.record import Floats

POINT = ("model_label", "system_label", "load")
HALF_WIDTH = "_half_width"
USUAL_NUM_PROMPTS = 320
SERVER = "server"
EQUAL = 0.001  # relative: single runs tell no scatter, so only those that look alike in a table are called equal
NO_SPREAD = 1e-12  # relative; below it is rounding
CARRIED = ("model", "hardware", "parallelism", "load_axis")  # the same for all runs of a point


def mean_points(rows: pd.DataFrame, metrics: Sequence[str] = METRICS, by: Sequence[str] = POINT) -> pd.DataFrame:
    """One row for each `by`: the mean of each metric over its repeats, and their count. Takes labelled VALID rows.

    Columns: `by`, CARRIED, runs, `starts` (servers that they ran on), the metrics, and of each `…_half_width`: half of
    the mean's 95 % interval, NaN if it is unknown. Repeats on one server share what its start decided, so they are not
    independent: where a point has several starts, its mean is that of the means of the starts, and the interval is
    Student's t over these. Of a single start it is t over the runs, and does not cover the start. Values that agree
    exactly tell nothing of their spread. `replies`: the fewest of a run; and of each percentile the highest bound of a
    run, NaN if one of them has none.
    """
    keys, point = list(metrics), list(by)
    group = rows.groupby(point, sort=True).ngroup().to_numpy()
    rows, group = rows[group >= 0], group[group >= 0].astype(np.int64)  # a run without a load is at no point
    first, runs = np.unique(group, return_index=True, return_counts=True)[1:]
    server = pd.factorize(rows[SERVER])[0] if SERVER in rows else np.full(len(rows), -1)
    known = server >= 0  # imported runs may not tell
    each_start, start = np.unique(group[known] * len(rows) + server[known], return_inverse=True)
    of_start = each_start // max(len(rows), 1)  # the point of each start
    starts = np.maximum(np.bincount(of_start, minlength=len(first)), 1)
    values = rows[keys].to_numpy(dtype=np.float64, na_value=np.nan)
    means, halves = _summarise(values, group)
    if (starts > 1).any():
        clustered = _summarise(_summarise(values[known], start)[0], of_start, len(first))
        means, halves = (
            np.where((starts > 1)[:, None], *each) for each in zip(clustered, (means, halves), strict=True)
        )
    found = rows[[*point, *(each for each in CARRIED if each not in by)]].iloc[first]
    columns = {"runs": runs, "starts": starts} | dict(zip(keys, means.T, strict=True))
    columns |= {key + HALF_WIDTH: half for key, half in zip(keys, halves.T, strict=True)}
    told = {key: percent for key in keys if (percent := percentile_of(key))}
    bounds = [each for each in dict.fromkeys([*map(upper_key, told), *map(witness_key, told.values())]) if each in rows]
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(len(first)))
    for key, extreme in [*((key, np.maximum) for key in bounds), ("completed", np.fmin)]:
        if key in rows and len(first):
            one = rows[key].to_numpy(dtype=np.float64, na_value=np.nan)[order]
            columns["replies" if key == "completed" else key] = extreme.reduceat(one, edges)
    made = pd.DataFrame(columns, index=found.index)
    return pd.concat([found, made], axis=1).reset_index(drop=True)


def withhold_untold(found: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The points without the percentiles that they have too few replies for: no curve, limit or winner rests on one.

    Takes `mean_points`, or runs. CSV files keep the numbers.
    """
    replies = found.get("replies", found.get("completed"))
    if replies is None:
        return found
    counts = replies.to_numpy(dtype=np.float64, na_value=np.nan)
    told = {}
    for key in dict.fromkeys(keys):
        if (percent := percentile_of(key)) and key in found:
            enough, bound = (_is_known(found, each) for each in (witness_key(percent), upper_key(key)))
            values = found[key].to_numpy(dtype=np.float64, na_value=np.nan)
            told[key] = withhold(key, values, np.where(enough & ~bound, 0.0, counts))  # as `count_replies`
    return found.assign(**told)


def is_tied(one: Mapping[Any, Any], other: Mapping[Any, Any], key: str) -> bool:
    """Whether no difference between two points was measured: as good as equal, or within the intervals of both."""
    first, second = float(one[key]), float(other[key])
    halves = float(one[key + HALF_WIDTH]), float(other[key + HALF_WIDTH])
    if any(math.isnan(half) for half in halves):
        return math.isclose(first, second, rel_tol=EQUAL)
    return abs(first - second) <= sum(halves)


def _is_known(rows: pd.DataFrame, key: str) -> Any:
    """Which rows have this number, (n,); none if there is no such column."""
    return rows[key].notna().to_numpy() if key in rows else np.zeros(len(rows), np.bool_)


def _summarise(values: Floats, group: Any, size: int = 0) -> tuple[Floats, Floats]:
    """The mean of each group, and half of its 95 % interval; NaN without a spread.

    Takes values (n, k) and the number of each row's group (n,); returns two arrays (groups, k).
    """
    size = size or int(group.max(initial=-1)) + 1
    known = ~np.isnan(values)
    counts = _sums(known.astype(np.float64), group, size)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = _sums(np.where(known, values, 0.0), group, size) / counts
        squares = _sums(np.where(known, values - means[group], 0.0) ** 2, group, size)
        spreads = np.sqrt(squares / (counts - 1))
        halves = spreads / np.sqrt(counts) * _quantiles(counts)
        return means, np.where(spreads > NO_SPREAD * np.abs(means), halves, np.nan)


def _sums(values: Floats, group: Any, size: int) -> Floats:
    """The sum of the rows of each group, shape (size, k); 0 for a group without rows."""
    sums = [np.bincount(group, column, minlength=size) for column in values.T]
    by_column: Floats = np.array(sums, np.float64).reshape(values.shape[1], size)
    return by_column.T


def _quantiles(counts: Floats) -> Floats:
    """Student's t for means of that many values; NaN below two."""
    several, place = np.unique(counts, return_inverse=True)
    return np.array([t_quantile(count - 1) if count > 1 else np.nan for count in several])[place].reshape(counts.shape)


def mean_text(row: Mapping[Any, Any], key: str, digits: str) -> str:
    """A table's cell: `9.6 ± 0.1`; of a percentile also its bound, `9.6 ± 0.1 (≤ 9.9)`, or how many replies it needs.

    Takes a row of `mean_points`.
    """
    value, bound = row.get(key, np.nan), row.get(upper_key(key), np.nan)
    if math.isnan(value):
        return "none"
    few = needs_text(key, count_replies(key, row))
    if few:
        return few
    told = format(Interval(value, row[key + HALF_WIDTH], row["runs"]), digits)
    return told if math.isnan(bound) else f"{told} (≤ {bound:{digits}})"


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
    expected = asked or (wanted in loads.index and wanted)  # nobody who chose other loads expects the usual one
    everywhere = loads[loads == systems]
    if len(everywhere):
        what = "its largest load" if systems == 1 else "the largest load that all systems share"
        lacking = f", because {'it has no' if systems == 1 else 'not all have'} {wanted}" if expected else ""
        return float(everywhere.index.max()), "" if len(loads) == 1 and not expected else f"{what}{lacking}"
    if wanted is not None and wanted in loads.index:
        return float(wanted), "no load is shared by all systems"
    lacking = f"none has {wanted}, and " if asked else ""
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
