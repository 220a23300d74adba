"""`vbench archive` and `vbench ingest` of what it wrote: the store has the same as from the folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import records
from stored_runs import client, runs

from vbench import ingest, tracking
from vbench.campaign import archiving
from vbench.schema.errors import Refused

pytestmark = pytest.mark.slow  # MLflow's own


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


@pytest.fixture
def campaign(tmp_path):
    for load in (10, 20):
        records.saved(records.record(num_prompts=load), tmp_path / "multirun")
    return tmp_path / "multirun" / "grid"


def read_store():
    """All that MLflow has of each run, by its run key."""
    found = {}
    for run in runs():
        data, info = run.data, run.info
        files = {}
        for each in client().list_artifacts(info.run_id):
            files[each.path] = Path(client().download_artifacts(info.run_id, each.path)).read_bytes()
        facts = (data.params, data.metrics, {k: v for k, v in data.tags.items() if k.startswith("vbench.")})
        found[data.tags["vbench.run_key"]] = (*facts, info.start_time, info.end_time, info.status, files)
    return found


def test_an_archive_is_filed_as_its_folder_is(tmp_path, monkeypatch, campaign, capsys):
    assert archiving.main(["multirun/grid"]) == 0
    assert capsys.readouterr().out.startswith("multirun/grid.zip: 2 runs, ")
    assert ingest.main(["multirun/grid"]) == 0
    from_folder = read_store()
    assert ingest.main(["multirun/grid.zip"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("filed 0, already there 2, unreadable 0")
    other = records.empty_store(tmp_path / "other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    assert ingest.main(["multirun/grid.zip"]) == 0
    assert "filed 2, already there 0, unreadable 0" in capsys.readouterr().out
    assert read_store() == from_folder
    assert sorted(from_folder.popitem()[1][-1]) == ["record.json", "requests.npz", "server.log"]


def test_records_in_a_folder_of_archives_are_filed_and_an_unreadable_one_is_named_by_its_place(campaign, capsys):
    archiving.main(["multirun/grid"])
    with zipfile.ZipFile("multirun/grid.zip", "a") as archive:
        archive.writestr("grid/torn/n1/record.json", '{"run_key": "12')
    for record in campaign.rglob("record.json"):
        record.unlink()
    capsys.readouterr()
    assert ingest.main(["multirun"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("filed 2, already there 0, unreadable 1")
    assert "multirun/grid.zip/grid/torn/n1/record.json: JSONDecodeError" in said.err


def test_a_damaged_member_is_named_and_what_lies_before_it_or_elsewhere_is_filed(campaign, capsys):
    archiving.main(["multirun/grid"])
    packed = Path("multirun/grid.zip").read_bytes()
    with zipfile.ZipFile("multirun/grid.zip") as archive:
        *_, last = (each for each in archive.infolist() if each.filename.endswith("record.json"))
    within = last.header_offset + len(last.filename) + 60
    Path("multirun/grid.zip").write_bytes(packed[:within] + b"\0\0\0\0" + packed[within + 4 :])
    first, second = sorted(campaign.rglob("record.json"))
    first.unlink()
    second.rename(campaign.parent / "record.json")
    capsys.readouterr()
    assert ingest.main(["multirun/grid.zip", "multirun/record.json"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("filed 2, already there 0, unreadable 1")
    assert "multirun/grid.zip: 'grid/" in said.err
    assert "damaged" in said.err


def test_a_folder_with_the_name_of_a_record_is_no_record(campaign, capsys):
    archiving.main(["multirun/grid"])
    with zipfile.ZipFile("multirun/grid.zip", "a") as archive:
        archive.writestr("grid/odd/n1/record.json/", "")
    capsys.readouterr()
    assert ingest.main(["multirun/grid.zip"]) == 0
    assert capsys.readouterr().out.startswith("filed 2, already there 0, unreadable 0")


def test_a_harmful_archive_is_one_line_and_exit_code_two_and_nothing_is_filed(campaign, capsys):
    with zipfile.ZipFile("multirun/bad.zip", "w") as archive:
        archive.writestr("../../n1/record.json", "{}")
    for path in ("multirun/bad.zip", "multirun"):
        assert ingest.main([path]) == 2
        said = capsys.readouterr()
        assert said.err == (
            "vbench: multirun/bad.zip: '../../n1/record.json' is no path below a folder; not unpacked\n"
        )
    with pytest.raises(Refused, match="experiment=grid: not in "):
        tracking.query("grid")


def test_a_zip_without_records_is_refused_if_named_and_passed_over_below_a_folder(campaign, capsys):
    with zipfile.ZipFile("multirun/other.zip", "w") as archive:
        archive.writestr("photo.txt", "")
    assert ingest.main(["multirun/other.zip"]) == 2
    assert capsys.readouterr().err == "vbench: multirun/other.zip: no record.json in it\n"
    assert ingest.main(["multirun"]) == 0
    assert capsys.readouterr().out.startswith("filed 2")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "archive: name one folder, such as multirun/published (--help has examples)"),
        (["multirun", "other"], "archive: name one folder, such as multirun/published (--help has examples)"),
        (["nowhere"], "nowhere: no such folder"),
        (["/"], "/: an archive has its folder's name, and the root has none; name a folder below it"),
        (["mlruns"], "mlruns: no record.json there or below"),
    ],
)
def test_a_folder_that_cannot_be_archived_is_one_line_and_exit_code_two(capsys, words, line):
    assert archiving.main(words) == 2
    assert capsys.readouterr().err == f"vbench: {line}\n"
