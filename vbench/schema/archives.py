"""An archive of a campaign: the records of its runs with their raw requests, telemetry and logs, in one .zip.

All that reads records from disk walks them by `walk_runs`, wherever they lie. Runs are unpacked one at a time into a
temporary folder. A zip rather than a tar: its list of members is read at once and each member by itself, so a record is
read, and a harmful archive refused, without unpacking the rest.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path, PurePosixPath

from vbench.schema import columns
from vbench.schema.errors import Refused
from vbench.schema.files import atomic
from vbench.schema.record import RECORD, REQUESTS, TELEMETRY, Record, find_record
from vbench.schema.redaction import redact_file

SUFFIX = ".zip"
RAW = {REQUESTS: columns.write_columns, TELEMETRY: columns.write_compressed}  # and how each is written
KEPT = (RECORD, *RAW, "server*.log*", "session.json", "events.jsonl")  # of a run's folder and its session's
MOST_MEMBERS = 200_000
MOST_BYTES = 2 * 2**30  # of one member, unpacked
MOST_BYTES_IN_ALL = 256 * 2**30
FILES_AND_FOLDERS = (0, stat.S_IFREG, stat.S_IFDIR)  # 0: written by a system without such types
DAMAGED = (*columns.MISFITS, RuntimeError, lzma.LZMAError, zlib.error)


def is_archive(path: Path) -> bool:
    """Whether this is a file that has the name of an archive."""
    return path.suffix == SUFFIX and path.is_file()


def holds_records(path: Path) -> bool:
    """Whether an archive holds a record. Raises Refused if it is damaged, or may do harm."""
    with _open(path) as archive:
        return bool(_find_runs(archive))


def walk_runs(root: Path, *, raw: bool = True) -> Iterator[Path]:
    """The folder of each run at or below `root`, also of runs in archives: `root` may be one, or may hold some.

    The folder of an archived run is temporary and lasts until the next is taken; without `raw` it has no requests and
    no telemetry. Raises Refused for an archive that is damaged or may do harm.
    """
    if is_archive(root):
        yield from (folder for _, folder in unpack_runs(root, raw=raw))
        return
    for path in sorted(path for name in (RECORD, f"*{SUFFIX}") for path in root.rglob(name)):
        if path.name == RECORD:
            yield path.parent
        elif is_archive(path):
            yield from (folder for _, folder in unpack_runs(path, raw=raw))


def read_records(root: Path) -> list[Record]:
    """Every record at or below `root`, also in archives, that this version can read. Raises as `walk_runs`."""
    found = [find_record(folder) for folder in walk_runs(root, raw=False)]
    return [record for record in found if record]


def unpack_runs(path: Path, *, raw: bool = True) -> Iterator[tuple[str, Path]]:
    """The name of each run in an archive, and a temporary folder with its files, its session's logs in the one above.

    A folder lasts until the next is taken. Raises Refused for an archive that is damaged or may do harm.
    """
    with _open(path) as archive:
        members: dict[PurePosixPath, list[zipfile.ZipInfo]] = {}
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if _is_kept(name.name) and (raw or name.name not in RAW):
                members.setdefault(name.parent, []).append(info)
        for session, runs in groupby(_find_runs(archive), key=lambda run: run.parent):
            with tempfile.TemporaryDirectory(prefix="vbench-archive-") as scratch:
                _extract(archive, members.get(session, ()), Path(scratch))
                for run in runs:
                    folder = Path(scratch) / run
                    if run != session:
                        _extract(archive, members[run], Path(scratch))
                    yield str(run), folder
                    if run != session:
                        shutil.rmtree(folder)


def write_archive(folder: Path, path: Path) -> int:
    """Writes the records at or below a folder into a new archive, and returns their number.

    Raises Refused if there are none, or if the archive exists or cannot be written.
    """
    if path.exists():
        raise Refused(f"{path}: exists already; move it away to write a new archive of {folder}")
    runs = sorted(record.parent for record in folder.rglob(RECORD))
    if not runs:
        raise Refused(f"{folder}: no {RECORD} there or below")
    places = sorted({place for run in runs for place in (run, run.parent) if place != folder.parent})
    try:
        with atomic(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for file in (file for place in places for file in sorted(place.iterdir())):
                if _is_kept(file.name) and file.is_file():
                    _add(archive, file, file.relative_to(folder.parent).as_posix())
    except OSError as error:
        raise Refused(f"{path}: cannot write it: {error.strerror or error}") from error
    return len(runs)


def _add(archive: zipfile.ZipFile, file: Path, name: str) -> None:
    """Adds a file, without secrets that an earlier version wrote.

    Only packed columns, which other programs do not read, are compressed by LZMA.
    """
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    data = redact_file(file.name, file.read_bytes())
    packed = columns.pack(data) if file.name in RAW else data
    method = zipfile.ZIP_DEFLATED if packed is data else zipfile.ZIP_LZMA
    archive.writestr(info, packed, method, 9 if method == zipfile.ZIP_DEFLATED else None)


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, its members checked. Raises Refused if it is damaged or may do harm."""
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise Refused(f"{path}: not an archive that can be read: {error}") from error
    with archive:
        _require_harmless(path, archive.infolist())
        yield archive


def _require_harmless(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MOST_MEMBERS:
        raise Refused(f"{path}: {len(members):,} members; an archive of records has at most {MOST_MEMBERS:,}")
    if (size := sum(info.file_size for info in members)) > MOST_BYTES_IN_ALL:
        raise Refused(f"{path}: {size:,} bytes when unpacked; an archive of records has at most {MOST_BYTES_IN_ALL:,}")
    name, times = Counter(info.filename for info in members).most_common(1)[0] if members else ("", 0)
    if times > 1:
        raise Refused(f"{path}: {name!r} is in it {times} times")
    for info in members:
        if flaw := _find_harm(info):
            raise Refused(f"{path}: {info.filename!r} {flaw}; not unpacked")


def _find_harm(info: zipfile.ZipInfo) -> str | None:
    """Why this member must not be unpacked; None if it may."""
    name = info.filename.removesuffix("/")
    if "\\" in name or not name.isprintable() or {"", ".", ".."} & set(name.split("/")) or ":" in name.split("/")[0]:
        return "is no path below a folder"
    if stat.S_IFMT(info.external_attr >> 16) not in FILES_AND_FOLDERS:
        return "is a link or a device, not a file"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.file_size > MOST_BYTES:
        return f"has {info.file_size:,} bytes, more than {MOST_BYTES:,}"
    return None


def _find_runs(archive: zipfile.ZipFile) -> list[PurePosixPath]:
    names = (PurePosixPath(info.filename) for info in archive.infolist() if not info.is_dir())
    return sorted(name.parent for name in names if name.name == RECORD)


def _is_kept(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in KEPT)


def _extract(archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo], folder: Path) -> None:
    """Writes members below a folder, packed columns as they were. Raises Refused if one is damaged or finds no room."""
    for info in (each for each in members if not each.is_dir()):
        target = folder / info.filename
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.name in RAW:
                target.write_bytes(columns.unpack(archive.read(info), RAW[target.name]))
            else:
                with archive.open(info) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out)
        except DAMAGED as error:
            told = error.strerror or error if isinstance(error, OSError) else f"damaged: {error}"
            raise Refused(f"{archive.filename}: {info.filename!r}: {told}") from error
