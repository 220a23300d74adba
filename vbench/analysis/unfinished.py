"""Points that a campaign has planned and not measured, or lost, and what to do about them and about INVALID runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vbench.analysis.frame import ensure_columns, value_text
from vbench.plan.naming import say_name
from vbench.schema.errors import Refused
from vbench.schema.record import find_record
from vbench.session import sessionfile

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from vbench.analysis.frame import Runs

MOST_NAMED = 3


def count_to_come(folder: Path, measured: Collection[str]) -> int:
    """The runs that sessions below a campaign's folder have planned, and that neither it nor the store has a record of.

    `measured` are the run keys of the store. Sessions that were not submitted yet have planned nothing.
    """
    missing: set[str] = set()
    for path in folder.glob(f"*/{sessionfile.SESSION}"):
        try:
            planned = sessionfile.read(path).runs
        except Refused:  # of another version, or of another user
            continue
        missing |= {run.key for run in planned if find_record(path.parent / run.folder) is None}
    return len(missing - set(measured))


def say_unfinished(runs: Runs) -> str:
    """`unfinished: 1 of 3 points to come`; "" if none is."""
    total = runs.to_come + len(runs.all)
    return f"unfinished: {runs.to_come:,} of {total:,} points to come" if runs.to_come else ""


def advise(runs: Runs) -> str:
    """What measures the points that lack a VALID run, before anything else is worth doing; "" if none lacks one."""
    invalid = int((runs.left_out["verdict"] == "INVALID").sum())
    told = []
    if runs.to_come:
        told.append("wait for the campaign's end, or run the same command again if it runs no more")
    if invalid:
        told.append(f"the same command with rerun=invalid measures {invalid:,} INVALID again")
    return "; ".join(told)


def say_lost(new: Runs, baseline: Runs) -> str:
    """The points that the baseline has and of which the new side has none but INVALID or FAILED runs; "" if none.

    No ratio tells of them: a version that fails at the largest load may be as fast as ever at the others.
    """
    loaded = new.loaded_runs
    columns = ["model", "hardware", "parallelism", "num_prompts"]
    columns += [each for each in dict.fromkeys([*new.everything, *baseline.everything]) if each.startswith("workload.")]
    measured, known = _points(new.valid, columns), _points(baseline.valid, columns)
    points = _points(loaded, columns)
    lost = {
        point: f"{say_name(row.run_name)} is {row.verdict} ({row.failure or row.reasons})"
        for point, row in zip(points, loaded.itertuples(), strict=True)
        if row.verdict != "VALID" and point in known and point not in measured
    }
    more = f"; and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
    return "; ".join(list(lost.values())[:MOST_NAMED]) + more


def _points(rows: pd.DataFrame, columns: list[str]) -> list[tuple[str, ...]]:
    """What each row measured, whatever the engine and the host."""
    cells = ensure_columns(rows, tuple(columns))[columns]
    return [tuple(map(value_text, row)) for row in cells.itertuples(index=False)]
