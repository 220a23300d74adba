"""The longest context that each system serves each model with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from vbench.analysis.frame import FITTED, LENGTH, LIMIT, REQUESTS, TOKENS
from vbench.analysis.labels import labelled, measured
from vbench.analysis.section import Section
from vbench.schema.failures import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

TOO_LARGE: frozenset[Kind] = frozenset({"infeasible", "oom_load", "oom_kv", "skipped_larger"})
ASIDE = {LENGTH, "engine.weights"}  # random weights take as much memory as true ones
CAPTION = (
    "Tokens of the longest context that the engine serves. From starts with max_model_len=auto: what fits, as the "
    "engine found it; else from fixed lengths: the longest that started. † the model's own limit. ≥ no other length "
    "was tried. 0: it does not fit. Blank: not measured."
)


class Cell(NamedTuple):
    """What is known of one system: `context` NaN where nothing is."""

    context: float
    limited: bool = False  # by the model, not by the memory
    at_least: bool = False  # no other length was tried
    tokens: float = np.nan  # of KV cache, of one replica
    requests: float = np.nan  # of the longest context that fit into it at once
    why: str = ""  # there is no context, though it was tried


def sections(runs: Runs, _: Options) -> list[Section]:
    """The table of contexts, and that of the KV cache behind it; none where only one length was ever asked for."""
    tried = runs.all[runs.all[LENGTH].notna()]
    if not (tried[LENGTH] == "auto").any() and tried[LENGTH].nunique() < 2:
        return []
    rows = labelled(tried, [each for each in runs.conditions if not each.startswith("workload.") and each not in ASIDE])
    found = contexts(rows)
    grid = _grid(found, _context)
    notes = [f"{row.series} · {row.system}: {row.why}" for row in found.itertuples() if row.why]
    made = [Section("max-context", "Longest context", f"{CAPTION} {measured(tried)}.", grid, found, notes=tuple(notes))]
    known = found[found["tokens"].notna() & ~found["at_least"]]
    if len(known):
        caption = "Tokens of KV cache of one replica / requests of the longest context that it holds at once."
        cache = _grid(known, _cache)
        made.append(Section("kv-cache", "KV cache at the longest context", caption, cache))
    return made


def contexts(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (series, system) that was tried: `Cell`'s fields beside it. Takes labelled rows, VALID or not."""
    shortest = pd.to_numeric(rows[LENGTH], errors="coerce").groupby(rows["system"]).min()
    cells = [
        {"series": series, "system": system, "gpus": group["gpus"].max(), **_cell(group, shortest[system])._asdict()}
        for (series, system), group in rows.groupby(["series", "system"])
    ]
    return pd.DataFrame(cells).sort_values(["gpus", "series", "system"], ignore_index=True)


def _cell(rows: pd.DataFrame, shortest: float) -> Cell:
    limit = rows[LIMIT].min()
    started, failed = rows[rows["verdict"] != "FAILED"], rows[rows["verdict"] == "FAILED"]
    if len(started):
        served = started.assign(context=_served(started)).sort_values(["context", "start_time"])
        best = served.iloc[-1]
        context, lengths = np.nanmin([best["context"], limit]), set(rows[LENGTH])
        at_least = context != limit and len(lengths) == 1 and "auto" not in lengths
        return Cell(context, context == limit, at_least, best[TOKENS], best[REQUESTS])
    too_large = failed[failed["failure"].isin(TOO_LARGE)]
    if (too_large[LENGTH] == "auto").any() or (pd.to_numeric(too_large[LENGTH], errors="coerce") <= shortest).any():
        return Cell(0.0)
    reasons = [f"{kind} at {length}" for kind, length in zip(failed["failure"], failed[LENGTH], strict=True)]
    end = ", and nothing shorter was tried" if len(too_large) else ""
    return Cell(np.nan, why=f"FAILED: {', '.join(reasons)}{end}")


def _served(rows: pd.DataFrame) -> pd.Series:
    """The context of each start: what the server said, else what was asked of it."""
    return rows[FITTED].fillna(pd.to_numeric(rows[LENGTH], errors="coerce"))


def _context(cell: Cell) -> str:
    return f"{'≥ ' if cell.at_least else ''}{cell.context:,.0f}{'†' if cell.limited else ''}"


def _cache(cell: Cell) -> str:
    return f"{cell.tokens:,.0f}" + ("" if np.isnan(cell.requests) else f" / {cell.requests:,.1f}")


def _grid(found: pd.DataFrame, text: Callable[[Any], str]) -> pd.DataFrame:
    cells = {(row.series, row.system): text(row) for row in found.itertuples() if not np.isnan(row.context)}
    order, systems = list(dict.fromkeys(found["series"])), sorted(set(found["system"]))
    table = pd.DataFrame({name: [cells.get((row, name), "") for row in order] for name in systems}, index=order)
    table.index.name = "hardware · parallelism"
    return table
