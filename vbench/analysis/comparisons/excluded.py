"""What the comparisons do without, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.section import Section
from vbench.plan.naming import say_name

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options


MOST_NAMED = 10  # superseded runs


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each reason; no section if every run is VALID and none was superseded."""
    notes = tuple(_describe_superseded(runs.superseded))
    if runs.left_out.empty:
        return [Section("left-out", "Left out", notes=notes)] if notes else []
    table = count_by_reason(runs.left_out)
    caption = (
        "FAILED: not measured. INVALID: measured, but not to be trusted, and therefore in no table or figure above. "
        "A run with several reasons counts under each."
    )
    return [Section("left-out", "Left out", caption, table.set_index("verdict"), table, notes=notes)]


def _describe_superseded(rows: pd.DataFrame) -> list[str]:
    """The VALID runs that a later run of their key replaced, by name."""
    named = [f"{say_name(row.run_name)} of {row.start_time:%Y-%m-%d %H:%M} ({row.run_id})" for row in rows.itertuples()]
    listed = "; ".join(named[:MOST_NAMED]) + (f"; and {len(named) - MOST_NAMED} more" if named[MOST_NAMED:] else "")
    return [f"Superseded by a later VALID run of the same point and experiment: {listed}."] if named else []


def count_by_reason(rows: pd.DataFrame) -> pd.DataFrame:
    """The INVALID and FAILED runs by reason: verdict, reason, runs, example (a run's name)."""
    reasons = rows["reasons"].where(rows["verdict"] == "INVALID", rows["failure"]).fillna("unknown")
    each = rows.assign(reason=reasons.str.split(" ")).explode("reason")
    counted = each.groupby(["verdict", "reason"]).agg(runs=("run_id", "size"), example=("run_name", "first"))
    counted["example"] = counted["example"].map(say_name)
    return counted.reset_index().sort_values(["verdict", "runs"], ascending=[True, False], ignore_index=True)
