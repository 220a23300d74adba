"""Whether a recorded run is kept or measured again. Pure."""

from __future__ import annotations

from vbench.schema import Rerun
from vbench.schema.record import Record


def is_reusable(record: Record | None, rerun: Rerun) -> bool:
    """Whether the record stands, so that the run is not measured again.

    A transient failure never stands: the same command retries it. `rerun` names verdicts that do not stand either.
    """
    if record is None or not record.final or rerun is Rerun.all:
        return False
    verdict_to_repeat = {Rerun.failed: "FAILED", Rerun.invalid: "INVALID"}.get(rerun)
    return record.verdict != verdict_to_repeat
