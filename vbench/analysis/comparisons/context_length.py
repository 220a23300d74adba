"""What the option max_model_len costs: the same system at several values of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.axes import axis
from vbench.analysis.comparisons.ratio_table import ratio_caption
from vbench.analysis.frame import LENGTH, value_text
from vbench.analysis.hosts import HOST_METRICS, describe_hosts
from vbench.analysis.labels import add_labels, describe_join, shared_conditions
from vbench.analysis.plot import Plot
from vbench.analysis.points import mean_points, repeats_caption, withhold_untold
from vbench.analysis.ratios import log_means, match_points, mean_ratios, ratio_text
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

MOST_FIGURES = 3


def sections(runs: Runs, options: Options) -> list[Section]:
    """The table of spreads, and the curves of the systems that spread most; none if each system has one length."""
    rows = runs.valid[runs.valid[LENGTH].notna()]
    if rows[LENGTH].nunique() < 2:
        return []
    labels = add_labels(rows, [each for each in runs.conditions if each != LENGTH])
    labels = labels[labels.groupby(["model_label", "system_label"])[LENGTH].transform("nunique") > 1]
    if labels.empty:
        return []
    pairs = _pairs(labels, options.y)
    data = _data(pairs, options.y)
    if data.empty:
        return []
    y = axis(options.y)
    caption = (
        f"{y.short[0].upper()}{y.short[1:]} at each length divided by that at the shortest. {ratio_caption(data)} "
        "Spread: the highest over the lowest. “No difference” stands only where every interval holds 1. "
        f"{shared_conditions(labels)}."
    )
    table, widest = _table(data)
    drawn = [_figure(labels, model, system, options) for model, system in widest[:MOST_FIGURES]]
    rest = len(widest) - len(drawn)
    notes = [*_describe_hosts(pairs), *describe_join(labels)]
    notes += [f"Drawn: the {len(drawn)} that spread most, of {len(widest)}; where=… chooses others."] if rest else []
    return [Section("context-length", "Effect of max_model_len", caption, table, data, notes=tuple(notes)), *drawn]


def _pairs(labels: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`match_points` of each length above a system's shortest with the shortest: of `metric` and of HOST_METRICS."""
    system = ["model_label", "system_label"]
    stats = log_means(labels, list(dict.fromkeys([metric, *HOST_METRICS])), [*system, LENGTH, "load"])
    stats = stats.assign(order=stats[LENGTH].map(_order))
    least = stats.groupby(system)["order"].transform("min")
    shortest, longer = stats[stats["order"] == least], stats[stats["order"] > least]
    keys = longer[[*system, LENGTH, "load", "metric"]]
    base = keys.merge(shortest.rename(columns={LENGTH: "shortest"}), on=[*system, "load", "metric"])
    names = base[[*system, "shortest"]].drop_duplicates()
    return match_points(longer, base, [*system, LENGTH, "load"]).merge(names, on=system)


def _data(pairs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row for each system and length above its shortest: labels, shortest, length, and `Ratio`'s fields."""
    system = ["model_label", "system_label"]
    pairs = pairs[pairs["metric"] == metric]
    if pairs.empty:
        return pd.DataFrame()
    names = pairs[[*system, "shortest"]].drop_duplicates()
    found = mean_ratios(pairs, [*system, LENGTH]).merge(names, on=system)
    found = found.assign(length=found[LENGTH].map(value_text), shortest=found["shortest"].map(value_text))
    order = found[LENGTH].map(_order)
    return (
        found.drop(columns=LENGTH)
        .assign(order=order)
        .sort_values([*system, "order"], ignore_index=True)
        .drop(columns="order")
    )


def _describe_hosts(pairs: pd.DataFrame) -> list[str]:
    """Which lengths were measured on slower hosts than the shortest."""
    told = []
    hosts = pairs[pairs["metric"].isin(HOST_METRICS)]
    for (model, system, length, shortest), rows in hosts.groupby(["model_label", "system_label", LENGTH, "shortest"]):
        one, other = (f"max_model_len={value_text(each)}" for each in (length, shortest))
        told += describe_hosts(rows.drop(columns="shortest"), one, other, f" ({model} · {system})")
    return told


def _table(data: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """The table for people, and the systems (model_label, system_label), the widest spread first."""
    lengths = sorted(set(data["length"]), key=_order)
    rows, widths = {}, {}
    for (model, system), found in data.groupby(["model_label", "system_label"]):
        cells = {row.length: ratio_text(row) for row in found.itertuples()}
        values = [1.0, *found["value"]]
        widths[model, system] = max(values) / min(values) - 1
        rows[f"{model} · {system}"] = {
            "shortest": found["shortest"].iloc[0],
            **{length: cells.get(length, "") for length in lengths},
            "spread": f"{widths[model, system]:.1%}",
            "verdict": _verdict(found),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "system"
    return table, sorted(widths, key=lambda key: -widths[key])


def _verdict(found: pd.DataFrame) -> str:
    known = found[found["interval_from"].isin(["starts", "repeats"])]
    if len(known) < len(found):
        return "not known: no repeats"
    within = max(found["high"].max(), 1 / found["low"].min()) - 1
    different = found[(found["low"] > 1) | (found["high"] < 1)]
    return f"differs at {', '.join(different['length'])}" if len(different) else f"no difference, within {within:.1%}"


def _figure(labels: pd.DataFrame, model: str, system: str, options: Options) -> Section:
    rows = labels[(labels["model_label"] == model) & (labels["system_label"] == system)]
    x, y = axis(options.x), axis(options.y)
    curve = rows[LENGTH].map(lambda length: f"max_model_len={value_text(length)}")
    found = mean_points(rows.assign(system_label=curve))
    title = f"{model} · {system}: by max_model_len"
    name = slug("context-length", model, system)
    drawable = withhold_untold(found, [x.key, y.key]).dropna(subset=[x.key, y.key])
    if drawable.empty:
        return Section(name, title, notes=(f"No run has both {y.short} and {x.short}: nothing to draw.",))
    bars = repeats_caption(drawable)
    caption = f"One point a load{f': {bars}' if bars else ''}."
    figure = Plot(drawable, title, shared_conditions(rows), x, y)
    return Section(name, title, caption, data=drawable, figure=figure)


def _order(length: Any) -> float:
    return float("inf") if length == "auto" else float(length)
