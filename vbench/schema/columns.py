"""Files of columns (`.npz`), and the same columns packed for an archive. Pure: bytes in, bytes out.

A client's times are whole nanoseconds, stored as seconds in float64. Their bytes have little in common, so compressors
gain a quarter at most. Packed, a column of times is the steps from one time to the next in their order, and the steps
between the places that its values have there: the tokens of one step of the engine come within microseconds of each
other, and in nearly the same order each time. Steps are eight rows of bytes from the lowest to the highest, of which
the upper ones are nearly constant. Columns of one type and length are rows of one table, because a file has many.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

NAMES, TABLES = "packed/names", "packed/tables"  # of the columns: their names, and which table has each
SORTED = "packed/sorted/"  # begins the name of a table of times; others' names are their numbers
UNSORTED = ".ns"  # ends the name of a column that earlier versions packed: the steps in the column's own order
ROUNDS = 3  # to settle the order of equal times; more gain nothing
MOST_NS = 2**53  # a larger number of nanoseconds is not exact as a float
MISFITS = (ValueError, LookupError, EOFError, OSError, MemoryError, NotImplementedError, zipfile.BadZipFile)


def write_columns(file: Path | BinaryIO, columns: Mapping[str, Column]) -> None:
    """Writes an .npz; equal columns make equal bytes. Floats are not compressed."""
    # Times hardly shrink: np.savez_compressed takes ten times as long for 7 % less.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, column in columns.items():
            file_name = f"{name}.npy"
            entry = zipfile.ZipInfo(file_name) if column.dtype.kind == "f" else file_name  # a ZipInfo is stored
            with archive.open(entry, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, column, allow_pickle=False)  # type: ignore[no-untyped-call]


def write_compressed(file: Path | BinaryIO, columns: Mapping[str, Column]) -> None:
    """Writes an .npz of short columns; equal columns make equal bytes."""
    np.savez_compressed(file, **columns)  # type: ignore[arg-type]


def pack(npz: bytes) -> bytes:
    """The file with its columns packed and nothing compressed; unchanged if `unpack` would not restore each column."""
    try:
        columns = _read(npz)
        packed = _write_stored(_tabulate(columns))
        return packed if _are_equal(columns, _restore(_read(packed))) else npz
    except MISFITS:
        return npz


def unpack(data: bytes, write: Callable[[BinaryIO, Mapping[str, Column]], None] = write_columns) -> bytes:
    """What `pack` was given, its columns as `write` writes them. Raises one of MISFITS if it is damaged."""
    if not _is_packed(data):
        return data
    restored = io.BytesIO()
    write(restored, _restore(_read(data)))
    return restored.getvalue()


def _is_packed(data: bytes) -> bool:
    """Whether `pack` made this file; nothing in it is compressed then, so it cannot be larger than it is."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    return stored and any(info.filename.endswith((f"{NAMES}.npy", f"{UNSORTED}.npy")) for info in infos)


def _read(npz: bytes) -> dict[str, Column]:
    with np.load(io.BytesIO(npz), allow_pickle=False) as columns:
        return {name: columns[name] for name in columns.files}


def _are_equal(first: Mapping[str, Column], second: Mapping[str, Column]) -> bool:
    """Whether the columns have the same names in the same order, and the same types, shapes and bytes."""
    if list(first) != list(second):
        return False
    pairs = ((column, second[name]) for name, column in first.items())
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def _write_stored(columns: Mapping[str, Column]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, column in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, column, allow_pickle=False)  # type: ignore[no-untyped-call]
    return out.getvalue()


def _tabulate(columns: Mapping[str, Column]) -> dict[str, Column]:
    """The columns as tables, a column a row, and where to find each."""
    tables: dict[tuple[str, tuple[int, ...], bool], list[Column]] = {}
    placed = []
    for column in columns.values():
        kind = (column.dtype.str, column.shape, _is_whole_nanoseconds(column))
        tables.setdefault(kind, []).append(_sort_times(column) if kind[-1] else column)
        placed.append(list(tables).index(kind))
    named = {f"{SORTED if kind[-1] else ''}{number}": rows for number, (kind, rows) in enumerate(tables.items())}
    where = {NAMES: np.array(list(columns), np.str_), TABLES: np.array(placed, "<i8")}
    return where | {name: np.stack(rows) for name, rows in named.items()}


def _restore(packed: Mapping[str, Column]) -> dict[str, Column]:
    """What `_tabulate` was given, or an earlier version of it."""
    if NAMES not in packed:
        return dict(_restore_unsorted(name, column) for name, column in packed.items())
    restored: dict[str, Column] = {}
    used: Counter[int] = Counter()
    for name, number in zip(packed[NAMES].tolist(), packed[TABLES].tolist(), strict=True):
        times = packed.get(f"{SORTED}{number}")
        table = packed[str(number)] if times is None else times
        row = table[used[number], ...]
        restored[name] = row if times is None else _unsort_times(row)
        used[number] += 1
    return restored


def _restore_unsorted(name: str, column: Column) -> tuple[str, Column]:
    if not name.endswith(UNSORTED):
        return name, column
    return name.removesuffix(UNSORTED), np.cumsum(_join_steps(column)) / 1e9


def _is_whole_nanoseconds(column: Column) -> bool:
    """Whether a column (n,) of seconds comes back bit by bit from nanoseconds."""
    if column.dtype != np.float64 or column.ndim != 1 or not (np.abs(column) < MOST_NS / 1e9).all():  # NaN neither
        return False
    whole = np.rint(column * 1e9).astype(np.int64)
    return (whole / 1e9).tobytes() == column.tobytes()


def _sort_times(seconds: Column) -> Column:
    """(16, n) bytes of (n,) times: their steps in order, in nanoseconds, and the steps between their places in it."""
    times = np.rint(seconds * 1e9).astype("<i8")
    order = np.argsort(times, kind="stable")
    for _ in range(ROUNDS):  # of equal times that comes first whose predecessor in the column did
        order = np.lexsort((np.roll(_invert(order), 1), times))
    return np.concatenate([_split_steps(times[order]), _split_steps(_invert(order))])


def _unsort_times(rows: Column) -> Column:
    if rows.dtype != np.uint8 or rows.ndim != 2 or len(rows) != 16:
        raise ValueError("not sixteen rows of bytes")
    times, places = np.cumsum(_join_steps(rows[:8])), np.cumsum(_join_steps(rows[8:]))
    if (places < 0).any():
        raise ValueError("a time before the first")
    seconds: Column = times[places] / 1e9
    return seconds


def _invert(order: Column) -> Column:
    """(n,) the place of each index in the order."""
    places = np.empty(len(order), "<i8")
    places[order] = np.arange(len(order))
    return places


def _split_steps(numbers: Column) -> Column:
    """(8, n) bytes of the steps between (n,) whole numbers; the lowest bit of a step is its sign."""
    steps = np.diff(numbers, prepend=0)
    signed = (steps << 1) ^ (steps >> 63)
    return np.ascontiguousarray(signed.view(np.uint8).reshape(-1, 8).T)


def _join_steps(rows: Column) -> Column:
    """(n,) steps of (8, n) bytes."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or len(rows) != 8:
        raise ValueError("not eight rows of bytes")
    signed = np.ascontiguousarray(rows.T).view("<u8").ravel()
    steps: Column = (signed >> np.uint64(1)).astype(np.int64) ^ -(signed & np.uint64(1)).astype(np.int64)
    return steps
