"""Throughput and latency of every system at one load, as a grid of hardware × model."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.axes import Axis, axis
from vbench.analysis.labels import add_labels, describe_join, load_axis, shared_conditions
from vbench.analysis.points import (
    bounds_caption,
    choose_load,
    is_tied,
    mean_points,
    mean_text,
    repeats_caption,
    withhold_untold,
)
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

BEST = "★"


def sections(runs: Runs, options: Options) -> list[Section]:
    """One table; no section if nothing was measured."""
    if runs.valid.empty:
        return []
    x, y = axis(options.x), axis(options.y)
    everything = add_labels(runs.loaded_runs, runs.conditions)
    measured = everything[everything["verdict"] == "VALID"]
    found = mean_points(measured)
    swept = load_axis(everything)
    on_axis = found[found["load_axis"] == swept.column]  # 100 prompts are not 100 requests a second
    load, why = choose_load(on_axis, options.num_prompts, swept)
    why += f", of those with a finite {swept.name}" if why and len(on_axis) < len(found) else ""
    cells = select_load(on_axis, load, y)
    table, notes = grid(cells, everything, load, x, y)
    repeats = "; ".join(filter(None, (repeats_caption(cells), bounds_caption(cells, (y.key, x.key)))))
    caption = (
        f"{y.short[0].upper()}{y.short[1:]} / {x.short}, at {swept.name}={load:g}{f' ({why})' if why else ''}"
        f"{f'; {repeats}' if repeats else ''}. "
        f"{f'{BEST} best {y.short} of its column. ' if cells['best'].any() else ''}"
        f"{f'No {BEST} where no difference to the best was measured. ' if cells['tied'].any() else ''}"
        f"{shared_conditions(measured, everything)}."
    )
    return [
        Section(
            "throughput-latency",
            "Throughput and latency",
            caption,
            table,
            cells,
            notes=(*notes, *describe_join(measured)),
            runs=everything,
        )
    ]


def select_load(found: pd.DataFrame, load: float, y: Axis) -> pd.DataFrame:
    """The points of one load, with `best` and `tied`.

    `best`: whether the point is the best of its model by `y`, if there is a choice and no other is tied with it; else
    they are all `tied`.
    """
    cells = found[found["load"] == load].reset_index(drop=True).assign(best=False, tied=False)
    for _, rows in withhold_untold(cells, [y.key]).dropna(subset=[y.key]).groupby("model_label"):
        ranked = rows.sort_values(y.key, ascending=y.less_is_better, kind="stable")
        first = ranked.iloc[0]
        equal = [place for place, row in ranked.iterrows() if is_tied(first, row, y.key)]
        if len(ranked) > 1:
            cells.loc[equal, "best" if len(equal) == 1 else "tied"] = True
    return cells


def grid(
    cells: pd.DataFrame, everything: pd.DataFrame, load: float, x: Axis, y: Axis
) -> tuple[pd.DataFrame, list[str]]:
    """A row for each system, a column for each model, cells "y / x" or N/A; and a note for each kind of N/A.

    `cells` comes from `select_load`; `everything` holds all labelled runs, which say why a cell is missing.
    """
    swept = load_axis(everything).column
    at_load = (everything["load"] == load) & (everything["load_axis"] == swept)
    found = {(row["system_label"], row["model_label"]): row for row in cells.to_dict("records")}
    marks: dict[str, str] = {}

    def cell(system: str, model: str) -> str:
        row = found.get((system, model))
        if row:
            texts = [mean_text(row, each.key, each.digits) for each in (y, x)]
            return f"{BEST + ' ' if row['best'] else ''}{' / '.join(texts)}"
        why = _why_missing(everything, at_load, system, model)
        return f"N/A [{marks.setdefault(why, _letter(len(marks)))}]"

    order = everything.drop_duplicates("system_label").sort_values(["gpus", "hardware", "system_label"])["system_label"]
    models = sorted(everything["model_label"].unique())
    table = pd.DataFrame({model: [cell(system, model) for system in order] for model in models}, index=list(order))
    table.index.name = "hardware · parallelism"
    return table, [f"[{mark}] {why}" for why, mark in marks.items()]


def _why_missing(everything: pd.DataFrame, at_load: pd.Series, system: str, model: str) -> str:
    here = everything[(everything["system_label"] == system) & (everything["model_label"] == model)]
    if here.empty:
        return "not measured"
    at = here[at_load[here.index]]
    if at.empty:
        if (here["verdict"] == "FAILED").all():
            return f"FAILED at every load: {', '.join(sorted(set(here['failure'].dropna())))}"
        if here["load"].isna().all():
            return "its load is not known"
        name = load_axis(here).name
        return f"measured only at {name}={', '.join(f'{n:g}' for n in sorted(set(here['load'].dropna())))}"
    latest = at.iloc[0]
    why = latest["failure"] if latest["verdict"] == "FAILED" else ", ".join(latest["reasons"].split())
    return f"{latest['verdict']}: {why}"


def _letter(index: int) -> str:
    return string.ascii_lowercase[index] if index < len(string.ascii_lowercase) else str(index)
