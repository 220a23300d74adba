"""The load that a recorded trace makes: its times, its lengths, and which prompts share blocks.

Where the file has hash_ids, prompts with equal ids have equal tokens there, so the trace's hits in a prefix cache come
back; else every prompt is unique. Requests are sent at their own times, whatever the server does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vbench.schema import Workload
from vbench.schema.errors import Refused
from vbench.schema.record import Floats, Ints
from vbench.schema.structure import Structure
from vbench.workload import tracefiles
from vbench.workload.script import Script
from vbench.workload.sharegpt import file_digest
from vbench.workload.tracefiles import Row


@dataclass(frozen=True)
class Trace:
    """n requests, ordered by arrival time."""

    times: Floats  # (n,) seconds, from 0
    lengths: Ints  # (n, 2) prompt and reply tokens, each at least 1: traces give failed requests a reply of 0


def read(workload: Workload) -> Trace:
    """The first `num_prompts` rows of the window. Raises Refused if the file is not a trace or has fewer rows."""
    rows = _rows(workload)
    times = np.array([row.time for row in rows])
    window = _window(workload)
    start = window[0] if window else times[0]
    lengths = np.array([(row.prompt, row.reply) for row in rows], np.int64)
    return Trace((times - start) * workload.trace.time_scale, np.maximum(lengths, 1))


def script(workload: Workload) -> Script | None:
    """The trace as prompts that share blocks; None if the file has no hash_ids."""
    block = tracefiles.read(_file(workload), workload.trace.time_unit).block
    if block is None:
        return None
    rows, trace = _rows(workload), read(workload)
    parts: dict[tuple[int, int], int] = {}  # by hash id and tokens
    part_tokens: list[int] = []
    own: list[list[int]] = []

    def new_part(tokens: int) -> int:
        part_tokens.append(tokens)
        return len(part_tokens) - 1

    for row, prompt in zip(rows, trace.lengths[:, 0].tolist(), strict=True):
        pieces, left = [], prompt
        for hash_id in row.blocks[: -(-prompt // block)]:
            tokens = min(block, left)
            if (hash_id, tokens) not in parts:
                parts[hash_id, tokens] = new_part(tokens)
            pieces.append(parts[hash_id, tokens])
            left -= tokens
        own.append([*pieces, new_part(left)] if left else pieces)
    return Script(_structure(rows, own), np.array(part_tokens), trace.lengths[:, 1], trace.times)


def count(workload: Workload) -> int:
    """The number of rows in the window. Raises Refused if the file is not a trace."""
    return len(_windowed(workload))


def content(workload: Workload) -> bytes:
    """A digest of the file's content, and of whether its blocks are kept. Raises Refused if there is no such file."""
    path = _file(workload)
    kept = b"blocks" if tracefiles.read(path, workload.trace.time_unit).block else b""
    return file_digest(path, path.stat().st_mtime_ns) + kept


def _file(workload: Workload) -> Path:
    if not workload.path:
        raise Refused("workload.path: not given; give the path of a trace, CSV or JSONL")
    if not Path(workload.path).is_file():
        raise Refused(f"workload.path={workload.path}: no such file; give the path of a trace, CSV or JSONL")
    return Path(workload.path).resolve()


def _rows(workload: Workload) -> tuple[Row, ...]:
    rows, wanted = _windowed(workload), workload.request_count
    if len(rows) < wanted:
        where = f"window_s={_window(workload)} of {workload.path}" if _window(workload) else workload.path
        raise Refused(f"workload.num_prompts={wanted}: {where} has only {len(rows)} rows; ask for no more, or null")
    return rows[:wanted]


def _windowed(workload: Workload) -> tuple[Row, ...]:
    """The rows of the window, their times counted from the file's first."""
    rows = tracefiles.read(_file(workload), workload.trace.time_unit).rows
    if not rows:
        raise Refused(f"workload.path={workload.path}: it has no rows")
    window = _window(workload)
    if window is None:
        return rows
    start = rows[0].time
    inside = tuple(
        Row(row.time - start, row.prompt, row.reply, row.blocks, row.chat, row.parent)
        for row in rows
        if window[0] <= row.time - start < window[1]
    )
    if not inside:
        raise Refused(f"workload.trace.window_s={list(window)}: the trace has no request in it")
    return inside


def _window(workload: Workload) -> tuple[float, float] | None:
    window = workload.trace.window_s
    if window is None:
        return None
    numbers = (
        isinstance(window, (list, tuple)) and len(window) == 2 and all(type(end) in (int, float) for end in window)
    )
    if not numbers or not 0 <= window[0] < window[1]:
        raise Refused(f"workload.trace.window_s={window}: must be [from, to] in seconds, or null")
    return float(window[0]), float(window[1])


def _structure(rows: tuple[Row, ...], own: list[list[int]]) -> Structure:
    """Rows that continue another chat are in its session; each prompt has parts of its own only."""
    n = len(rows)
    session, turn = np.arange(n), np.zeros(n, np.int64)
    place_of = {row.chat: place for place, row in enumerate(rows) if row.chat is not None}
    for place, row in enumerate(rows):
        earlier = place_of.get(row.parent, n) if row.parent is not None else n
        if earlier < place:
            session[place], turn[place] = session[earlier], turn[earlier] + 1
    return Structure(
        session=np.unique(session, return_inverse=True)[1],
        turn=turn,
        extends=np.full(n, -1),
        after=np.empty((0, 2), np.int64),
        wait_s=np.zeros(n),
        offsets=np.concatenate([[0], np.cumsum([len(each) for each in own])]).astype(np.int64),
        parts=np.array([part for each in own for part in each], np.int64),
    )
