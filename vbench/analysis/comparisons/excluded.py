"""What the comparisons do without, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each reason; no section if every run is VALID."""
    if runs.left_out.empty:
        return []
    table = count_by_reason(runs.left_out)
    caption = (
        "FAILED: not measured. INVALID: measured, but not to be trusted, and therefore in no table or figure above. "
        "A run with several reasons counts under each."
    )
    return [Section("left-out", "Left out", caption, table.set_index("verdict"), table)]


def count_by_reason(rows: pd.DataFrame) -> pd.DataFrame:
    """The INVALID and FAILED runs by reason: verdict, reason, runs, example (a run's name)."""
    reasons = rows["reasons"].where(rows["verdict"] == "INVALID", rows["failure"]).fillna("unknown")
    each = rows.assign(reason=reasons.str.split(" ")).explode("reason")
    counted = each.groupby(["verdict", "reason"]).agg(runs=("run_id", "size"), example=("run_name", "first"))
    return counted.reset_index().sort_values(["verdict", "runs"], ascending=[True, False], ignore_index=True)
