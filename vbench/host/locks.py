"""Lock files for processes of several users and nodes, by flock. The kernel releases a lock when its last holder ends.

The filelock package (4.2) is not used. It has no shared lock and does not pass a lock on to child processes, which GPU
leases need. On a file system without flock it falls back to a marker file, which remains when its holder is killed;
it raises ENOLCK and EOPNOTSUPP as bare OSErrors; and it accepts a lock on a file that was renamed meanwhile.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from vbench.schema.errors import Refused

T = TypeVar("T")
ALONE, SHARED = fcntl.LOCK_EX, fcntl.LOCK_SH
RETRY_S = 10.0  # how long a network file system may fail before we give up
POLL_S = 0.05
TRANSIENT = {errno.ENOLCK, errno.ESTALE}  # the lock daemon restarts; another client replaced the file
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, 524}  # 524: the kernel's ENOTSUPP, which NFS may return


def try_lock(path: Path, kind: int = ALONE) -> int | None:
    """The descriptor of the file, locked; None if another process holds it, or if there is no such file.

    Raises Refused if the path is not a regular file, if we may not open it, or if its file system has no locks.
    """
    return _lock(path, kind | fcntl.LOCK_NB, os.O_RDWR)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Locks the file for the block, created if missing; waits for its holder. Raises Refused as `try_lock`."""
    descriptor = _lock(path, ALONE, os.O_RDWR | os.O_CREAT)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds it exclusively. Raises Refused as `try_lock`."""
    descriptor = try_lock(path, SHARED)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None and path.exists()


def create_locked(path: Path, text: str = "") -> int:
    """The descriptor of a new file, locked and readable by every user before others can see it.

    Raises FileExistsError if it exists, FileNotFoundError if its folder does not.
    """
    with _open_unseen(path.parent) as (descriptor, name):
        try:
            os.fchmod(descriptor, 0o644)  # regardless of the umask
            _retry(path, lambda: fcntl.flock(descriptor, ALONE))
            os.write(descriptor, text.encode())
            os.link(name, path, src_dir_fd=descriptor)  # which makes Python follow the link below /proc
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


@contextmanager
def _open_unseen(folder: Path) -> Iterator[tuple[int, str]]:
    """A new file and a path to link it from: without a name, so that nothing is left of it if this process is killed.

    Where the file system has no such files, as NFS, it has a random name during the block.
    """
    try:
        descriptor = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o644)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    else:
        yield descriptor, f"/proc/self/fd/{descriptor}"
        return
    named = folder.absolute() / f".{secrets.token_hex(8)}"
    descriptor = os.open(named, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        yield descriptor, str(named)
    finally:
        with suppress(FileNotFoundError):
            named.unlink()


def create(path: Path) -> Path:
    """Creates the file if it does not exist; returns the path."""
    if not os.path.lexists(path):
        with suppress(FileExistsError):
            os.close(create_locked(path))
    return path


def remove(path: Path) -> None:
    """Removes the file if it exists and we may remove it."""
    with suppress(FileNotFoundError, PermissionError):
        path.unlink()


def ensure_folder(path: Path) -> Path:
    """Returns the folder for lock files, created if missing with /tmp's mode: users cannot remove each other's files.

    Raises Refused if another user has put a link or a file there.
    """
    try:
        path.mkdir(parents=True)
        path.chmod(0o1777)
    except FileExistsError:
        found = path.lstat()
        trusted = stat.S_ISDIR(found.st_mode) or found.st_uid in (0, os.getuid())
        if not trusted or not path.is_dir():
            raise Refused(
                f"{path}: must be a folder, but is another user's link or a file; remove it, or set VBENCH_LEASES to a "
                "folder that all users of these GPUs can write to"
            ) from None
    return path.resolve()


def _lock(path: Path, operation: int, flags: int) -> int | None:
    """As `try_lock`; a blocking operation waits for the holder."""
    return _retry(path, lambda: _lock_named_file(path, operation, flags))


def _lock_named_file(path: Path, operation: int, flags: int) -> int | None:
    """Opens and locks; tries again if the file was removed or replaced in between, because that lock guards nothing."""
    while (descriptor := _open(path, flags)) is not None:
        named = False
        try:
            fcntl.flock(descriptor, operation)
            named = _is_same_file(descriptor, path)
            if named:
                return descriptor
        except (BlockingIOError, PermissionError):  # some file systems report EACCES for a held lock
            return None
        finally:
            if not named:
                os.close(descriptor)
    return None


def _open(path: Path, flags: int) -> int | None:
    """The open file, None if there is none.

    Opened for writing, because NFSv4 grants exclusive locks only then. Another user's file is opened for reading: this
    suffices for shared locks, and on local disks for exclusive ones too.
    """
    safe = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # do not follow a planted link or block on a pipe
    try:
        try:
            descriptor = os.open(path, flags | safe, 0o644)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            descriptor = os.open(path, os.O_RDONLY | safe)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise Refused(f"{path}: must be a regular file to be locked; remove it")


def _retry(path: Path, action: Callable[[], T]) -> T:
    """Returns the action's result. Transient errors are retried for RETRY_S; raises Refused if they persist."""
    deadline = time.monotonic() + RETRY_S
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno not in TRANSIENT or time.monotonic() > deadline:
                raise _explain(path, error) from error
        time.sleep(POLL_S)


def _explain(path: Path, error: OSError) -> Refused:
    if error.errno == errno.ELOOP:
        return Refused(f"{path}: is a link, which vbench does not follow to lock a file; remove it")
    if error.errno in UNSUPPORTED:
        return Refused(
            f"{path}: its file system grants no locks ({error.strerror}), and without them a session could be measured "
            "twice; mount it with locks (Lustre: -o flock), or use a folder on another disk"
        )
    if error.errno in (errno.EACCES, errno.EPERM) and (owner := _find_owner(path)):
        return Refused(
            f"{path}: belongs to {owner} and is closed to others, so vbench cannot see whether it is locked; its owner "
            "or root has to remove it, or chmod 644 it"
        )
    return Refused(f"{path}: cannot be locked: {error.strerror}")


def _find_owner(path: Path) -> str:
    """The user who owns the file, or the number of one without a name; empty if we cannot see it."""
    try:
        uid = path.lstat().st_uid
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
