"""What a job's process starts with: the session, and its records on their way into a store that takes many writers."""

from __future__ import annotations

from pathlib import Path

from vbench import session, tracking
from vbench.tracking.delivery import Delivery
from vbench.watch import Event


def job(path: str, minutes: float | None = None) -> None:
    """Executes the session of this file, and delivers each record as it is written. Raises as `session.job`.

    A local store has one writer, the driver: the job delivers nothing then.
    """
    if tracking.database() is not None:
        session.job(path, minutes)
        return
    folder, delivery = Path(path).parent, Delivery()

    def deliver(event: Event) -> None:
        if event.kind == "recorded":
            delivery.add(folder / event.facts["folder"])

    try:
        session.job(path, minutes, deliver)
    finally:
        delivery.close()
        for line in delivery.report():
            print(f"not filed: {line}")  # noqa: T201  into the job's log: a driver tells what it cannot file itself
