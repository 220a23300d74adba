"""Entry point of a job's process: executes the session, and files its records in a store that takes many writers."""

from __future__ import annotations

from pathlib import Path

from vbench import session, tracking
from vbench.campaign.jobs.printing import redacted_output
from vbench.tracking.delivery import Delivery
from vbench.watch import Event


def job(path: str, minutes: float) -> None:
    """What a process of the local launcher does. Raises as `run_and_deliver`, exceptions as SystemExit."""
    with redacted_output():
        run_and_deliver(path, minutes)


def run_and_deliver(path: str, minutes: float | None = None) -> None:
    """Executes the session of this file, and delivers each record as it is written. Raises as `session.run_job`.

    If the store is local, only the driver writes to it, and the job delivers nothing.
    """
    if tracking.database() is not None:
        session.run_job(path, minutes)
        return
    folder, delivery = Path(path).parent, Delivery()

    def deliver(event: Event) -> None:
        if event.kind == "recorded":
            delivery.add(folder / event.facts["folder"])

    try:
        session.run_job(path, minutes, deliver)
    finally:
        delivery.close()
        for line in delivery.report():
            print(f"not filed: {line}")  # noqa: T201  into the job's log: the driver reports what it cannot file itself
