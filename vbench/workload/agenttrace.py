"""Recorded conversations of agents: OpenTelemetry spans (`spans`), or the form of kv-cache-tester (Weka), as aiperf's.

A file of the latter has one conversation, or one on each line: {"id", "block_size", "hash_id_scope", "requests":
[{"t", "in", "out", "hash_ids", "api_time", "think_time"}, …]}, tokens and seconds. An entry with "type": "subagent" has
`requests` of its own: they follow the request ahead of it, beside those of the subagents next to it, and the request
behind waits for all of them. Subagents with no request ahead are left out, as by aiperf.

A request is sent `think_time` after the one before it has ended; where that is not recorded, as long after what it
follows had ended (`t` and `api_time`) as in the recording, subagents included. Equal hash ids are equal tokens within a
conversation, or, where `hash_id_scope` is global, in all of them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vbench.schema import Workload
from vbench.schema.errors import Refused
from vbench.workload import spans
from vbench.workload.arrivals import arrivals
from vbench.workload.rows import Rows
from vbench.workload.script import Script
from vbench.workload.sharegpt import file_digest

Entry = dict[str, Any]


def script(workload: Workload, rng: np.random.Generator) -> Script:
    """The first `num_prompts` requests of the file's conversations, each a session."""
    rows = _write_rows(workload, workload.request_count)
    if len(rows) < workload.request_count:
        raise Refused(
            f"workload.num_prompts={workload.num_prompts}: {workload.path} has only {len(rows)} requests; ask for no "
            "more, or null"
        )
    sessions = rows.sessions
    rate = workload.session_rate
    return rows.script(
        arrivals(sessions, rate, workload.burstiness, rng, workload.sending_s) if rate else np.zeros(sessions)
    )


def count(workload: Workload) -> int:
    """The number of requests in the file. Raises Refused if it is not such a trace."""
    return len(_write_rows(workload, None))


def content(workload: Workload) -> bytes:
    """A digest of the file's content. Raises Refused if there is no such file."""
    path = _file(workload)
    return file_digest(path, path.stat().st_mtime_ns)


def _write_rows(workload: Workload, limit: int | None) -> Rows:
    """At most `limit` requests of the file as rows. Raises Refused if it is not such a trace."""
    path = _file(workload)
    found = _read(path, path.stat().st_mtime_ns)
    if not spans.are_spans(found):
        return _Conversations(path, found).write(limit)
    try:
        sessions = spans.read_sessions(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise Refused(f"workload.path={path}: not spans of agents by the GenAI conventions ({error!r})") from error
    if not sessions:
        raise Refused(
            f"workload.path={path}: no span is a call of a model, with gen_ai.usage.input_tokens and output_tokens"
        )
    return spans.write(sessions, limit)


class _Conversations:
    """Writes the conversations of a file as rows."""

    def __init__(self, path: Path, found: tuple[Entry, ...]) -> None:
        self._path, self._found = path, found
        self._rows = Rows([])
        self._parts: dict[tuple[Any, int, int], int] = {}  # by scope, hash id and tokens
        self._session = self._turn = 0
        self._limit: int | None = None

    def write(self, limit: int | None) -> Rows:
        self._limit = limit
        for place, conversation in enumerate(self._found):
            if self._is_full():
                break
            self._turn = 0
            scope = "global" if conversation.get("hash_id_scope") == "global" else place
            try:
                self._write(conversation["requests"], scope, int(conversation["block_size"]))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise Refused(
                    f"workload.path={self._path}: conversation {place + 1} is not one of an agent ({error!r})"
                ) from error
            self._session += bool(self._turn)
        return self._rows

    def _write(self, entries: list[Entry], scope: Any, block: int) -> None:
        last, ends, ended = -1, list[int](), None
        for entry in entries:
            if self._is_full():
                return
            if entry.get("type") != "subagent":
                last = self._add(entry, ended, [last, *ends] if last >= 0 else [], scope, block)
                ends, ended = [], _end_s(entry)
            elif last >= 0:
                ends.append(self._write_chain(entry["requests"], last, scope, block))
                ended = float(np.maximum(np.nan if ended is None else ended, _subagent_end_s(entry)))

    def _write_chain(self, entries: list[Entry], parent: int, scope: Any, block: int) -> int:
        """Writes a subagent's requests; returns its last."""
        last, ended = parent, None
        for entry in entries:
            if not self._is_full() and entry.get("type") != "subagent":
                last = self._add(entry, ended, [last], scope, block)
                ended = _end_s(entry)
        return last

    def _add(self, entry: Entry, ended: float | None, after: list[int], scope: Any, block: int) -> int:
        """Writes a request; what it follows had `ended` then in the recording, None at the beginning of a chain."""
        own, left = [], max(int(entry["in"]), 1)
        for hash_id in entry.get("hash_ids") or ():
            tokens = min(block, left)
            if tokens:
                key = (scope, int(hash_id), tokens)
                if key not in self._parts:
                    self._parts[key] = self._rows.new_part(tokens)
                own.append(self._parts[key])
            left -= tokens
        own += [self._rows.new_part(left)] if left else []
        reply, waits = max(int(entry["out"]), 1), sorted(set(after))
        index = self._rows.add(self._session, self._turn, -1, waits, _wait_s(entry, ended), own, reply)
        self._turn += 1
        return index

    def _is_full(self) -> bool:
        return self._limit is not None and len(self._rows) >= self._limit


def _wait_s(entry: Entry, ended: float | None) -> float:
    if entry.get("think_time") is not None:
        return max(float(entry["think_time"]), 0.0)
    if ended is None:
        return 0.0
    if np.isnan(ended):
        raise KeyError("t")
    return max(float(entry["t"]) - ended, 0.0)


def _end_s(entry: Entry) -> float:
    """When the request had ended in the recording; NaN if that does not tell."""
    return float(entry.get("t", np.nan)) + float(entry.get("api_time") or 0.0)


def _subagent_end_s(entry: Entry) -> float:
    """When the last of a subagent's requests had ended; their times count from its own, or from the conversation's."""
    began, requests = float(entry.get("t", np.nan)), entry["requests"]
    if not requests:
        return began
    ended = float(np.max(list(map(_end_s, requests))))
    return ended if float(requests[0].get("t", np.nan)) >= began else began + ended


@lru_cache(maxsize=2)
def _read(path: Path, _modified_ns: int) -> tuple[Entry, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        try:
            whole = json.loads(text)
            found = whole if isinstance(whole, list) else [whole]
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"workload.path={path}: not conversations of agents, JSON or JSONL ({error!r})") from error
    conversations = all(isinstance(each, dict) and isinstance(each.get("requests"), list) for each in found)
    if not found or not (conversations or spans.are_spans(found)):
        raise Refused(
            f"workload.path={path}: not conversations of agents: each must have a list of requests, or be spans"
        )
    return tuple(found)


def _file(workload: Workload) -> Path:
    if not workload.path or not Path(workload.path).is_file():
        raise Refused(f"workload.path={workload.path}: no such file; give the path of recorded agents, JSON or JSONL")
    return Path(workload.path).resolve()
