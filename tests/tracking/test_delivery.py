"""Delivery files each record by itself: what one of them meets stops no other, and is told."""

import os
import sys
import threading
from pathlib import Path

import pytest
from records import empty_store, record

from vbench import tracking
from vbench.tracking import delivery
from vbench.tracking.delivery import Delivery
from vbench.tracking.opening import connect


@pytest.fixture
def home(tmp_path, monkeypatch):
    empty_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def made(home: Path, experiment: str, *num_prompts: int) -> list[Path]:
    folders = []
    for number in num_prompts:
        one = record(experiment=experiment, num_prompts=number)
        folder = home / "multirun" / experiment / one.session / f"n{number}-{one.run_key[:8]}"
        folder.mkdir(parents=True)
        one.save(folder)
        folders.append(folder)
    return folders


def delivered(folders: list[Path]) -> Delivery:
    done = Delivery()
    for folder in folders:
        done.add(folder)
    done.close()
    return done


def in_store() -> dict[str, int]:
    return tracking.query()["experiment"].value_counts().to_dict()


def test_a_deleted_experiment_stops_no_record_of_another(home):
    old, new = made(home, "old", 10, 20), made(home, "new", 10, 20)
    tracking.file(old[0])
    client = connect()
    client.delete_experiment(client.get_experiment_by_name("old").experiment_id)
    done = delivered([*old, *new])
    assert in_store() == {"new": 2}
    assert set(done.unfiled) == set(old)
    (line,) = done.report()
    assert line.startswith("2 runs wait on disk (experiment 'old' was deleted from the store")


@pytest.mark.parametrize("tag", ["vbench.validity", "vbench.record"])
@pytest.mark.parametrize("becomes", ["", None])
@pytest.mark.parametrize("measured_again", [False, True])
def test_a_run_that_lost_a_tag_in_the_store_is_replaced_by_its_record(home, tag, becomes, measured_again):
    first, second = made(home, "grid", 10, 20)
    run = tracking.file(first)
    if becomes is None:
        connect().delete_tag(run, tag)
    else:
        connect().set_tag(run, tag, becomes)
    found = tracking.standing("grid").values()
    assert tracking.digest(first) not in {each.digest for each in found}, "the store seems to have the record"
    if measured_again:
        first.joinpath("record.json").write_text(first.joinpath("record.json").read_text() + "\n")  # another digest
    done = delivered([first, second])
    assert done.unfiled == {}
    assert list(done.report()) == []
    rows = tracking.query("grid").to_dict("records")
    assert [row["tags.vbench.validity"] for row in rows] == ["VALID", "VALID"]
    assert {row["tags.vbench.record"] for row in rows} == {tracking.digest(first), tracking.digest(second)}


def test_an_unreadable_record_is_named_and_the_next_one_filed(home):
    broken, whole = made(home, "grid", 10, 20)
    (broken / "record.json").write_text("{")
    done = delivered([broken, whole])
    assert in_store() == {"grid": 1}
    assert "record.json: JSONDecodeError" in " ".join(done.report())


def test_an_installation_of_mlflow_that_cannot_be_imported_is_named(home, monkeypatch):
    folders = made(home, "grid", 10, 20)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    connect.__globals__["_connect"].cache_clear()
    done = delivered(folders)
    (line,) = done.report()
    assert line.startswith("2 runs wait on disk (ModuleNotFoundError: import of mlflow")


def test_a_store_that_was_out_of_reach_gets_all_records_in_the_end(home, monkeypatch):
    folders = made(home, "grid", 10, 20, 30)
    monkeypatch.setattr(delivery, "PATIENCE_S", 0.0)
    done = Delivery()
    for folder in folders:
        done.unfiled[folder] = "out of reach"
    monkeypatch.setattr(delivery, "PATIENCE_S", 30.0)
    done.close()
    assert done.unfiled == {}
    assert in_store() == {"grid": 3}


def test_patience_with_a_store_out_of_reach_is_spent_once_and_not_for_each_record(home, monkeypatch):
    monkeypatch.setattr(delivery, "PATIENCE_S", 1e-6)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folders = made(home, "grid", 10, 20, 30)
    done = delivered(folders)
    assert set(done.unfiled) == set(folders)
    (line,) = done.report()
    assert line.startswith("3 runs wait on disk (API request to http://127.0.0.1:9")


def test_a_command_that_runs_under_nice_files_its_records_and_stays_as_nice(home, monkeypatch):
    """Who is not root may not become less nice: the thread would end, and nothing be filed."""
    (folder,) = made(home, "nice", 10)
    niceness, errors = [], []
    monkeypatch.setattr(tracking, "file", lambda _: niceness.append(os.getpriority(os.PRIO_PROCESS, own())))

    def own():
        return threading.get_native_id()

    def deliver():
        os.setpriority(os.PRIO_PROCESS, own(), 15)  # this thread and those that it starts
        errors.append(delivered([folder]).unfiled)

    command = threading.Thread(target=deliver)
    command.start()
    command.join()
    assert (niceness, errors) == ([15], [{}])
