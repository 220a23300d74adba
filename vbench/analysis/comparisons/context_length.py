"""What the option max_model_len costs: the same system at several lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis import figures
from vbench.analysis.axes import axis
from vbench.analysis.frame import LENGTH, plain
from vbench.analysis.labels import labelled, measured
from vbench.analysis.matched import logarithms, matched, ratios, said
from vbench.analysis.points import points, spread
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

MOST_FIGURES = 3


def sections(runs: Runs, options: Options) -> list[Section]:
    """The table of the spread, and the curves of the systems that spread most; none where each has one length."""
    conditions = [each for each in runs.conditions if each != LENGTH]
    if runs.valid.empty:
        return []
    labels = labelled(runs.valid[runs.valid[LENGTH].notna()], conditions)
    labels = labels[labels.groupby(["system", "series"])[LENGTH].transform("nunique") > 1]
    data = _data(labels, options.y)
    if data.empty:
        return []
    y = axis(options.y)
    caption = (
        f"{y.short[0].upper()}{y.short[1:]} at each length divided by that at the shortest: the geometric mean over "
        "the shared loads, in brackets its 95 % interval. Spread: the highest over the lowest. “No difference” stands "
        f"only where every interval holds 1. {measured(labels)}."
    )
    table, widest = _table(data)
    drawn = [_figure(labels, system, series, options) for system, series in widest[:MOST_FIGURES]]
    rest = len(widest) - len(drawn)
    notes = [f"Drawn: the {len(drawn)} that spread most, of {len(widest)}; where=… chooses others."] if rest else []
    return [Section("context-length", "Effect of max_model_len", caption, table, data, notes=tuple(notes)), *drawn]


def _data(labels: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a system and length above its shortest: system, series, shortest, length, and the ratio's fields."""
    made = []
    stats = logarithms(labels, [metric], ["system", "series", LENGTH, "num_prompts"])
    for (system, series), rows in stats.groupby(["system", "series"]):
        lengths = sorted(set(rows[LENGTH]), key=_order)
        shortest = rows[rows[LENGTH] == lengths[0]]
        for length in lengths[1:]:
            found = ratios(matched(rows[rows[LENGTH] == length], shortest, ["num_prompts"]), [])
            about = {"system": system, "series": series, "shortest": plain(lengths[0]), "length": plain(length)}
            made.append(found.assign(**about))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame()


def _table(data: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """As people read it, and the systems (system, series), the widest spread first."""
    lengths = sorted(set(data["length"]), key=_order)
    rows, widths = {}, {}
    for (system, series), found in data.groupby(["system", "series"]):
        cells = {row.length: said(row) for row in found.itertuples()}
        values = [1.0, *found["value"]]
        widths[system, series] = max(values) / min(values) - 1
        rows[f"{system} · {series}"] = {
            "shortest": found["shortest"].iloc[0],
            **{length: cells.get(length, "") for length in lengths},
            "spread": f"{widths[system, series]:.1%}",
            "verdict": _verdict(found),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "system"
    return table, sorted(widths, key=lambda key: -widths[key])


def _verdict(found: pd.DataFrame) -> str:
    known = found[found["interval_from"] == "repeats"]
    if len(known) < len(found):
        return "not known: no repeats"
    within = max(found["high"].max(), 1 / found["low"].min()) - 1
    apart = found[(found["low"] > 1) | (found["high"] < 1)]
    return f"differs at {', '.join(apart['length'])}" if len(apart) else f"no difference, within {within:.1%}"


def _figure(labels: pd.DataFrame, system: str, series: str, options: Options) -> Section:
    rows = labels[(labels["system"] == system) & (labels["series"] == series)]
    x, y = axis(options.x), axis(options.y)
    found = points(rows.assign(series=rows[LENGTH].map(lambda length: f"max_model_len={plain(length)}")))
    title = f"{system} · {series}: by max_model_len"
    name = slug("context-length", system, series)
    drawable = found.dropna(subset=[x.key, y.key])
    if drawable.empty:
        return Section(name, title, notes=(f"No run has both {y.short} and {x.short}: nothing to draw.",))
    bars = spread(drawable)
    caption = f"One point a load{f': {bars}' if bars else ''}."
    return Section(name, title, caption, data=drawable, figure=figures.curves(drawable, title, measured(rows), x, y))


def _order(length: Any) -> float:
    return float("inf") if length == "auto" else float(length)
