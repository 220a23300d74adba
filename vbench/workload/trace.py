"""Recorded traces: the arrival time, prompt tokens and reply tokens of each request.

CSV with a header, times in seconds: BurstGPT's columns (Timestamp, Request tokens, Response tokens), or timestamp,
input_tokens (input_length), output_tokens (output_length); names in either case, other columns ignored.
JSONL: timestamp, input_length, output_length. Mooncake's times are whole milliseconds, those of Alibaba's Qwen traces,
which have the same keys, are seconds with decimals: the number of hash_ids tells the two apart.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from vbench.schema import Workload
from vbench.schema.errors import Refused
from vbench.schema.record import Floats, Ints
from vbench.workload.sharegpt import file_digest

COLUMNS = (  # alternative names of each
    ("timestamp",),
    ("request tokens", "input_tokens", "input_length"),
    ("response tokens", "output_tokens", "output_length"),
)
SECONDS_BY_BLOCK = {512: 1e-3, 16: 1.0}  # the unit of `timestamp`, by the prompt tokens of one of the hash_ids


@dataclass(frozen=True)
class Trace:
    """n requests, ordered by arrival time."""

    times: Floats  # (n,) seconds, from 0
    lengths: Ints  # (n, 2) prompt and reply tokens, each at least 1: traces give failed requests a reply of 0


def read(workload: Workload) -> Trace:
    """The first `num_prompts` rows of the file. Raises Refused if it is not a trace or has fewer rows."""
    path = _file(workload)
    return _read(path, workload.request_count, path.stat().st_mtime_ns)


def count(workload: Workload) -> int:
    """The number of the file's rows. Raises Refused if it is not a trace."""
    path = _file(workload)
    return len(_read(path, None, path.stat().st_mtime_ns).times)


def content(workload: Workload) -> bytes:
    """A digest of the file's content. Raises Refused if there is no such file."""
    path = _file(workload)
    return file_digest(path, path.stat().st_mtime_ns)


def _file(workload: Workload) -> Path:
    if not workload.path or not Path(workload.path).is_file():
        raise Refused(f"workload.path={workload.path}: no such file; give the path of a trace, CSV or JSONL")
    return Path(workload.path).resolve()


@lru_cache(maxsize=16)
def _read(path: Path, count: int | None, _modified_ns: int) -> Trace:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = _rows(lines, path, count)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"workload.path={path}: not a trace, CSV or JSONL ({error})") from error
    if len(rows) < (count or 1):
        raise Refused(f"workload.num_prompts={count or 'null'}: {path} has only {len(rows)} rows; ask for no more")
    table = np.array(sorted(rows, key=lambda row: row[0]), dtype=np.float64)
    return Trace(table[:, 0] - table[0, 0], np.maximum(table[:, 1:].astype(np.int64), 1))


def _rows(lines: Iterable[str], path: Path, count: int | None) -> list[tuple[float, int, int]]:
    """At most `count` rows: seconds, prompt tokens, reply tokens."""
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(filled, (1, ""))
    if first[1].lstrip().startswith("{"):
        units: set[float] = set()
        rows = [
            _row(lambda line=line: _parse_json(json.loads(line), units), path, number)
            for number, line in islice(chain([first], filled), count)
        ]
        unit = _unit(units, [time for time, *_ in rows], path)
        return [(time * unit, prompt, reply) for time, prompt, reply in rows]
    places = _column_indexes(next(csv.reader([first[1]]), []), path)
    return [
        _row(lambda line=line: _parse_cells(next(csv.reader([line])), places), path, number)
        for number, line in islice(filled, count)
    ]


def _unit(told: set[float], times: list[float], path: Path) -> float:
    """The seconds of one unit of the times. Raises Refused if the rows do not tell."""
    if len(told) == 1:
        return told.pop()
    if not told and all(time == int(time) for time in times):
        return SECONDS_BY_BLOCK[512]
    odd = next((time for time in times if time != int(time)), times[0])
    raise Refused(
        f"workload.path={path}: timestamp {odd:g} may be seconds or milliseconds, and hash_ids do not tell; give a CSV "
        "with the columns timestamp (in seconds), input_length, output_length"
    )


def _column_indexes(header: list[str], path: Path) -> list[int]:
    """The indexes of the three columns in a row."""
    names = [name.strip().lower() for name in header]
    found = [next((names.index(name) for name in known if name in names), -1) for known in COLUMNS]
    if -1 in found:
        wanted = ", ".join(" or ".join(known) for known, place in zip(COLUMNS, found, strict=True) if place < 0)
        raise Refused(f"workload.path={path}: its header has no column {wanted}")
    return found


def _parse_json(row: Any, units: set[float]) -> tuple[float, int, int]:
    """A row with its time as written. Adds to `units` the unit of its time, if its hash_ids tell."""
    prompt, ids = int(row["input_length"]), row.get("hash_ids")
    if isinstance(ids, list):
        fitting = [
            unit for block, unit in SECONDS_BY_BLOCK.items() if len(ids) in (prompt // block, -(-prompt // block))
        ]
        units.update(fitting if len(fitting) == 1 else ())
    return row["timestamp"] * 1.0, prompt, int(row["output_length"])


def _parse_cells(cells: list[str], places: list[int]) -> tuple[float, int, int]:
    time, prompt, reply = (float(cells[place]) for place in places)
    return time, int(prompt), int(reply)


def _row(read_it: Any, path: Path, number: int) -> tuple[float, int, int]:
    try:
        time, prompt, reply = read_it()
        if math.isfinite(time) and prompt >= 0 and reply >= 0:
            return time, prompt, reply
        why = "values must be finite and not negative"
    except (ValueError, KeyError, IndexError, TypeError, OverflowError) as error:
        why = repr(error)
    raise Refused(f"workload.path={path}: line {number} is not a row of a trace ({why})")
