"""What tensor against data parallelism decides, and where. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.answers.words import find_data, shorten
from vbench.analysis.axes import Axis, axis
from vbench.analysis.loads import load_axis_named
from vbench.analysis.ratios import ratio_text
from vbench.analysis.section import slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

SETTING = ["model_label", "hardware", "conditions_label"]


def sentences(_: Runs, found: list[Section], options: Options) -> list[str]:
    """One for each model on the same GPUs that was split in two ways."""
    data = find_data(found, "splits")
    if data.empty:
        return []
    y = axis(options.y)
    told = []
    for row in data[data["metric"] == y.key].itertuples():
        setting = [str(getattr(row, key)) for key in SETTING]
        name = " · ".join(word for word in setting if word)
        loads = _by_load(find_data(found, slug("splits", *setting)), str(row.split), str(row.baseline), y)
        span = f"{row.points} load{'s' if row.points > 1 else ''}"
        told.append(
            f"{name}: {row.split} gives {ratio_text(row)} of {row.baseline}'s {y.short} over {span}: "
            f"{'on average ' if loads else ''}{_verdict(row, y)}.{loads}"
        )
    return shorten(told, "Tensor against data parallel")


def _verdict(row: object, y: Axis) -> str:
    low, high, split, baseline = (getattr(row, key) for key in ("low", "high", "split", "baseline"))
    if not getattr(row, "interval_from"):  # noqa: B009  a row has whatever fields its table has
        return "not known, one load without repeats"
    if low <= 1 <= high:
        return "not decided, the 95 % interval holds 1"
    return f"{split if (low > 1) != y.less_is_better else baseline} is better"


def _by_load(data: pd.DataFrame, split: str, baseline: str, y: Axis) -> str:
    """Which split leads at which loads, where the section has them and they do not agree."""
    if data.empty:
        return ""
    rows = data[(data["metric"] == y.key) & (data["split"] == split) & (data["baseline"] == baseline)]
    better = rows["value"] < 1 if y.less_is_better else rows["value"] > 1
    if rows.empty or better.all() or not better.any():
        return ""
    name = load_axis_named(rows["load_axis"].iloc[0]).name
    known = rows["interval_from"].isin(["starts", "repeats"]).all()
    words = [
        f"{who} at {name}={', '.join(f'{load:g}' for load in sorted(some['load']))} (up to {_furthest(some):.2f} ×)"
        for who, some in ((split, rows[better]), (baseline, rows[~better]))
    ]
    return f" By load: {'; '.join(words)}{'' if known else ', from single runs'}."


def _furthest(rows: pd.DataFrame) -> float:
    return float(max(rows["value"].max(), 1 / rows["value"].min()))
