"""Files of recorded traces: the arrival time, the prompt and the reply of each request.

CSV with a header: BurstGPT's columns (Timestamp, Request tokens, Response tokens), Azure's (TIMESTAMP, a date and time,
ContextTokens, GeneratedTokens), or timestamp, input_tokens (input_length), output_tokens (output_length); names in
either case, other columns ignored, times in seconds.

JSONL: timestamp, input_length, output_length, hash_ids (of blocks of the prompt; equal ids are equal tokens up to their
end). Mooncake's blocks have 512 tokens and its times are milliseconds; the blocks of Alibaba's Qwen traces, which have
the same keys, have 16 tokens, and their times are seconds. The number of hash_ids tells the two apart; where it does
not, `workload.trace.time_unit` must. Alibaba's chat_id and parent_chat_id name the session.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from vbench.schema import TimeUnit
from vbench.schema.errors import Refused

COLUMNS = (  # alternative names of each
    ("timestamp",),
    ("request tokens", "contexttokens", "input_tokens", "input_length"),
    ("response tokens", "generatedtokens", "output_tokens", "output_length"),
)
SECONDS_BY_BLOCK = {512: 1e-3, 16: 1.0}  # the unit of `timestamp`, by the prompt tokens of one of the hash_ids
SECONDS = {TimeUnit.s: 1.0, TimeUnit.ms: 1e-3}
UNFIT_SHARE = 0.01  # of the rows whose shared hash_ids may fit no block size: recordings have flaws
_FRACTION = re.compile(r"(\.\d{6})\d+")  # beyond microseconds


@dataclass(frozen=True)
class Row:
    """One request."""

    time: float  # seconds
    prompt: int  # tokens
    reply: int  # tokens
    blocks: tuple[int, ...] = ()  # hash ids of the prompt's blocks
    chat: int | None = None
    parent: int | None = None  # the chat that it continues


@dataclass(frozen=True)
class TraceFile:
    """The rows of a file, in the order of their times."""

    rows: tuple[Row, ...]
    block: int | None  # tokens of a block; None if no row has hash_ids


def read(path: Path, unit: TimeUnit | None) -> TraceFile:
    """Reads the file, once as long as it is not changed. Raises Refused if it is not a trace."""
    return _read(path, unit, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, unit: TimeUnit | None, _modified_ns: int) -> TraceFile:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            found = _parse(lines, path, unit)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"workload.path={path}: not a trace, CSV or JSONL ({error})") from error
    return replace(found, rows=tuple(sorted(found.rows, key=lambda row: row.time)))


def _parse(lines: Iterable[str], path: Path, unit: TimeUnit | None) -> TraceFile:
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(filled, (1, ""))
    if first[1].lstrip().startswith("{"):
        blocks: set[int] = set()
        rows = [
            _row(lambda line=line: _parse_json(json.loads(line), blocks), path, number)
            for number, line in chain([first], filled)
        ]
        block = blocks.pop() if len(blocks) == 1 else None
        scale = SECONDS[unit] if unit else _unit(block, bool(blocks), rows, path)
        if block is None and not blocks:  # prompts of one block, of whatever size
            block = min(SECONDS_BY_BLOCK) if any(row.blocks for row in rows) else None
        _check_blocks(rows, block, path)
        return TraceFile(tuple(replace(row, time=row.time * scale) for row in rows), block)
    places = _column_indexes(next(csv.reader([first[1]]), []), path)
    scale = SECONDS[unit or TimeUnit.s]
    rows = [
        _row(lambda line=line: _parse_cells(next(csv.reader([line])), places, scale), path, number)
        for number, line in filled
    ]
    return TraceFile(tuple(rows), None)


def _unit(block: int | None, contradicting: bool, rows: list[Row], path: Path) -> float:
    """The seconds of one unit of the times. Raises Refused if the rows do not tell."""
    if block and not contradicting:
        return SECONDS_BY_BLOCK[block]
    times = [row.time for row in rows]
    odd = next((time for time in times if time != int(time)), times[0])
    raise Refused(
        f"workload.path={path}: timestamp {odd:g} may be seconds or milliseconds, and hash_ids do not tell; set "
        "workload.trace.time_unit=s or ms"
    )


def _check_blocks(rows: list[Row], block: int | None, path: Path) -> None:
    """Raises Refused if rows share hash ids that are not one for each block of their prompts: they would share less."""
    rows_of_id = Counter(chain.from_iterable(set(row.blocks) for row in rows))
    unfit = [
        row
        for row in rows
        if any(rows_of_id[each] > 1 for each in row.blocks)
        and not (block and _fits(len(row.blocks), row.prompt, block))
    ]
    if len(unfit) <= UNFIT_SHARE * len(rows):
        return
    row, sizes = unfit[0], " nor ".join(map(str, sorted(SECONDS_BY_BLOCK)))
    raise Refused(
        f"workload.path={path}: {len(unfit)} of {len(rows)} rows share hash_ids that, over the file, stand for neither "
        f"{sizes} tokens each ({len(row.blocks)} of them for {row.prompt:,} tokens); write them so, or remove hash_ids "
        "to replay prompts without sharing"
    )


def _fits(ids: int, prompt: int, block: int) -> bool:
    """Whether so many ids are one for each whole block of a prompt, or for each begun one."""
    return ids in (prompt // block, -(-prompt // block))


def _column_indexes(header: list[str], path: Path) -> list[int]:
    """The indexes of the three columns in a row."""
    names = [name.strip().lower() for name in header]
    found = [next((names.index(name) for name in known if name in names), -1) for known in COLUMNS]
    if -1 in found:
        wanted = ", ".join(" or ".join(known) for known, place in zip(COLUMNS, found, strict=True) if place < 0)
        raise Refused(f"workload.path={path}: its header has no column {wanted}")
    return found


def _parse_json(row: Any, blocks: set[int]) -> Row:
    """A row with its time as written. Adds to `blocks` the tokens of a block, if its hash_ids tell."""
    prompt, ids = int(row["input_length"]), row.get("hash_ids")
    if isinstance(ids, list):
        fitting = [block for block in SECONDS_BY_BLOCK if _fits(len(ids), prompt, block)]
        blocks.update(fitting if len(fitting) == 1 else ())
    chat, parent = row.get("chat_id"), row.get("parent_chat_id")
    return Row(
        time=row["timestamp"] * 1.0,
        prompt=prompt,
        reply=int(row["output_length"]),
        blocks=tuple(int(each) for each in ids) if isinstance(ids, list) else (),
        chat=None if chat is None else int(chat),
        parent=None if parent is None or int(parent) < 0 else int(parent),
    )


def _parse_cells(cells: list[str], places: list[int], scale: float) -> Row:
    time, prompt, reply = (cells[place] for place in places)
    try:
        seconds = float(time) * scale
    except ValueError:
        seconds = _date_s(time)
    return Row(seconds, int(float(prompt)), int(float(reply)))


def _date_s(text: str) -> float:
    """A date and time in seconds since 1970; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text.strip()))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _row(read_it: Any, path: Path, number: int) -> Row:
    try:
        row: Row = read_it()
        if math.isfinite(row.time) and row.prompt >= 0 and row.reply >= 0:
            return row
        why = "values must be finite and not negative"
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, AttributeError) as error:
        why = repr(error)
    raise Refused(f"workload.path={path}: line {number} is not a row of a trace ({why})")
