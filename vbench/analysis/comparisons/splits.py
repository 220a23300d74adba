"""Tensor against data parallel: one model on the same GPUs, split in several ways; and what whole copies would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vbench.analysis import figures
from vbench.analysis.axes import Axis, axis
from vbench.analysis.comparisons.ratios import explained
from vbench.analysis.frame import SIZES
from vbench.analysis.labels import labelled, measured
from vbench.analysis.matched import logarithms, matched, ratios, said
from vbench.analysis.points import HALF_WIDTH, points
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

TP, PP, DP = SIZES
SETTING = ["system", "hardware", "beyond"]  # the same model on the same GPUs under the same conditions
POINT = [*SETTING, "parallelism", "num_prompts"]
MOST_FIGURES = 4


def sections(runs: Runs, options: Options) -> list[Section]:
    """The table of all, and a figure and a table by load where the split matters most; none without two splits."""
    x, y = axis(options.x), axis(options.y)
    rows = runs.valid.dropna(subset=["gpus", *SIZES, x.key, y.key])
    rows = rows[rows["gpus"] > 0]
    if rows.empty:
        return []
    labels = labelled(rows, [each for each in runs.conditions if each != "device"], ["parallelism"])
    several = labels[labels.groupby(SETTING)["parallelism"].transform("nunique") > 1]
    if several.empty:
        return []
    found = _matched(several, [y.key, x.key])
    data = ratios(found, [*SETTING, "split", "baseline"])
    measured_points = points(labels, by=POINT)
    caption = (
        "Each split divided by the one with the most tensor parallelism, on the same GPUs at the same number of "
        f"requests. {explained(data)} At equal limits: which split has the best {y.short} while it keeps them. "
        f"{measured(several)}."
    )
    table = _table(data, measured_points, options)
    widest = data[data["metric"] == y.key].assign(far=lambda each: np.log(each["value"]).abs())
    settings = widest.sort_values("far", ascending=False)[SETTING].drop_duplicates().to_numpy().tolist()
    drawn = [_detail(setting, several, labels, found, options) for setting in settings[:MOST_FIGURES]]
    rest = len(settings) - len(drawn)
    notes = (
        [f"Drawn: the {len(drawn)} of {len(settings)} where it matters most; where=… chooses others."] if rest else []
    )
    title = "Tensor against data parallel"
    return [Section("splits", title, caption, table, data, notes=tuple(notes)), *drawn]


def ideals(here: pd.DataFrame, labels: pd.DataFrame, y: Axis) -> pd.DataFrame:
    """Points of whole copies without any loss: one replica, measured by itself, times the copies, at as much more load.

    Takes the labelled rows of one setting, and all of them. Rows as `points.points`, with `ideal`, `split` and
    `series`; none for a split whose replica was not measured by itself.
    """
    alike = labels
    for key in ("system", "beyond", "gpu_type"):
        alike = alike[alike[key] == here[key].iloc[0]]
    made = []
    for split, rows in here.groupby("parallelism"):
        copies, tensor, pipeline = (rows[size].iloc[0] for size in (DP, TP, PP))
        one = alike[(alike[DP] == 1) & (alike[TP] == tensor) & (alike[PP] == pipeline)]
        one = one[one["parallelism"].str.endswith("ep") == str(split).endswith("ep")]
        if copies > 1 and len(one):
            found = points(one, by=POINT)
            grown = ["num_prompts", *([y.key, y.key + HALF_WIDTH] if y.adds_up else [])]
            name = f"{copies:g} copies of {found['hardware'].iloc[0]} · {found['parallelism'].iloc[0]}, ideal"
            scaled = {key: found[key] * copies for key in grown}
            made.append(found.assign(**scaled, series=name, split=split, ideal=True))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame()


def _matched(several: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """`matched.matched` of every split and the baseline of its setting: with SETTING, split, baseline, num_prompts."""
    stats = logarithms(several, metrics, POINT)
    most = several.sort_values([TP, PP], ascending=False).drop_duplicates(SETTING)[[*SETTING, "parallelism"]]
    stats = stats.merge(most.rename(columns={"parallelism": "baseline"}), on=SETTING)
    base = stats[stats["parallelism"] == stats["baseline"]].drop(columns=["parallelism", "baseline"])
    rest = stats[stats["parallelism"] != stats["baseline"]].rename(columns={"parallelism": "split"})
    keys = rest[[*SETTING, "num_prompts", "metric", "split", "baseline"]]
    return matched(rest, keys.merge(base), [*SETTING, "num_prompts", "split", "baseline"])


def _table(data: pd.DataFrame, measured_points: pd.DataFrame, options: Options) -> pd.DataFrame:
    """A row a setting and split: the ratios, their points, and who wins at each limit."""
    x, y = axis(options.x), axis(options.y)
    rows = {}
    for key, found in data.groupby([*SETTING, "split", "baseline"], sort=False):
        *setting, split, baseline = key
        cells = {row.metric: said(row) for row in found.itertuples()}
        here = measured_points[(measured_points[SETTING] == setting).all(axis=1)]
        rows[_name(*setting, f"{split} / {baseline}")] = {
            **{of.short: cells.get(of.key, "") for of in (y, x)},
            "points": found["points"].max(),
            **{_words(limit, x): _winner(here, limit, x, y) for limit in options.slo},
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "system"
    return table


def _winner(here: pd.DataFrame, limit: float, x: Axis, y: Axis) -> str:
    """Which split gives the most where each must keep the limit, and how much."""
    kept = here[here[x.key] <= limit] if x.less_is_better else here[here[x.key] >= limit]
    best = kept.groupby("parallelism")[y.key].agg("min" if y.less_is_better else "max")
    if best.empty:
        return "none"
    winner = best.idxmin() if y.less_is_better else best.idxmax()
    return f"{winner}: {best[winner]:{y.digits}}"


def _detail(
    setting: list[str], several: pd.DataFrame, labels: pd.DataFrame, found: pd.DataFrame, options: Options
) -> Section:
    x, y = axis(options.x), axis(options.y)
    here = several[(several[SETTING] == setting).all(axis=1)]
    drawn = points(here, by=POINT)
    drawn = drawn.assign(series=drawn["parallelism"], ideal=False)
    ideal = ideals(here, labels, y)
    ideal = ideal[ideal["num_prompts"] <= drawn["num_prompts"].max()] if len(ideal) else ideal
    data = ratios(found[(found[SETTING] == setting).all(axis=1)], ["split", "baseline", "num_prompts"])
    title = f"{_name(*setting)}: by parallelism"
    caption = "By load; of ideal: against whole copies, each under its share of the load (dashed, as one was measured)."
    figure = figures.curves(pd.concat([drawn, ideal], ignore_index=True), title, measured(here), x, y)
    return Section(slug("splits", *setting), title, caption, _by_load(data, drawn, ideal, x, y), data, figure)


def _by_load(data: pd.DataFrame, drawn: pd.DataFrame, ideal: pd.DataFrame, x: Axis, y: Axis) -> pd.DataFrame:
    loads = sorted(set(drawn["num_prompts"]))
    columns: dict[str, list[str]] = {}
    for (split, baseline), rows in data.groupby(["split", "baseline"]):
        for of in (y, x):
            cells = {row.num_prompts: said(row) for row in rows[rows["metric"] == of.key].itertuples()}
            columns[f"{split} / {baseline}: {of.short}"] = [cells.get(load, "") for load in loads]
        mine = ideal[ideal["split"] == split] if len(ideal) else ideal
        if len(mine):
            best = mine.set_index("num_prompts")[y.key]
            share = drawn[drawn["parallelism"] == split].set_index("num_prompts")[y.key] / best
            columns[f"{split} of ideal"] = [f"{share[load]:.0%}" if pd.notna(share.get(load)) else "" for load in loads]
    return pd.DataFrame(columns, index=pd.Index([f"{load:g}" for load in loads], name="num_prompts"))


def _words(limit: float, x: Axis) -> str:
    return f"{x.short} {'≤' if x.less_is_better else '≥'} {limit:g}"


def _name(*words: str) -> str:
    return " · ".join(word for word in words if word)
