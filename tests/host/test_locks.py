"""Locks on file systems as sites have them, and in folders where anybody may put anything.

The file systems are emulated at the system call: the errno values are those of Linux's NFS and Lustre clients.
"""

import errno
import fcntl
import os

import pytest

from vbench.host import locks
from vbench.schema.errors import Refused
from vbench.session import sessionfile

flock = fcntl.flock


@pytest.fixture
def nfs4(monkeypatch):
    """NFSv4: an exclusive lock needs a descriptor open for writing, a shared one a descriptor open for reading."""

    def emulated(descriptor, operation):
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        if (operation & fcntl.LOCK_EX and mode == os.O_RDONLY) or (operation & fcntl.LOCK_SH and mode == os.O_WRONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", emulated)


def failing(monkeypatch, number, times):
    """Locks fail with this errno so many times; the list of the failures."""
    failed = []

    def emulated(descriptor, operation):
        if len(failed) < times:
            failed.append(number)
            raise OSError(number, os.strerror(number))
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", emulated)
    return failed


def test_a_session_is_held_and_seen_to_be_on_nfs4(nfs4, tmp_path):
    assert not sessionfile.is_held(tmp_path)
    with sessionfile.hold(tmp_path):
        assert sessionfile.is_held(tmp_path)
    assert not sessionfile.is_held(tmp_path)


def test_a_lock_is_created_and_taken_exclusively_and_shared_on_nfs4(nfs4, tmp_path):
    descriptor = locks.create_locked(tmp_path / "lock")
    assert locks.try_lock(tmp_path / "lock") is None
    os.close(descriptor)
    shared = [locks.try_lock(tmp_path / "lock", locks.SHARED) for _ in range(2)]
    assert None not in shared
    for each in shared:
        os.close(each)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ESTALE])
def test_a_lock_daemon_that_restarts_is_waited_for(number, monkeypatch, tmp_path):
    failed = failing(monkeypatch, number, times=3)
    with locks.hold(tmp_path / "lock"):
        assert locks.is_locked(tmp_path / "lock")
    assert len(failed) == 3


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, 524])
def test_a_file_system_without_locks_is_refused_in_one_line(number, monkeypatch, tmp_path):
    failing(monkeypatch, number, times=1 << 30)
    monkeypatch.setattr(locks, "RETRY_S", 0.2)
    for attempt in (lambda: locks.hold(tmp_path / "lock").__enter__(), lambda: locks.create_locked(tmp_path / "new")):
        with pytest.raises(Refused, match=r"grants no locks.*mount it with locks") as refused:
            attempt()
        assert str(tmp_path) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_is_removed_between_opening_and_locking_guards_nothing(how, monkeypatch, tmp_path):
    path = locks.create(tmp_path / "lock")
    swapped = []

    def emulated(descriptor, operation):
        if not swapped:
            swapped.append(os.fstat(descriptor).st_ino)
            path.rename(tmp_path / "moved")
            if how == "replaced":
                path.touch()
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", emulated)
    descriptor = locks.try_lock(path)
    if how == "removed":
        assert descriptor is None
    else:
        assert os.fstat(descriptor).st_ino == path.stat().st_ino != swapped[0]
        os.close(descriptor)


def test_what_is_no_file_is_refused_and_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(Refused, match=rf"{name}: .*remove it"):
            locks.try_lock(tmp_path / name)
    with pytest.raises(Refused), locks.hold(tmp_path / "link"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"


def test_holding_a_lock_keeps_what_the_file_says(tmp_path):
    (tmp_path / "lock").write_text("mine")
    with locks.hold(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_text() == "mine"


@pytest.mark.skipif(os.getuid() != 0, reason="to act as another user takes root")
def test_a_lock_file_of_another_user_is_seen_and_an_unreadable_one_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    held = locks.create_locked(tmp_path / "lock")
    locks.create(tmp_path / "unreadable").chmod(0)
    child = os.fork()
    if not child:
        code = 1
        try:
            os.setuid(65534)
            seen = locks.is_locked(tmp_path / "lock")
            try:
                locks.is_locked(tmp_path / "unreadable")
            except Refused as refused:
                code = 0 if seen and "unreadable: belongs to root and is closed to others" in str(refused) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(held)


@pytest.mark.skipif(os.getuid() != 0, reason="to own files of another user takes root")
def test_a_folder_that_another_user_has_planted_as_a_link_is_refused(tmp_path):
    (tmp_path / "victims").mkdir()
    (tmp_path / "leases").symlink_to(tmp_path / "victims")
    assert locks.ensure_folder(tmp_path / "leases") == (tmp_path / "victims").resolve()  # a link of one's own is meant
    os.chown(tmp_path / "leases", 65534, 65534, follow_symlinks=False)
    if os.getuid() == 0:
        with pytest.raises(Refused, match="leases: must be a folder, but is another user's link"):
            locks.ensure_folder(tmp_path / "leases")
