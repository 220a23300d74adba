"""Chooses the journal of a local store: WAL on a local disk, a rollback journal on a network file system.

With WAL readers and one writer work at the same time, through shared memory, so all of them must be on one host
(SQLite's documentation of WAL). A cluster's working folder is seen by several hosts, and each may run a driver.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "jfs", "tmpfs", "ramfs", "overlay"}


def set_journal(database: Path) -> None:
    """Sets the journal of the database, unless others have it open, who have then set it."""
    mode = "WAL" if find_file_system(database, MOUNTS) in LOCAL else "DELETE"
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database, timeout=1.0)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


def find_file_system(path: Path, mounts: Path) -> str:
    """The type of the file system that holds the path: ext4, nfs4, …; "unknown" if no table of mounts tells it."""
    found, most, resolved = "unknown", -1, path.resolve()
    with suppress(OSError):
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            mounted, _, kind = line.partition(" - ")
            point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), mounted.split()[4]))
            if resolved.is_relative_to(point) and len(point.parts) >= most:  # a later mount covers an earlier one
                found, most = kind.split()[0], len(point.parts)
    return found
