"""What the comparisons do without, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.section import Section
from vbench.metrics.remedies import REMEDY
from vbench.plan.naming import say_name
from vbench.schema.failures import MEANING, PERMANENT

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
    remedies = tuple(say_remedies(list(dict.fromkeys(table["reason"]))))
    return [Section("left-out", "Left out", caption, table.set_index("verdict"), table, notes=(*remedies, *notes))]


def say_remedies(codes: Sequence[str]) -> Iterator[str]:
    """What to do about each reason or kind of failure, as the run itself prints it; codes that share it share a line.

    Reasons of other tools' files that are not known here are left out.
    """
    by_remedy: dict[str, list[str]] = {}
    for code in codes:
        if remedy := _find_remedy(code):
            by_remedy.setdefault(remedy, []).append(code)
    yield from (f"{', '.join(names)}: {remedy}" for remedy, names in by_remedy.items())


def _find_remedy(code: str) -> str | None:
    if code in REMEDY:
        return REMEDY[code]
    kind = next((each for each in MEANING if each == code), None)
    if kind is None:
        return None
    again = "after a change, rerun=failed" if kind in PERMANENT else "the same command"
    return f"{MEANING[kind]}; {again} measures it again"


def _describe_superseded(rows: pd.DataFrame) -> list[str]:
    """The VALID runs that a later run of their key replaced, by name."""
    if rows.empty:
        return []
    named = [f"{say_name(row.run_name)} of {row.start_time:%Y-%m-%d %H:%M} ({row.run_id})" for row in rows.itertuples()]
    listed = "; ".join(named[:MOST_NAMED]) + (f"; and {len(named) - MOST_NAMED} more" if named[MOST_NAMED:] else "")
    return [f"Superseded by a later VALID run of the same point and experiment: {listed}."]


def count_by_reason(rows: pd.DataFrame) -> pd.DataFrame:
    """The INVALID and FAILED runs by reason: verdict, reason, runs, example (a run's name)."""
    reasons = rows["reasons"].where(rows["verdict"] == "INVALID", rows["failure"]).fillna("unknown")
    each = rows.assign(reason=reasons.str.split(" ")).explode("reason")
    counted = each.groupby(["verdict", "reason"]).agg(runs=("run_id", "size"), example=("run_name", "first"))
    counted["example"] = counted["example"].map(say_name)
    return counted.reset_index().sort_values(["verdict", "runs"], ascending=[True, False], ignore_index=True)
