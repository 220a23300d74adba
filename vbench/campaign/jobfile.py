"""`job.json`: names the job that has a session, from just before its submission until its campaign has ended.

A driver that starts after another was killed reads it to find jobs that are still alive, and to see that `rerun` has
already been applied.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path

from vbench.schema import Rerun
from vbench.schema.record import atomic, read_text

JOB = "job.json"


@dataclass(frozen=True)
class JobFile:
    """One submission of a session."""

    launcher: str
    rerun: str  # what the command asked to be measured again
    id: str  # "" while it is being submitted
    submitted_at: str  # ISO 8601, UTC
    host: str

    @property
    def name(self) -> str:
        """For display: the backend's number of the job, without what the backend needs to find the job again."""
        return f"{self.launcher} job {self.id.partition('@')[0] or '(being submitted)'}"

    @classmethod
    def create(cls, launcher: str, rerun: Rerun, job_id: str) -> JobFile:
        return cls(launcher, rerun.name, job_id, datetime.now(timezone.utc).isoformat(), platform.node())

    def write(self, folder: Path) -> JobFile:
        """Writes the file into the session's folder atomically."""
        with atomic(folder / JOB) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return self

    @classmethod
    def read(cls, folder: Path) -> JobFile | None:
        """Reads the session's file; None if there is none. Raises ValueError if it is not a job file."""
        try:
            data = json.loads(read_text(folder / JOB))
        except FileNotFoundError:
            return None
        keys = [field.name for field in fields(cls)]
        if not isinstance(data, dict) or any(not isinstance(data.get(key), str) for key in keys):
            raise ValueError(f"it needs {', '.join(keys)}, each a string")
        return cls(**{key: data[key] for key in keys})  # a later version may have more keys

    @staticmethod
    def remove(folder: Path) -> None:
        (folder / JOB).unlink(missing_ok=True)
