"""Sessions in the driver's own process, one after the other: for a debugger, or if nothing may outlive the driver."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vbench import session
from vbench.campaign.jobs import JobEnd, JobPhase, JobState, Submission
from vbench.watch import Events


class Inline:
    """`hydra/launcher=inline`. Each job has ended by the time its submission returns."""

    name = "inline"
    on_this_host = True
    in_driver = True

    def submit(self, batch: Sequence[Submission]) -> list[str]:
        """Raises Refused if this host cannot serve a session."""
        return [_carry_out(each) for each in batch]

    def states(self, ids: Sequence[str]) -> dict[str, JobState]:
        return dict.fromkeys(ids, JobState(JobPhase.ended, JobEnd.completed))

    def cancel(self, ids: Sequence[str]) -> None:
        """Does nothing: all jobs have ended."""

    def describe_stop(self, job_id: str) -> str:  # noqa: ARG002
        """Empty: all jobs have ended."""
        return ""

    def log(self, job_id: str, folder: Path) -> None: ...


def _carry_out(each: Submission) -> str:
    folder = each.path.parent
    session.execute(each.session, folder, Events(folder, lambda _: each.on_event()))
    return str(each.path)
