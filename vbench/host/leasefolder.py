"""The folder with the leases of this host: where it is, the queue in it, and the cleanup after killed jobs.

FOLDER/NUMBER.waiting   a session's ticket in the queue, locked by its job while the job lives
FOLDER/NUMBER.lease     the same file once the session has its GPUs; the environment of its servers names it
FOLDER/turn             locked by the head of the queue while it collects its GPUs
FOLDER/GPU-…, cpu       locked by the session that has it; its servers inherit the lock

This module knows files and processes; `leases` decides which GPUs a session gets.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vbench.host import locks, processes
from vbench.schema.errors import Refused

LEASE = "VBENCH_LEASE"  # in the environment of a lease's servers: the path of its file
CPU, TURN = "cpu", "turn"
WAITING, HELD = ".waiting", ".lease"
LOCKS = (CPU, TURN, "GPU-*", "MIG-*")  # the lock files of a folder, which _tidy removes
ATTEMPTS = 100  # to create a ticket: sessions that leave may remove the folder meanwhile


def find() -> Path:
    """The folder of this host: one local folder for all users, or VBENCH_LEASES (for containers that share GPUs).

    A SLURM job has its own folder below it, because the scheduler has divided the node. A missing folder is created.
    Raises Refused if another user has planted something in its place.
    """
    given = os.environ.get("VBENCH_LEASES")
    public = [place for place in (Path("/run/lock"), Path("/tmp")) if _writable_by_all(place)]  # noqa: S108
    if not (given or public):
        raise Refused(
            "VBENCH_LEASES: set it to a folder for the leases of this host; /run/lock and /tmp are not public"
        )
    folder, job = locks.ensure_folder(Path(given) if given else public[0] / "vbench"), os.environ.get("SLURM_JOB_ID")
    if not job:
        return folder
    own = locks.ensure_folder(folder / f"slurm-{job}")
    if own.parent != folder or own.stat().st_uid != os.getuid():
        raise Refused(
            f"{folder}/slurm-{job}: belongs to another user; remove it, or set VBENCH_LEASES to another folder"
        )
    return own


@contextmanager
def hold_ticket(text: str) -> Iterator[Path]:
    """Holds a ticket in the queue of this host; `text` says which session owns it.

    At the end of the block the ticket, or the lease that it became, is removed. Raises Refused if this user cannot
    write to the folder.
    """
    path, descriptor = _create_ticket(text)
    try:
        yield path
    finally:
        locks.remove(path)
        locks.remove(path.with_suffix(HELD))
        os.close(descriptor)
        tidy_jobs(path.parent)


def count_ahead(ticket: Path) -> int:
    """How many living sessions queue before this one; tickets of dead ones are removed."""
    alive = 0
    for other in ticket.parent.glob(f"*{WAITING}"):
        if other.name < ticket.name:
            alive += _is_alive(other)
    return alive


def describe_holders(folder: Path) -> list[str]:
    """The texts of all leases."""
    return [text for lease in sorted(folder.glob(f"*{HELD}")) if (text := _read(lease))]


def end_orphans(folder: Path) -> None:
    """Ends the servers of leases whose jobs were killed. Servers of other users keep their locks: we may not end them.

    Only leases in this folder count, not those of other folders (such as a container's). SLURM jobs clean up after each
    other: a scheduler that ends only the process trees it knows leaves such a server running.
    """
    for lease in folder.parent.glob(f"slurm-*/*{HELD}") if _is_of_slurm(folder) else folder.glob(f"*{HELD}"):
        if _is_ours(lease) and (descriptor := locks.try_lock(lease)) is not None:
            processes.end(LEASE, str(lease))
            locks.remove(lease)
            os.close(descriptor)


def tidy_jobs(folder: Path) -> None:
    """Removes the folders of SLURM jobs that have ended: SLURM does not reuse their numbers."""
    if _is_of_slurm(folder):
        for each in folder.parent.glob("slurm-*"):
            with suppress(OSError, Refused):
                if stat.S_ISDIR(each.lstat().st_mode) and each.lstat().st_uid == os.getuid():
                    _tidy(each)


def _create_ticket(text: str) -> tuple[Path, int]:
    for _ in range(ATTEMPTS):
        folder = find()
        # All processes of a host share the clock; a random suffix distinguishes tickets of the same nanosecond.
        path = folder / f"{time.monotonic_ns():020d}-{secrets.token_hex(4)}{WAITING}"
        try:
            return path, locks.create_locked(path, text)
        except FileNotFoundError:  # the last session of this SLURM job has just removed the folder
            continue
        except PermissionError as error:
            raise Refused(f"{folder}: not writable; chmod 1777 it, or set VBENCH_LEASES to another folder") from error
    raise Refused(f"{find()}: disappears whenever it is created; set VBENCH_LEASES to another folder")


def _is_alive(ticket: Path) -> bool:
    try:
        if locks.is_locked(ticket):
            return True
    except Refused:  # unreadable or not a regular file: not a ticket of vbench
        return False
    locks.remove(ticket)
    return False


def _tidy(folder: Path) -> None:
    """Removes lock files that nobody holds, then the folder if it is empty.

    A session that arrives meanwhile notices that the file it locked was removed, and creates another.
    """
    descriptor = locks.try_lock(locks.create(folder / TURN))
    if descriptor is None:
        return
    try:
        if any(map(_is_alive, folder.glob(f"*{WAITING}"))) or any(folder.glob(f"*{HELD}")):
            return
        for path in (path for pattern in LOCKS for path in folder.glob(pattern) if path.name != TURN):
            if (unused := locks.try_lock(path)) is not None:
                locks.remove(path)
                os.close(unused)
        locks.remove(folder / TURN)
        folder.rmdir()
    finally:
        os.close(descriptor)


def _is_ours(path: Path) -> bool:
    with suppress(FileNotFoundError):
        found = path.lstat()
        return stat.S_ISREG(found.st_mode) and os.access(path, os.W_OK)
    return False


def _is_of_slurm(folder: Path) -> bool:
    return folder.name.startswith("slurm-")


def _writable_by_all(place: Path) -> bool:
    """Also not on a read-only file system, as that of an image."""
    return place.is_dir() and bool(place.stat().st_mode & stat.S_IWOTH) and os.access(place, os.W_OK)


def _read(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # gone since, unreadable, or a planted link
        return ""
    with os.fdopen(descriptor, errors="replace") as file:
        return file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else ""
