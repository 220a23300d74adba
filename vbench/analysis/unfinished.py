"""Points that a campaign has planned and not measured, and what to do about them and about INVALID runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vbench.schema.errors import Refused
from vbench.schema.record import find_record
from vbench.session import sessionfile

if TYPE_CHECKING:
    from collections.abc import Collection

    from vbench.analysis.frame import Runs


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
