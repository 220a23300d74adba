"""An archive of records gives back what it was made of, and a harmful or damaged one does nothing but say so."""

from __future__ import annotations

import io
import json
import lzma
import stat
import zipfile

import numpy as np
import pytest
import records
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vbench.schema import archives, columns
from vbench.schema.archives import read_records, unpack_runs, walk_runs, write_archive
from vbench.schema.errors import Refused


@pytest.fixture
def campaign(tmp_path):
    """Two sessions of three runs; one has its own log and telemetry."""
    folder = tmp_path / "made" / "campaign"
    for load in (10, 20):
        records.saved(records.record(num_prompts=load), folder)
    run = records.saved(records.record(model="llama70b", gpus=2), folder)
    (run / "server.log").write_text("its own\n")
    np.savez_compressed(run / "telemetry.npz", times=np.arange(3.0))
    (run.parent / "submission.pkl").write_text("not a result")
    return folder


@pytest.fixture
def archive(campaign, tmp_path):
    write_archive(campaign, tmp_path / "campaign.zip")
    return tmp_path / "campaign.zip"


def read_files(folder):
    """The bytes of each file of a run's folder and of the logs above it."""
    files = [*folder.iterdir(), *(path for path in folder.parent.iterdir() if path.is_file())]
    return {path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in files}


def make_zip(path, *members, data=b"{}"):
    with zipfile.ZipFile(path, "w") as made:
        for member in members:
            made.writestr(member, data)
    return path


def test_an_archive_gives_back_every_file_byte_by_byte_and_nothing_is_left_behind(
    campaign, archive, tmp_path, monkeypatch
):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    kept = {
        path.parent.relative_to(campaign.parent).as_posix(): read_files(path.parent)
        for path in campaign.rglob("record.json")
    }
    for files in kept.values():
        files.pop("submission.pkl", None)
    assert {name: read_files(folder) for name, folder in unpack_runs(archive)} == kept
    assert len(kept) == 3
    assert not list(scratch.iterdir())
    ended_early = unpack_runs(archive)
    next(ended_early)
    assert list(scratch.iterdir())
    ended_early.close()
    assert not list(scratch.iterdir())


def test_the_same_campaign_makes_the_same_archive_in_less_space_than_a_plain_zip(campaign, archive, tmp_path):
    write_archive(campaign, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    with pytest.raises(Refused, match=r"again.zip: exists already"):
        write_archive(campaign, tmp_path / "again.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"empty: no record.json there or below"):
        write_archive(tmp_path / "empty", tmp_path / "empty.zip")


def test_folders_and_the_archives_in_them_are_walked_alike(campaign, archive, tmp_path):
    assert len(list(walk_runs(archive))) == 3
    assert len(list(walk_runs(tmp_path))) == 6
    keys = [record.run_key for record in read_records(archive)]
    assert sorted(keys) == sorted(record.run_key for record in read_records(campaign))
    assert {path.name for folder in walk_runs(archive, raw=False) for path in folder.iterdir()} == {
        "record.json",
        "server.log",
    }


def linked(mode):
    info = zipfile.ZipInfo("a/server.log")
    info.external_attr = (mode | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("members", "told"),
    [
        (["../a/record.json"], "'../a/record.json' is no path below a folder"),
        (["a/../../record.json"], "is no path below a folder"),
        (["/etc/record.json"], "'/etc/record.json' is no path below a folder"),
        (["C:/a/record.json"], "is no path below a folder"),
        (["a\\..\\record.json"], "is no path below a folder"),
        (["a/\x1b[2J/record.json"], "is no path below a folder"),
        ([linked(stat.S_IFLNK), "a/record.json"], "'a/server.log' is a link or a device"),
        ([linked(stat.S_IFBLK), "a/record.json"], "'a/server.log' is a link or a device"),
        ([linked(stat.S_IFIFO), "a/record.json"], "'a/server.log' is a link or a device"),
    ],
)
def test_a_member_that_could_leave_its_folder_is_refused_and_nothing_is_written(tmp_path, monkeypatch, members, told):
    place = tmp_path / "deep" / "scratch"
    place.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    path = make_zip(tmp_path / "bad.zip", *members)
    with pytest.raises(Refused, match=r"bad.zip: ") as refused:
        list(unpack_runs(path))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert {each.name for each in tmp_path.rglob("*")} == {"deep", "bad.zip", "scratch"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"'a/record.json' is in it 2 times"):
        list(unpack_runs(make_zip(tmp_path / "bad.zip", "a/record.json", "a/record.json")))


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("MOST_BYTES", "'a/record.json' has 100,000 bytes, more than 99,999"),
        ("MOST_BYTES_IN_ALL", "200,000 bytes when unpacked; an archive of records has at most 99,999"),
    ],
)
def test_an_archive_that_grows_beyond_bounds_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, limit, told):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a/record.json", "b/record.json"):
            made.writestr(name, b" " * 100_000)
    assert path.stat().st_size < 1000
    monkeypatch.setattr(archives, limit, 99_999)
    with pytest.raises(Refused, match=told):
        list(unpack_runs(path))
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    with pytest.raises(Refused, match="2 members; an archive of records has at most 1"):
        list(unpack_runs(path))


def test_a_damaged_archive_is_refused_wherever_it_is_damaged(archive, tmp_path):
    whole, broken = archive.read_bytes(), tmp_path / "broken.zip"
    said = set()
    for place in range(0, len(whole), len(whole) // 25):
        broken.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert len(list(unpack_runs(broken))) <= 3
        except Refused as refused:
            said.add(str(refused).partition(": ")[0])
    assert said == {str(broken)}
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused, match="not an archive that can be read: File is not a zip file"):
        list(unpack_runs(broken))


def test_encrypted_members_are_refused(archive, tmp_path):
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(data)
    with pytest.raises(Refused, match="is encrypted; not unpacked"):
        list(unpack_runs(tmp_path / "locked.zip"))


NANOSECONDS = st.integers(-(2**50), 2**50).map(lambda ns: ns / 1e9)
TIMES = st.one_of(
    arrays(np.float64, st.integers(0, 20), elements=NANOSECONDS),
    arrays(np.float64, st.integers(0, 20)),  # also NaN, infinite, -0.0, and no whole nanoseconds
    arrays(np.int64, st.integers(0, 20)),
    arrays("<U5", st.integers(0, 5)),
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["sent", "chunk_times", "offsets", "error"]), TIMES, min_size=1))
def test_columns_come_back_bit_by_bit_whatever_they_hold(given_columns):
    out = io.BytesIO()
    columns.write_columns(out, given_columns)
    assert columns.unpack(columns.pack(out.getvalue())) == out.getvalue()


def test_times_take_a_third_of_their_space_and_files_of_other_writers_keep_their_columns(tmp_path):
    random = np.random.default_rng(1)
    times = np.cumsum(random.normal(0.01, 0.0005, 20_000).round(9)).round(9)
    np.savez_compressed(tmp_path / "requests.npz", chunk_times=times, status=np.full(20_000, 200))
    data = (tmp_path / "requests.npz").read_bytes()
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_LZMA) as made:
        made.writestr("requests.npz", columns.pack(data))
    assert len(stored.getvalue()) < len(data) * 0.42  # real replies come in bursts and take less
    with np.load(io.BytesIO(columns.unpack(columns.pack(data)))) as again:
        assert again.files == ["chunk_times", "status"]
        assert again["chunk_times"].tobytes() == times.tobytes()
    assert columns.pack(b"no npz") == columns.unpack(b"no npz") == b"no npz"


def write_as_earlier_versions(given_columns):
    """A file as earlier versions packed it: each time's step from the one before, as eight rows of bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, column in given_columns.items():
            times = column.dtype == np.float64
            steps = np.diff((column * 1e9).round().astype(np.int64), prepend=0) if times else column
            signed = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype("<u8") if times else column
            stored = np.array([(signed >> (8 * row)) & 255 for row in range(8)], np.uint8) if times else column
            with made.open(f"{name}.ns.npy" if times else f"{name}.npy", "w") as entry:
                np.lib.format.write_array(entry, stored)
    return out.getvalue()


def test_archives_of_earlier_versions_are_read_as_ever(campaign, archive, tmp_path):
    sent = {"chunk_times": np.array([0.25, 0.000000001, 0.0, 0.7, -0.3]), "status": np.array([200, 503])}
    restored = io.BytesIO()
    columns.write_columns(restored, sent)
    assert columns.unpack(write_as_earlier_versions(sent)) == restored.getvalue()
    with zipfile.ZipFile(archive) as new, zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for info in new.infolist():
            data = new.read(info)
            if info.filename.endswith("requests.npz"):
                with np.load(io.BytesIO(columns.unpack(data))) as each:
                    data = write_as_earlier_versions({name: each[name] for name in each.files})
            elif info.filename.endswith("telemetry.npz"):
                data = columns.unpack(data, columns.write_compressed)  # was not packed
            old.writestr(info.filename, data, zipfile.ZIP_LZMA)
    of_old = {name: read_files(folder) for name, folder in unpack_runs(tmp_path / "old.zip")}
    assert of_old == {name: read_files(folder) for name, folder in unpack_runs(archive)}
    assert len(of_old) == 3


def test_replies_that_come_step_by_step_take_less_space_than_in_their_own_order(tmp_path):
    """200 replies share each step of the engine: their tokens come 4 us apart, in much the same order."""
    random = np.random.default_rng(1)
    steps = np.cumsum(random.integers(9_000_000, 11_000_000, 100))
    within = np.cumsum(random.integers(1, 8, (100, 200)), axis=1) * 4096
    sent = {"chunk_times": ((steps[:, None] + within).T.ravel() / 1e9), "status": np.full(200, 200)}
    data = io.BytesIO()
    columns.write_columns(data, sent)
    packed = columns.pack(data.getvalue())
    assert columns.unpack(packed) == data.getvalue()
    assert len(lzma.compress(packed)) < 0.6 * len(lzma.compress(write_as_earlier_versions(sent)))


@pytest.mark.parametrize("place", [-1, 3])
def test_a_place_that_no_time_has_is_damage(place):
    sent = io.BytesIO()
    columns.write_columns(sent, {"sent": np.array([0.1, 0.2, 0.3])})
    with np.load(io.BytesIO(columns.pack(sent.getvalue()))) as packed:
        tables = {name: packed[name] for name in packed.files}
    (table,) = (name for name in tables if tables[name].dtype == np.uint8)
    tables[table][0, 8] = [2 * place if place > 0 else 1, 0, 0]  # the lowest bytes of three steps between places
    damaged = io.BytesIO()
    np.savez(damaged, **tables)
    with pytest.raises(columns.MISFITS):
        columns.unpack(damaged.getvalue())


TOKEN = "planted-by-an-early-build-7"


def test_a_secret_that_an_earlier_version_wrote_is_in_no_file_of_an_archive(campaign, tmp_path):
    """The record, the server's log, what a server replied, the events and the session: the folder itself stays."""
    run = next(campaign.rglob("record.json")).parent
    record = json.loads((run / "record.json").read_text())
    record["config"]["engine"]["extra_args"] = ["--api-key", TOKEN]
    record["environment"]["HF_TOKEN"] = TOKEN
    record["failure"] = {"kind": "engine_error", "telling_line": f"refused Authorization: Bearer {TOKEN}"}
    (run / "record.json").write_text(json.dumps(record))
    sent = dict(np.load(run / "requests.npz"))
    sent["error"] = np.array([f"401: api_key={TOKEN}", *sent["error"][1:].tolist()])
    np.savez(run / "requests.npz", **sent)
    (run / "server.log").write_text(f"args: {{'api_key': '{TOKEN}'}}\nready\n")
    cut = f'{{"t": 2, "event": "ended", "how": "--token {TOKEN}'
    events = [json.dumps({"t": 1.0, "event": "waiting", "why": f"HF_TOKEN={TOKEN}"}), cut]
    (run.parent / "events.jsonl").write_text("\n".join(events))
    session = {"launcher": {"setup": [f"curl -u me:{TOKEN} https://host"]}, "env": {"HF_TOKEN": TOKEN}}
    (run.parent / "session.json").write_text(json.dumps(session))
    before = {file: file.read_bytes() for file in campaign.rglob("*") if file.is_file()}
    write_archive(campaign, tmp_path / "clean.zip")
    assert {file: file.read_bytes() for file in campaign.rglob("*") if file.is_file()} == before
    with zipfile.ZipFile(tmp_path / "clean.zip") as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    forms = [TOKEN.encode(code) for code in ("utf-8", "utf-32-le")]  # NumPy keeps text in four bytes a character
    for name, data in kept.items():
        parts = [data]
        if name.endswith(".npz"):
            with zipfile.ZipFile(io.BytesIO(data)) as columns_file:
                parts += [columns_file.read(member) for member in columns_file.namelist()]
        assert not [form for form in forms for part in parts if form in part], name
    with np.load(io.BytesIO(columns.unpack(kept[str(run.relative_to(campaign.parent) / "requests.npz")]))) as packed:
        assert packed["error"][0] == "401: api_key=***"
    for folder in walk_runs(tmp_path / "clean.zip"):
        if folder.name == run.name and folder.parent.name == run.parent.name:
            restored = dict(np.load(folder / "requests.npz"))
            assert all(np.array_equal(restored[name], sent[name]) for name in sent if name != "error")
            assert (folder / "server.log").read_text() == "args: {'api_key': '***'}\nready\n"
            break
    else:
        pytest.fail("the run is not in its archive")
