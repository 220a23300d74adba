"""How long recorded runs held their servers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vbench.schema.record import Record


def count_spent_seconds(records: Sequence[Record]) -> float:
    """Seconds of one system: each start and rehearsal once, and the time in which any of its runs was measured.

    A search spans its probes, but one that was interrupted and went on only those behind the interruption.
    """
    starts = {(each.session, each.server.get("start_s"), each.server.get("rehearsal_s")) for each in records}
    ready = sum(float(start or 0.0) + float(rehearsal or 0.0) for _, start, rehearsal in starts)
    spans = sorted(tuple(map(datetime.fromisoformat, (each.started_at, each.ended_at))) for each in records)
    measured, until = 0.0, None
    for began, ended in spans:
        begins = began if until is None else max(began, until)
        measured += max((ended - begins).total_seconds(), 0.0)
        until = ended if until is None else max(until, ended)
    return ready + measured
