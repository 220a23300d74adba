"""Files that processes of several users lock (flock). The kernel ends a lock with all processes that hold it."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ALONE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH


def try_lock(path: Path, kind: int = ALONE) -> int | None:
    """The file's descriptor, locked; None where another process has it, or where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds the file for the block, made if need be; waits for whoever holds it."""
    with path.open("w") as lock:
        fcntl.flock(lock, ALONE)
        yield


def is_locked(path: Path) -> bool:
    """Whether a living process has it locked, for itself alone."""
    descriptor = try_lock(path, SHARED)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None and path.exists()


def create_locked(path: Path, text: str = "") -> int:
    """The descriptor of a new file, locked and readable by every user before any can see it. Raises FileExistsError."""
    fresh = path.with_name(f".{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.fchmod(descriptor, 0o644)  # whatever the umask
        fcntl.flock(descriptor, ALONE)
        os.write(descriptor, text.encode())
        os.link(fresh, path)
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        fresh.unlink()
    return descriptor


def create(path: Path) -> Path:
    """The same path, its file made if it is not there."""
    if not path.exists():
        with suppress(FileExistsError):
            os.close(create_locked(path))
    return path


def remove(path: Path) -> None:
    """Removes the file, if it is there and ours to remove."""
    with suppress(FileNotFoundError, PermissionError):
        path.unlink()


def folder(path: Path) -> Path:
    """The folder for such files, made if need be as /tmp is: everybody adds, nobody removes what is another's."""
    try:
        path.mkdir(parents=True)
        path.chmod(0o1777)
    except FileExistsError:
        pass
    return path.resolve()
