"""The longest context with which each system serves each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from vbench.analysis.frame import CACHE_GIB, FITTED, LENGTH, LIMIT, REQUESTS, TOKENS, ensure_columns
from vbench.analysis.labels import add_labels, describe_join, shared_conditions
from vbench.analysis.section import Section
from vbench.schema.failures import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

TOO_LARGE: frozenset[Kind] = frozenset({"infeasible", "oom_load", "oom_kv", "skipped_larger"})
IGNORED = {LENGTH, "engine.weights"}  # random weights take as much memory as real ones
CAPTION = (
    "Tokens of the longest context that the engine serves. From starts with max_model_len=auto: what fits, as the "
    "engine found it; otherwise from fixed lengths: the longest that started. † the model's own limit. ≥ no other "
    "length was tried. 0: it does not fit. Blank: not measured."
)

CACHE_CAPTION = (
    "Requests of the longest context that one KV cache holds at once (that of a replica or, with attention data "
    "parallelism, of an engine); GiB of it on one GPU, if the log has them; the tokens that vLLM prints, at the "
    "length for which it counted them. Compare requests or GiB: vLLM rounds the tokens by that length, and for models "
    "with sliding windows they differ by far at another length."
)


FACTS = (LENGTH, LIMIT, TOKENS, REQUESTS, CACHE_GIB)


class Cell(NamedTuple):
    """What is known of one system; `context` is NaN if nothing is."""

    context: float
    limited: bool = False  # by the model, not by the memory
    at_least: bool = False  # no other length was tried
    gib: float = np.nan  # of KV cache on one GPU
    tokens: float = np.nan  # that one KV cache holds in requests of this context
    requests: float = np.nan  # of this context that fit into it at once
    why: str = ""  # why there is no context although it was tried


def sections(runs: Runs, _: Options) -> list[Section]:
    """The table of contexts, and the table of the KV cache behind it; none if only one length was ever requested."""
    tried = runs.all[runs.all[LENGTH].notna()]
    if not (tried[LENGTH] == "auto").any() and tried[LENGTH].nunique() < 2:
        return []
    conditions = [each for each in runs.conditions if not each.startswith("workload.") and each not in IGNORED]
    rows = add_labels(ensure_columns(tried, runs.conditions), conditions, join_experiments=True)
    found = contexts(rows)
    grid = _grid(found, _context)
    notes = [f"{row.system_label} · {row.model_label}: {row.why}" for row in found.itertuples() if row.why]
    notes += describe_join(tried)
    caption = f"{CAPTION} {shared_conditions(tried)}."
    made = [Section("max-context", "Longest context", caption, grid, found, notes=tuple(notes))]
    known = found[found["tokens"].notna() & ~found["at_least"]]
    if len(known):
        cache = _grid(known, _cache)
        made.append(Section("kv-cache", "KV cache at the longest context", CACHE_CAPTION, cache))
    return made


def contexts(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a (series, system) that was tried: `Cell`'s fields beside it. Takes add_labels rows, VALID or not."""
    asked = pd.to_numeric(rows[LENGTH], errors="coerce")
    columns = ["system_label", "model_label", "gpus", "start_time", "verdict", "failure", *FACTS]
    # The context of each start is what the server reported, otherwise what was requested.
    rows = ensure_columns(rows, columns)[columns].assign(asked=asked, context=rows[FITTED].fillna(asked))
    shortest = asked.groupby(rows["model_label"]).min()
    cells = [
        {"system_label": system, "model_label": model, "gpus": group["gpus"].max()}
        | _cell(group, shortest[model])._asdict()
        for (system, model), group in rows.groupby(["system_label", "model_label"])
    ]
    return pd.DataFrame(cells).sort_values(["gpus", "system_label", "model_label"], ignore_index=True)


def _cell(rows: pd.DataFrame, shortest: float) -> Cell:
    limit = rows[LIMIT].max()  # auto gives less than the most with longrope
    failures = rows["verdict"] == "FAILED"
    if not failures.all():
        best = rows[~failures].sort_values(["context", "start_time"]).iloc[-1]
        context, lengths = np.nanmin([best["context"], limit]), set(rows[LENGTH])
        at_least = context != limit and len(lengths) == 1 and "auto" not in lengths
        return Cell(context, context == limit, at_least, best[CACHE_GIB], best[TOKENS], best[REQUESTS])
    too_large = rows[rows["failure"].isin(TOO_LARGE)]
    if (too_large[LENGTH] == "auto").any() or (too_large["asked"] <= shortest).any():
        return Cell(0.0)
    reasons = [f"{kind} at {length}" for kind, length in zip(rows["failure"], rows[LENGTH], strict=True)]
    end = ", and nothing shorter was tried" if len(too_large) else ""
    return Cell(np.nan, why=f"FAILED: {', '.join(reasons)}{end}")


def _context(cell: Cell) -> str:
    return f"{'≥ ' if cell.at_least else ''}{cell.context:,.0f}{'†' if cell.limited else ''}"


def _cache(cell: Cell) -> str:
    requests = "" if np.isnan(cell.requests) else f"{cell.requests:,.1f} requests · "
    gib = "" if np.isnan(cell.gib) else f"{cell.gib:,.1f} GiB · "
    return f"{requests}{gib}{cell.tokens:,.0f} tokens at {cell.context:,.0f}"


def _grid(found: pd.DataFrame, text: Callable[[Any], str]) -> pd.DataFrame:
    cells = {(row.system_label, row.model_label): text(row) for row in found.itertuples() if not np.isnan(row.context)}
    order, systems = list(dict.fromkeys(found["system_label"])), sorted(set(found["model_label"]))
    table = pd.DataFrame({name: [cells.get((row, name), "") for row in order] for name in systems}, index=order)
    table.index.name = "hardware · parallelism"
    return table
