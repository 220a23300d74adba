"""The result of a run: `record.json`, and `requests.npz` with the raw facts of its requests.

Facts are stored and numbers derived (`vbench.metrics`), so a definition can be corrected without measuring again.
Times are seconds since the run's start unless the name says otherwise.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import sys
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vbench.schema.failures import MEANING, PERMANENT, Kind
from vbench.schema.files import atomic
from vbench.schema.requests import Requests, Strings
from vbench.schema.run import RunConfig
from vbench.schema.secrets import redact_plain
from vbench.schema.serialisation import find_misfit
from vbench.schema.structure import Floats, Ints

__all__ = [
    "ENDED_EARLY", "NOT_SENT", "RECORD", "REQUESTS", "SERVER_LOGS", "TELEMETRY", "UNREADABLE",
    "Failure", "Floats", "Ints", "Reason", "Record", "Requests", "Strings",
    "atomic", "find_record", "is_aside", "put_aside", "read_text", "record_flaw", "remove_partial_files",
]  # fmt: skip

RECORD = "record.json"
REQUESTS = "requests.npz"
TELEMETRY = "telemetry.npz"
SERVER_LOGS = "server*.log"  # one for each replica; logs of earlier servers are server.log.1, …
NOT_SENT = "not sent"  # error of a request that was not due before the load's duration was over; records leave it out
ENDED_EARLY = "ended early"  # error of a request that was cancelled, or never sent, because its load was ended

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError)  # a cut file, another version's, a foreign one


@dataclass(frozen=True)
class Reason:
    """Why a run is INVALID, or a warning about it: a fixed code to count by, and a sentence to read."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Failure:
    """Why a run has no measurement: the kind of failure, and the log line that shows it."""

    kind: Kind
    line: str

    def __post_init__(self) -> None:
        if self.kind not in MEANING:
            raise ValueError(f"{self.kind}: not a kind of failure; these are: {', '.join(MEANING)}")

    @property
    def permanent(self) -> bool:
        """Whether it is a result, repeated only on request; a transient failure is retried by the same command."""
        return self.kind in PERMANENT


@dataclass(frozen=True)
class Record:
    """All that is known of one run, as plain data: JSON in, JSON out."""

    run_key: str  # hash of everything that can change the result
    session: str  # the session's folder name
    name: str  # to read: "llama70b · 2xh100 · tp2 · n320"
    experiment: str
    started_at: str  # ISO 8601, UTC
    ended_at: str
    config: dict[str, Any]  # the resolved RunConfig
    environment: dict[str, Any]  # versions, GPUs, host, job
    server: dict[str, Any] = field(default_factory=dict)  # start_s, max_model_len, kv_cache_tokens
    metrics: dict[str, float] = field(default_factory=dict)  # vLLM's result keys; only finite values
    warnings: list[Reason] = field(default_factory=list)
    invalid: list[Reason] = field(default_factory=list)
    failure: Failure | None = None
    parent: str | None = None  # run key of the search that this is a probe of
    source: str = "measured"  # or imported

    @property
    def verdict(self) -> str:
        """VALID, INVALID (measured, but not to be trusted) or FAILED (not measured)."""
        if self.failure:
            return "FAILED"
        return "INVALID" if self.invalid else "VALID"

    @property
    def final(self) -> bool:
        """Whether it is a result: measured, or permanently failed."""
        return self.failure is None or self.failure.permanent

    def save(self, folder: Path) -> Path:
        """Writes `record.json` into the run's folder, without secrets; the file appears complete or not at all."""
        path = folder / RECORD
        facts = redact_plain(dataclasses.asdict(self)) | {"verdict": self.verdict}
        facts["metrics"] = _leave_out_nonfinite(facts["metrics"])
        with atomic(path) as partial:
            partial.write_text(json.dumps(facts, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Reads the record of a run's folder, without secrets that an earlier version wrote.

        Raises FileNotFoundError if there is none, else one of UNREADABLE.
        """
        data = json.loads(read_text(folder / RECORD))
        del data["verdict"]
        data["warnings"] = [Reason(**each) for each in data["warnings"]]
        data["invalid"] = [Reason(**each) for each in data["invalid"]]
        data["failure"] = Failure(**data["failure"]) if data["failure"] else None
        for facts in (data["config"], data["config"]["workload"], data["environment"], data["metrics"], data["server"]):
            if not isinstance(facts, dict):
                raise TypeError(f"not a mapping: {facts!r:.40}")
        data["metrics"] = _leave_out_nonfinite(data["metrics"])
        if misfit := _find_misfit(data):
            raise TypeError(misfit)
        if "engine" in data["config"]:
            data["config"]["engine"] = redact_plain(data["config"]["engine"], ())
        return cls(**data)

    def without_secrets(self) -> Record:
        """The same record, with the secrets masked that an earlier version wrote into any part of it."""
        facts = redact_plain(dataclasses.asdict(self))
        reasons = {key: [Reason(**each) for each in facts[key]] for key in ("warnings", "invalid")}
        failure = Failure(**facts["failure"]) if facts["failure"] else None
        return type(self)(**facts | reasons | {"failure": failure})


def _leave_out_nonfinite(metrics: dict[str, Any]) -> dict[str, Any]:
    """Without metrics that are no finite float: what could not be computed is absent, as what has no samples is."""
    most = sys.float_info.max
    return {key: value for key, value in metrics.items() if not isinstance(value, (int, float)) or abs(value) <= most}


def _find_misfit(data: dict[str, Any]) -> str | None:
    """What of a record's JSON is not of its type, as a sentence; None if all of it is."""
    for key in ("run_key", "session", "name", "experiment", "started_at", "ended_at", "source"):
        if not isinstance(data.get(key, ""), str):
            return f"{key}: no text: {data[key]!r:.40}"
    for reason in (*data["warnings"], *data["invalid"]):
        if not (isinstance(reason.code, str) and isinstance(reason.sentence, str)):
            return f"a reason is no text: {reason!r:.60}"
    if data["failure"] and not isinstance(data["failure"].line, str):
        return f"failure.line: no text: {data['failure'].line!r:.40}"
    for key, value in data["metrics"].items():
        if not isinstance(value, (int, float)):
            return f"metrics.{key}: no number: {value!r:.40}"
    for key in ("started_at", "ended_at"):
        datetime.fromisoformat(data[key].replace("Z", "+00:00"))  # Python 3.10 does not parse the Z of ISO 8601
    if not isinstance(data.get("parent"), (str, type(None))):
        return f"parent: no run key: {data['parent']!r:.40}"
    return find_misfit(RunConfig, data["config"])


def find_record(folder: Path) -> Record | None:
    """The record of a run's folder; None if there is none, or none that this version can read (`record_flaw`)."""
    try:
        return Record.load(folder)
    except UNREADABLE:
        return None


def record_flaw(folder: Path) -> str | None:
    """Why the record of a run's folder cannot be read; None if it can, or if there is none."""
    try:
        Record.load(folder)
    except FileNotFoundError:
        return None
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    return None


def put_aside(folder: Path) -> Path | None:
    """Makes room for a new record: a run's folder that has one is renamed to NAME.1, or the next free number.

    Returns the folder's new path; None if it has no record.
    """
    if not (folder / RECORD).exists():
        return None
    earlier = 1
    while (aside := folder.with_name(f"{folder.name}.{earlier}")).exists():
        earlier += 1
    return folder.rename(aside)


def is_aside(folder: Path) -> bool:
    """Whether a folder holds a record that was put aside: NAME.1, NAME.2, …; a run's own folder ends with its key."""
    return folder.suffix[1:].isdigit()


def read_text(path: Path, reopen: int = 3) -> str:
    """The file's text. Raises OSError.

    A network file system says ESTALE if another node has replaced the open file; it is then opened again.
    """
    try:
        return path.read_text()
    except OSError as error:
        if error.errno != errno.ESTALE or not reopen:
            raise
        return read_text(path, reopen - 1)


def remove_partial_files(folder: Path) -> None:
    """Removes what `atomic` left in this folder when its process was killed. No process may be writing there."""
    for path in folder.glob(".*"):
        if path.suffix[1:].isdigit() and path.is_file():
            path.unlink(missing_ok=True)
