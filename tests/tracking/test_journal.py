"""Which journal a store gets: WAL only where all who open it are on one host."""

import sqlite3
from contextlib import closing

import pytest

from vbench.tracking import journal

# The root comes last where it was mounted by an initial RAM disk that had mounted others before.
MOUNTS = """\
40 22 0:35 / {root} rw,relatime - ext4 /dev/vdb rw
41 40 0:36 / {root}/my\\040home rw,relatime shared:9 - nfs4 server:/home rw,vers=4.2
42 41 0:37 / {root}/my\\040home/scratch rw - tmpfs tmpfs rw
43 40 0:38 / {root}/over rw - ext4 /dev/vdc rw
44 40 0:39 / {root}/over rw - lustre mgs@tcp:/fs rw
45 1 254:0 / / rw,relatime shared:1 - nfs4 server:/root rw
"""


@pytest.fixture
def mounts(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS.format(root=tmp_path))
    monkeypatch.setattr(journal, "MOUNTS", table)
    return table


def mode(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.parametrize(
    ("place", "kind", "expected"),
    [
        ("here", "ext4", "wal"),
        ("my home", "nfs4", "delete"),
        ("my home/scratch", "tmpfs", "wal"),
        ("my homes", "ext4", "wal"),
        ("over", "lustre", "delete"),
    ],
)
def test_a_store_that_other_hosts_see_has_no_journal_in_shared_memory(tmp_path, mounts, place, kind, expected):
    path = tmp_path / place / "mlflow.db"
    path.parent.mkdir(parents=True)
    assert journal.find_file_system(path, mounts) == kind
    journal.set_journal(path)
    assert mode(path) == expected


def test_a_store_made_on_a_network_file_system_by_an_earlier_build_leaves_wal_once_nobody_has_it_open(tmp_path, mounts):
    path = tmp_path / "my home" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE t (n)")
        other.execute("BEGIN IMMEDIATE")
        journal.set_journal(path)
        assert mode(path) == "wal"
    journal.set_journal(path)
    assert mode(path) == "delete"


def test_a_mount_point_in_another_encoding_hides_no_other(tmp_path, mounts):
    mounts.write_bytes(b"46 45 0:41 / /m\xfcll rw - cifs //server/x rw\n" + mounts.read_bytes())
    assert journal.find_file_system(tmp_path / "my home", mounts) == "nfs4"


def test_an_unknown_file_system_is_not_taken_for_a_local_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MOUNTS", tmp_path / "missing")
    journal.set_journal(tmp_path / "mlflow.db")
    assert mode(tmp_path / "mlflow.db") == "delete"
