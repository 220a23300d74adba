"""Throughput and latency of every system at one load, as a grid of hardware × model."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.axes import Axis, axis
from vbench.analysis.labels import labelled, measured
from vbench.analysis.points import HALF_WIDTH, points, shared_load, spread
from vbench.analysis.section import Section
from vbench.metrics.intervals import Interval

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

BEST = "★"


def sections(runs: Runs, options: Options) -> list[Section]:
    """The one table; none where nothing was measured."""
    if runs.valid.empty:
        return []
    x, y = axis(options.x), axis(options.y)
    everything = labelled(runs.loaded, runs.conditions)
    found = points(everything[everything["verdict"] == "VALID"])
    load, why = shared_load(found, options.num_prompts)
    cells = at_load(found, load, y)
    table, notes = grid(cells, everything, load, x, y)
    said = spread(cells)
    caption = (
        f"{y.short[0].upper()}{y.short[1:]} / {x.short}, at num_prompts={load}{f' ({why})' if why else ''}"
        f"{f'; {said}' if said else ''}. "
        f"{f'{BEST} best {y.short} of its column. ' if cells['best'].any() else ''}{measured(runs.valid)}."
    )
    return [Section("throughput-latency", "Throughput and latency", caption, table, cells, notes=tuple(notes))]


def at_load(measured: pd.DataFrame, num_prompts: int, y: Axis) -> pd.DataFrame:
    """The points of one load, with `best`: the best of its system by `y`, where there is a choice."""
    cells = measured[measured["num_prompts"] == num_prompts].reset_index(drop=True)
    of_system = cells.groupby("system")[y.key]
    best = of_system.transform("min" if y.less_is_better else "max")
    return cells.assign(best=(cells[y.key] == best) & (of_system.transform("count") > 1))


def grid(
    cells: pd.DataFrame, everything: pd.DataFrame, num_prompts: int, x: Axis, y: Axis
) -> tuple[pd.DataFrame, list[str]]:
    """Rows series, columns systems, cells "y / x" or N/A; and a note for each kind of N/A.

    `cells` is `at_load`'s; `everything` is all labelled runs, VALID or not, which say why a cell is missing.
    """
    found = {(row["series"], row["system"]): row for row in cells.to_dict("records")}
    marks: dict[str, str] = {}

    def cell(series: str, system: str) -> str:
        row = found.get((series, system))
        if row:
            return f"{BEST + ' ' if row['best'] else ''}{_text(row, y)} / {_text(row, x)}"
        why = _why_missing(everything, series, system, num_prompts)
        return f"N/A [{marks.setdefault(why, _letter(len(marks)))}]"

    order = everything.drop_duplicates("series").sort_values(["gpus", "hardware", "series"])["series"]
    systems = sorted(everything["system"].unique())
    table = pd.DataFrame({system: [cell(series, system) for series in order] for system in systems}, index=list(order))
    table.index.name = "hardware · parallelism"
    return table, [f"[{mark}] {why}" for why, mark in marks.items()]


def _text(row: dict[str, Any], of: Axis) -> str:
    mean = row[of.key]
    return format(Interval(mean, row[of.key + HALF_WIDTH], row["runs"]), of.digits) if pd.notna(mean) else "none"


def _why_missing(everything: pd.DataFrame, series: str, system: str, num_prompts: int) -> str:
    here = everything[(everything["series"] == series) & (everything["system"] == system)]
    if here.empty:
        return "not measured"
    at = here[here["num_prompts"] == num_prompts]
    if at.empty:
        if (here["verdict"] == "FAILED").all():
            return f"FAILED at every load: {', '.join(sorted(set(here['failure'].dropna())))}"
        return f"measured only at num_prompts={', '.join(f'{n:g}' for n in sorted(set(here['num_prompts'].dropna())))}"
    latest = at.iloc[0]
    return f"{latest['verdict']}: {latest['failure'] if latest['verdict'] == 'FAILED' else latest['reasons']}"


def _letter(index: int) -> str:
    return string.ascii_lowercase[index] if index < len(string.ascii_lowercase) else str(index)
