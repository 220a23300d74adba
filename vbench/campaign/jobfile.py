"""`job.json`: which job a session was given to. It stands from just before the submission until its campaign is over.

So a driver that was killed is followed by one that knows what lives, and that what was asked again has been taken up.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from vbench.schema import Rerun
from vbench.schema.record import atomic

JOB = "job.json"


@dataclass(frozen=True)
class JobFile:
    """One submission of a session."""

    launcher: str
    rerun: str  # what the command asked to measure again
    id: str  # "" while it is being submitted
    submitted_at: str  # ISO 8601, UTC
    host: str

    @property
    def name(self) -> str:
        """For people: the backend's number of the job, without what it needs to find it again."""
        return f"{self.launcher} job {self.id.partition('@')[0] or '(being submitted)'}"

    @classmethod
    def now(cls, launcher: str, again: Rerun, job_id: str) -> JobFile:
        return cls(launcher, again.name, job_id, datetime.now(timezone.utc).isoformat(), platform.node())

    def write(self, folder: Path) -> JobFile:
        """Writes it into the session's folder, whole or not at all."""
        with atomic(folder / JOB) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return self

    @classmethod
    def read(cls, folder: Path) -> JobFile | None:
        """The session's, if it was given to a job and its campaign is not over."""
        try:
            return cls(**json.loads((folder / JOB).read_text()))
        except FileNotFoundError:
            return None

    @staticmethod
    def forget(folder: Path) -> None:
        (folder / JOB).unlink(missing_ok=True)
