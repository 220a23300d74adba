"""Tensor against data parallel: one model on the same GPUs split in several ways, and the ideal of whole copies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vbench.analysis.axes import Axis, axis
from vbench.analysis.comparisons.ratio_table import ratio_caption
from vbench.analysis.frame import SIZES
from vbench.analysis.hosts import HOST_METRICS, describe_hosts
from vbench.analysis.labels import add_labels, describe_join, load_axis, shared_conditions
from vbench.analysis.loads import LOAD_AXES, NUM_PROMPTS, is_paced, load_values
from vbench.analysis.plot import Plot
from vbench.analysis.points import HALF_WIDTH, mean_points, withhold_untold
from vbench.analysis.ratios import log_means, match_points, mean_ratios, ratio_text
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

TP, PP, ADP, DP = SIZES
SETTING = ["model_label", "hardware", "conditions_label"]  # the same model on the same GPUs under the same conditions
POINT = [*SETTING, "parallelism", "load"]
MOST_FIGURES = 4
IDEAL = " Of ideal: divided by whole copies, each under its share of the load (dashed; one copy was measured)."


def sections(runs: Runs, options: Options) -> list[Section]:
    """The table of all splits, then a figure and a table by load where the split matters most; none without two."""
    x, y = axis(options.x), axis(options.y)
    rows = withhold_untold(runs.valid, [x.key, y.key]).dropna(subset=["gpus", *SIZES, x.key, y.key])
    rows = rows[rows["gpus"] > 0]
    if rows.empty:
        return []
    labels = add_labels(rows, runs.conditions, ["parallelism"])
    several = labels[labels.groupby(SETTING)["parallelism"].transform("nunique") > 1]
    if several.empty:
        return []
    matched = _match_splits(several, list(dict.fromkeys([y.key, x.key, *HOST_METRICS])))
    found = matched[matched["metric"].isin([y.key, x.key])]
    data = mean_ratios(found, [*SETTING, "split", "baseline"])
    everything = mean_points(labels, by=POINT)
    caption = (
        "Each split divided by the one with the most tensor parallelism, on the same GPUs at the same load. "
        f"{ratio_caption(data)} At equal limits: which split has the best {y.short} within them. "
        f"{shared_conditions(several)}."
    )
    table = _table(data, everything, options)
    widest = data[data["metric"] == y.key].assign(far=lambda each: np.log(each["value"]).abs())
    settings = widest.sort_values("far", ascending=False)[SETTING].drop_duplicates().to_numpy().tolist()
    drawn = [_detail(setting, several, labels, found, options) for setting in settings[:MOST_FIGURES]]
    rest = len(settings) - len(drawn)
    notes = (
        [f"Drawn: the {len(drawn)} of {len(settings)} where it matters most; where=… chooses others."] if rest else []
    )
    for (split, baseline), pairs in matched.groupby(["split", "baseline"]):
        notes += describe_hosts(pairs, str(split), str(baseline))
    notes += describe_join(several)
    title = "Tensor against data parallel"
    return [Section("splits", title, caption, table, data, notes=tuple(notes)), *drawn]


def ideals(here: pd.DataFrame, labels: pd.DataFrame, y: Axis) -> pd.DataFrame:
    """Points of whole copies without any loss: one replica, measured alone, times the copies,
    at that many times its load.

    Takes the labelled rows of one setting, and those of all. Returns rows as `mean_points` does, with `ideal` and
    `split`; none for a split whose replica was not measured alone, or under a load that does not grow with its axis.
    """
    alike = labels[_grows_with_axis(labels)]
    for key in ("model_label", "conditions_label", "gpu_type"):
        alike = alike[alike[key] == here[key].iloc[0]]
    made = []
    for split, rows in here.groupby("parallelism"):
        copies = rows[DP].iloc[0]
        one = alike[alike[DP] == 1]
        for size in (TP, PP, ADP):
            one = one[one[size] == rows[size].iloc[0]]
        one = one[one["parallelism"].str.endswith("ep") == str(split).endswith("ep")]
        if copies > 1 and len(one):
            found = mean_points(one, by=POINT)
            grown = ["load", *([y.key, y.key + HALF_WIDTH] if y.adds_up else [])]
            name = f"{copies:g} copies of {found['hardware'].iloc[0]} · {found['parallelism'].iloc[0]}, ideal"
            scaled = {key: found[key] * copies for key in grown}
            made.append(found.assign(**scaled, system_label=name, split=split, ideal=True))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame()


def _grows_with_axis(labels: pd.DataFrame) -> pd.Series:
    """Which rows were measured under a load that is twice as large at twice the load axis: no other rate or limit held.

    100 prompts at 10 a second are not twice 50 prompts at 10 a second, and neither are two rows of a trace twice one.
    """
    grows = ~(is_paced(labels) & (labels["load_axis"] == NUM_PROMPTS.column))
    for other in LOAD_AXES:
        if other is not NUM_PROMPTS and other.column in labels:
            grows &= load_values(labels, other).isna() | (labels["load_axis"] == other.column)
    return grows


def _match_splits(several: pd.DataFrame, metrics: list[str]) -> pd.DataFrame:
    """`match_points` of every split and the baseline of its setting, with SETTING, split, baseline and load."""
    stats = log_means(several, metrics, POINT)
    most = several.sort_values([TP, PP], ascending=False).drop_duplicates(SETTING)[[*SETTING, "parallelism"]]
    stats = stats.merge(most.rename(columns={"parallelism": "baseline"}), on=SETTING)
    base = stats[stats["parallelism"] == stats["baseline"]].drop(columns=["parallelism", "baseline"])
    rest = stats[stats["parallelism"] != stats["baseline"]].rename(columns={"parallelism": "split"})
    keys = rest[[*SETTING, "load", "metric", "split", "baseline"]]
    return match_points(rest, keys.merge(base), [*SETTING, "load", "split", "baseline"])


def _table(data: pd.DataFrame, everything: pd.DataFrame, options: Options) -> pd.DataFrame:
    """One row for each setting and split: the ratios, their points, and which split wins at each limit."""
    x, y = axis(options.x), axis(options.y)
    columns = [*SETTING, "parallelism", x.key, y.key]
    of_setting: dict[tuple[str, ...], list[tuple[str, float, float]]] = {}
    for *setting, split, across, up in everything[columns].itertuples(index=False, name=None):
        of_setting.setdefault(tuple(setting), []).append((split, across, up))
    rows = {}
    for key, found in data.groupby([*SETTING, "split", "baseline"], sort=False):
        *setting, split, baseline = key
        cells = {row.metric: ratio_text(row) for row in found.itertuples()}
        here = of_setting[tuple(setting)]
        rows[_name(*setting, f"{split} / {baseline}")] = {
            **{of.short: cells.get(of.key, "") for of in (y, x)},
            "points": found["points"].max(),
            **{_limit_text(limit, x): _winner(here, limit, x, y) for limit in options.slo},
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "system"
    return table


def _winner(here: Sequence[tuple[str, float, float]], limit: float, x: Axis, y: Axis) -> str:
    """The split that gives the most within the limit, and how much. Takes the split, x and y of each point."""
    kept = [(up, split) for split, across, up in here if _is_within(across, limit, x) and not math.isnan(up)]
    if not kept:
        return "none"
    best, split = (min if y.less_is_better else max)(kept, key=lambda each: each[0])
    return f"{split}: {best:{y.digits}}"


def _is_within(value: float, limit: float, x: Axis) -> bool:
    return value <= limit if x.less_is_better else value >= limit


def _detail(
    setting: list[str], several: pd.DataFrame, labels: pd.DataFrame, found: pd.DataFrame, options: Options
) -> Section:
    x, y = axis(options.x), axis(options.y)
    here = several[(several[SETTING] == setting).all(axis=1)]
    drawn = mean_points(here, by=POINT)
    drawn = drawn.assign(system_label=drawn["parallelism"], ideal=False)
    ideal = ideals(here, labels, y)
    ideal = ideal[ideal["load"] <= drawn["load"].max()] if len(ideal) else ideal
    data = mean_ratios(found[(found[SETTING] == setting).all(axis=1)], ["split", "baseline", "load"])
    data = data.assign(load_axis=load_axis(drawn).column)
    title = f"{_name(*setting)}: by parallelism"
    caption = "By load." + (IDEAL if len(ideal) else "")
    figure = Plot(pd.concat([drawn, ideal], ignore_index=True), title, shared_conditions(here), x, y)
    return Section(slug("splits", *setting), title, caption, _by_load(data, drawn, ideal, x, y), data, figure)


def _by_load(data: pd.DataFrame, drawn: pd.DataFrame, ideal: pd.DataFrame, x: Axis, y: Axis) -> pd.DataFrame:
    loads = sorted(set(drawn["load"]))
    columns: dict[str, list[str]] = {}
    for (split, baseline), rows in data.groupby(["split", "baseline"]):
        for of in (y, x):
            cells = {row.load: ratio_text(row) for row in rows[rows["metric"] == of.key].itertuples()}
            columns[f"{split} / {baseline}: {of.short}"] = [cells.get(load, "") for load in loads]
        mine = ideal[ideal["split"] == split] if len(ideal) else ideal
        if len(mine):
            best = mine.set_index("load")[y.key]
            share = drawn[drawn["parallelism"] == split].set_index("load")[y.key] / best
            columns[f"{split} of ideal"] = [f"{share[load]:.0%}" if pd.notna(share.get(load)) else "" for load in loads]
    return pd.DataFrame(columns, index=pd.Index([f"{load:g}" for load in loads], name=load_axis(drawn).name))


def _limit_text(limit: float, x: Axis) -> str:
    return f"{x.short} {'≤' if x.less_is_better else '≥'} {limit:g}"


def _name(*words: str) -> str:
    return " · ".join(word for word in words if word)
