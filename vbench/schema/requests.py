"""The raw facts of a run's requests, in columns: `requests.npz`. Times are seconds since the run's start."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vbench.schema.columns import write_columns
from vbench.schema.files import atomic
from vbench.schema.secrets import redact
from vbench.schema.structure import Floats, Ints, Structure

Strings = npt.NDArray[np.str_]

CHUNKS = {"offsets", "chunk_times", "chunk_tokens"}  # columns of Requests that have other lengths than the rest
PARTS = {"part_offsets", "parts", "part_tokens"}  # likewise


def _no_ints() -> Ints:
    return np.empty(0, np.int64)


def _no_floats() -> Floats:
    return np.empty(0)


@dataclass(frozen=True)
class Requests:
    """n requests and their m token chunks, in columns.

    A chunk is one server-sent event with tokens; request i has the chunks `offsets[i]` to `offsets[i + 1]`.
    """

    scheduled: Floats  # (n,) when the arrival process scheduled it
    sent: Floats  # (n,) when its bytes were written to the socket; NaN if never
    first_byte: Floats  # (n,) first byte of the reply; NaN if none
    finished: Floats  # (n,) end of the reply or of the connection; NaN if never sent
    input_tokens: Ints  # (n,) prompt tokens, as sent
    asked_tokens: Ints  # (n,) max_tokens
    output_tokens: Ints  # (n,) from the server's usage, else counted from its chunks
    status: Ints  # (n,) HTTP status; 0 if none came
    replica: Ints  # (n,) index of the endpoint that served it
    finish_reason: Strings  # (n,) "length", "stop", or "" if none came
    error: Strings  # (n,) "" is success; else one line
    offsets: Ints  # (n + 1,)
    chunk_times: Floats  # (m,) arrival of each chunk
    chunk_tokens: Ints  # (m,) tokens in each chunk
    # (n,) prompt tokens by the server's usage, 0 if not told; (0,) in older files
    usage_input_tokens: Ints = field(default_factory=_no_ints)
    # Of loads whose prompts share parts (`schema.structure`); (0,) for others and in older files. A prompt is the
    # prompt and the reply of the turn that it extends, if any, and its own parts; equal part numbers are equal tokens.
    session: Ints = field(default_factory=_no_ints)  # (n,)
    turn: Ints = field(default_factory=_no_ints)  # (n,) a request's number in its session
    extends: Ints = field(default_factory=_no_ints)  # (n,) the turn of the same session; -1 if none
    carried: Ints = field(default_factory=_no_ints)  # (n,) tokens of its reply that the prompt has as they came
    wait_s: Floats = field(default_factory=_no_floats)  # (n,) think or tool time before it: scheduled = end + wait_s
    part_offsets: Ints = field(default_factory=_no_ints)  # (n + 1,) own parts of request i, as `offsets` of its chunks
    parts: Ints = field(default_factory=_no_ints)  # (k,) numbers of parts
    part_tokens: Ints = field(default_factory=_no_ints)  # (k,) tokens of each

    def __len__(self) -> int:
        return len(self.sent)

    def select(self, kept: npt.NDArray[np.bool_]) -> Requests:
        """Only these requests, (n,) of which `kept` is true, with their chunks."""
        chunks = np.diff(self.offsets)
        of_kept = np.repeat(kept, chunks)
        names = [each.name for each in dataclasses.fields(self) if each.name not in CHUNKS | PARTS]
        columns = {name: getattr(self, name) for name in names}
        chosen = {name: column[kept] if len(column) else column for name, column in columns.items()}
        if len(self.part_offsets):
            parts = np.diff(self.part_offsets)
            theirs = np.repeat(kept, parts)
            chosen["part_offsets"] = np.concatenate([[0], np.cumsum(parts[kept])])
            chosen |= {"parts": self.parts[theirs], "part_tokens": self.part_tokens[theirs]}
        return Requests(
            **chosen,
            offsets=np.concatenate([[0], np.cumsum(chunks[kept])]),
            chunk_times=self.chunk_times[of_kept],
            chunk_tokens=self.chunk_tokens[of_kept],
        )

    def with_structure(self, structure: Structure, part_tokens: Ints) -> Requests:
        """The same requests with the structure of their load, whose parts have these tokens, (p,)."""
        turn_of = np.append(structure.turn, -1)
        return dataclasses.replace(
            self,
            session=structure.session,
            turn=structure.turn,
            extends=turn_of[structure.extends],
            wait_s=structure.wait_s,
            part_offsets=structure.offsets,
            parts=structure.parts,
            part_tokens=part_tokens[structure.parts],
        )

    def save(self, path: Path) -> None:
        """Writes the columns; the file appears complete or not at all. Times are not compressed."""
        with atomic(path) as partial:
            write_columns(partial, {each.name: getattr(self, each.name) for each in dataclasses.fields(self)})

    def without_secrets(self) -> Requests:
        """The same requests; a server's error may repeat the key that it was sent."""
        masked = {error: redact(error) for error in set(self.error.tolist())}
        if all(error == text for error, text in masked.items()):
            return self
        return dataclasses.replace(self, error=np.array([masked[error] for error in self.error.tolist()]))

    @classmethod
    def load(cls, path: Path) -> Requests:
        with np.load(path) as columns:
            return cls(**columns)
