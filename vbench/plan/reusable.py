"""Which runs need no measuring, because their records stand. Pure."""

from __future__ import annotations

from vbench.schema import Rerun
from vbench.schema.record import Record


def reusable(record: Record | None, again: Rerun) -> bool:
    """Whether a run with this record is not measured again.

    A failure that passes is never known: nobody need ask for it again. What `again` names is not known either.
    """
    if record is None or not record.final or again is Rerun.all:
        return False
    asked_again = {Rerun.failed: "FAILED", Rerun.invalid: "INVALID"}.get(again)
    return record.verdict != asked_again
