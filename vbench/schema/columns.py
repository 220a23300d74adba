"""Files of columns (`.npz`), and their times packed for an archive. Pure: bytes in, bytes out.

A client's times are whole nanoseconds, stored as seconds in float64. Their bytes have little in common, so compressors
gain a quarter at most. Packed, a column is the steps from one time to the next in nanoseconds, as eight rows of bytes
from the lowest to the highest: the upper rows are nearly constant, and only the lower two or three take space.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[Any]

PACKED = ".ns"  # ends the name of a packed column
MOST_NS = 2**53  # a larger number of nanoseconds is not exact as a float
MISFITS = (ValueError, KeyError, EOFError, OSError, MemoryError, NotImplementedError, zipfile.BadZipFile)


def write_columns(file: Path | BinaryIO, columns: Mapping[str, Column]) -> None:
    """Writes an .npz; equal columns make equal bytes. Floats are not compressed."""
    # Times hardly shrink: np.savez_compressed takes ten times as long for 7 % less.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, column in columns.items():
            file_name = f"{name}.npy"
            entry = zipfile.ZipInfo(file_name) if column.dtype.kind == "f" else file_name  # a ZipInfo is stored
            with archive.open(entry, "w", force_zip64=True) as out:
                np.lib.format.write_array(out, column, allow_pickle=False)  # type: ignore[no-untyped-call]


def pack(npz: bytes) -> bytes:
    """The file with its times packed and nothing compressed; unchanged if `unpack` would not restore each column."""
    try:
        columns = _read(npz)
        named = {_pack_name(name, column): column for name, column in columns.items()}
        packed = _write_stored(named) if named.keys() != columns.keys() else npz
        return packed if _are_equal(columns, _read(unpack(packed))) else npz
    except MISFITS:
        return npz


def unpack(data: bytes) -> bytes:
    """What `pack` was given, its columns as `write_columns` writes them. Raises one of MISFITS if it is damaged."""
    if not _is_packed(data):
        return data
    restored = io.BytesIO()
    write_columns(restored, dict(_unpack_column(name, column) for name, column in _read(data).items()))
    return restored.getvalue()


def _is_packed(data: bytes) -> bool:
    """Whether `pack` made this file; nothing in it is compressed then, so it cannot be larger than it is."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    return stored and any(info.filename.endswith(f"{PACKED}.npy") for info in infos)


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
                written = _pack_times(column) if name.endswith(PACKED) else column
                np.lib.format.write_array(entry, written, allow_pickle=False)  # type: ignore[no-untyped-call]
    return out.getvalue()


def _pack_name(name: str, column: Column) -> str:
    return f"{name}{PACKED}" if _is_whole_nanoseconds(column) else name


def _is_whole_nanoseconds(column: Column) -> bool:
    """Whether a column (n,) of seconds comes back bit by bit from nanoseconds."""
    if column.dtype != np.float64 or column.ndim != 1 or not (np.abs(column) < MOST_NS / 1e9).all():  # NaN neither
        return False
    whole = np.rint(column * 1e9).astype(np.int64)
    return (whole / 1e9).tobytes() == column.tobytes()


def _pack_times(seconds: Column) -> Column:
    """(8, n) bytes of the steps between (n,) times, in nanoseconds; the lowest bit of a step is its sign."""
    steps = np.diff(np.rint(seconds * 1e9).astype("<i8"), prepend=0)
    signed = (steps << 1) ^ (steps >> 63)
    return np.ascontiguousarray(signed.view(np.uint8).reshape(-1, 8).T)


def _unpack_column(name: str, column: Column) -> tuple[str, Column]:
    if not name.endswith(PACKED):
        return name, column
    if column.dtype != np.uint8 or column.ndim != 2 or len(column) != 8:
        raise ValueError(f"{name}: not eight rows of bytes")
    signed = np.ascontiguousarray(column.T).view("<u8").ravel()
    steps = (signed >> np.uint64(1)).astype(np.int64) ^ -(signed & np.uint64(1)).astype(np.int64)
    return name.removesuffix(PACKED), np.cumsum(steps) / 1e9
