"""What a run found: `record.json`, the truth of the run, and `requests.npz`, the raw facts beside it.

Facts are stored, numbers are derived (`vbench.metrics`), so that a definition can be corrected without measuring again.
Times are seconds since the run's start unless the name says otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vbench.schema.failures import LASTING, MEANING, Kind

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]

RECORD = "record.json"
REQUESTS = "requests.npz"
TELEMETRY = "telemetry.npz"
SERVER_LOGS = "server*.log"  # one a replica; those of earlier servers are server.log.1, …
ENDED_EARLY = "ended early"  # the error of a request that was broken off, or never sent, because its load was ended


@dataclass(frozen=True)
class Requests:
    """n requests and their m token chunks, in columns.

    A chunk is one server-sent event that brought tokens; request i owns chunks `offsets[i]` to `offsets[i + 1]`.
    """

    scheduled: Floats  # (n,) when the arrival process wanted it sent
    sent: Floats  # (n,) when its bytes were handed to the socket; NaN if never
    first_byte: Floats  # (n,) first byte of the reply; NaN if none
    finished: Floats  # (n,) end of the reply or of the connection; NaN if never sent
    input_tokens: Ints  # (n,) prompt tokens, as sent
    asked_tokens: Ints  # (n,) max_tokens
    output_tokens: Ints  # (n,) by the server's usage, else by its chunks
    status: Ints  # (n,) HTTP status; 0 if none came
    replica: Ints  # (n,) index of the endpoint that served it
    finish_reason: Strings  # (n,) "length", "stop", or "" if none came
    error: Strings  # (n,) "" is success; else one line
    offsets: Ints  # (n + 1,)
    chunk_times: Floats  # (m,) arrival of each chunk
    chunk_tokens: Ints  # (m,) tokens that each chunk brought

    def __len__(self) -> int:
        return len(self.sent)

    def save(self, path: Path) -> None:
        """Writes the columns, whole or not at all. Whole numbers and words are compressed; instants hardly can be."""
        # np.savez_compressed takes ten times as long, for 7 % less.
        with atomic(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for each in dataclasses.fields(self):
                column, name = getattr(self, each.name), f"{each.name}.npy"
                entry = zipfile.ZipInfo(name) if column.dtype.kind == "f" else name  # by itself it is stored as it is
                with archive.open(entry, "w", force_zip64=True) as out:
                    np.lib.format.write_array(out, column, allow_pickle=False)  # type: ignore[no-untyped-call]

    @classmethod
    def load(cls, path: Path) -> Requests:
        with np.load(path) as columns:
            return cls(**columns)


@dataclass(frozen=True)
class Reason:
    """Why a run is not to be trusted: a fixed code to count by, and a sentence to read."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Failure:
    """Why a run has no measurement: a word of the taxonomy, and the line of the log that tells."""

    kind: Kind
    line: str

    def __post_init__(self) -> None:
        if self.kind not in MEANING:
            raise ValueError(f"{self.kind}: not a kind of failure; these are: {', '.join(MEANING)}")

    @property
    def lasting(self) -> bool:
        """Whether it is an answer, known until asked anew; what is not may be taken up again."""
        return self.kind in LASTING


@dataclass(frozen=True)
class Record:
    """One run, whole. Plain data: JSON in, JSON out."""

    run_key: str  # hash of everything that shapes the result
    session: str  # the session's folder name
    name: str  # for people: "llama70b · 2xh100 · tp2 · n320"
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
    parent: str | None = None  # run key of the search whose probe this is
    source: str = "measured"  # or imported

    @property
    def verdict(self) -> str:
        """VALID, INVALID (measured, not to be trusted) or FAILED (not measured)."""
        if self.failure:
            return "FAILED"
        return "INVALID" if self.invalid else "VALID"

    @property
    def final(self) -> bool:
        """Whether it is an answer: measured, or failed for a lasting reason."""
        return self.failure is None or self.failure.lasting

    def save(self, folder: Path) -> Path:
        """Writes `record.json` into the run's folder, whole or not at all."""
        path = folder / RECORD
        with atomic(path) as partial:
            partial.write_text(json.dumps(dataclasses.asdict(self) | {"verdict": self.verdict}, indent=1) + "\n")
        return path

    @classmethod
    def load(cls, folder: Path) -> Record:
        """Reads a run's folder. Raises FileNotFoundError where nothing was recorded."""
        data = json.loads((folder / RECORD).read_text())
        del data["verdict"]
        data["warnings"] = [Reason(**each) for each in data["warnings"]]
        data["invalid"] = [Reason(**each) for each in data["invalid"]]
        data["failure"] = Failure(**data["failure"]) if data["failure"] else None
        return cls(**data)


def recorded(folder: Path) -> Record | None:
    """The record of a run's folder, if it has one."""
    try:
        return Record.load(folder)
    except FileNotFoundError:
        return None


def put_aside(folder: Path) -> None:
    """Makes way for another record: a run's folder that has one is renamed to NAME.1, or the next free number."""
    if not (folder / RECORD).exists():
        return
    earlier = 1
    while (aside := folder.with_name(f"{folder.name}.{earlier}")).exists():
        earlier += 1
    folder.rename(aside)


def is_aside(folder: Path) -> bool:
    """Whether a run's folder is one that was put aside: a run's own name ends with its key."""
    return folder.suffix[1:].isdigit()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A path to write to; renamed to its final name only if the block ends well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
