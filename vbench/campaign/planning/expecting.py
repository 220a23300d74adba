"""What a run will show, by records of its system."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vbench.plan.forecast.performance import History, Performance
from vbench.plan.sessions import Run
from vbench.schema.record import Record


def make_expectation(records: Sequence[Record]) -> Callable[[Run], Performance | None]:
    """A function that says what a run will show; None: no record answers."""
    history = History(records)
    return lambda run: history.find(run.config)
