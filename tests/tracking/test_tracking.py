"""Records are filed once, whole, whatever happens on the way; and come back as one table."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow_server
import pytest
import records
import urllib3
from published import H200
from stored_runs import client, runs

from vbench import tracking
from vbench.schema.archives import unpack_runs
from vbench.schema.errors import Refused
from vbench.schema.record import Failure, Reason

pytestmark = [
    pytest.mark.usefixtures("store"),
]
FILE = "import sys, pathlib; from vbench import tracking; print(tracking.file(pathlib.Path(sys.argv[1])))"


def filing(folder, **kwargs):
    """A process of its own that files the folder."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", FILE, str(folder)], env=env, text=True, stdout=-1, stderr=-1, **kwargs
    )


# ---- the store


def test_the_store_is_a_file_below_the_current_folder_unless_the_user_says_otherwise(store, monkeypatch):
    assert tracking.store() == f"sqlite:///{store}"
    assert tracking.database() == store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking.store() == "http://127.0.0.1:5000"
    assert tracking.database() is None


def test_neither_mlflow_nor_pandas_is_imported_before_it_is_needed():
    ask = "import sys, vbench.tracking as t; t.store(); print(sorted({'mlflow', 'pandas'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", ask], text=True, cwd=Path(__file__).parents[2]) == "[]\n"


def test_four_processes_open_a_fresh_store_at_once_and_two_of_them_file_the_same_record(tmp_path, store):
    store.unlink()
    folders = [records.saved(records.record(num_prompts=n), tmp_path / "out") for n in (10, 80, 320, 320)]
    started = [filing(folder) for folder in folders]
    answers = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, answers
    assert sorted(run.info.run_id for run in runs()) == sorted({answer.strip() for answer, _ in answers})
    assert len(runs()) == 3  # the same record, filed by two at once, is one run
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_that_is_no_database_is_named_and_the_run_can_go_on(tmp_path, monkeypatch):
    (tmp_path / "broken.db").write_text("not a database, though long enough to be one " * 40)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/broken.db")
    with pytest.raises(tracking.TrackingFailed, match="not a database"):
        tracking.file(records.saved(records.record(), tmp_path / "out"))


def test_a_server_that_is_not_there_is_named_after_a_few_tries(tmp_path, monkeypatch):
    """MLflow's own number of tries, with its pauses, takes four minutes."""
    tried, connect = [], urllib3.util.connection.create_connection
    counted = lambda *given, **more: tried.append(given) or connect(*given, **more)  # noqa: E731
    monkeypatch.setattr(urllib3.util.connection, "create_connection", counted)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(tracking.TrackingFailed, match=r"127\.0\.0\.1"):
        tracking.file(records.saved(records.record(), tmp_path / "out"))
    assert len(tried) == 3


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A tracking server of MLflow's own, on a free port."""
    with mlflow_server.serving(tmp_path) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield url


def test_a_server_gets_the_same_run_once_and_answers_the_same_query(tmp_path, server, capfd):
    folder = records.saved(records.record(), tmp_path / "out")
    first = tracking.deliver(folder)
    again = tracking.deliver(folder)
    assert (first.new, again.new, again.run_id) == (True, False, first.run_id)
    assert {each.path for each in client().list_artifacts(first.run_id)} == {
        "record.json",
        "requests.npz",
        "server.log",
    }
    [row] = tracking.query("grid").to_dict("records")
    assert (row["run_id"], row["params.workload.num_prompts"], row["metrics.output_throughput"]) == (
        first.run_id,
        320,
        9600,
    )
    with pytest.raises(Refused, match="experiment=gird: not in http"):
        tracking.query("gird")
    assert capfd.readouterr().out == ""


def test_a_deleted_experiment_is_named_with_the_way_back(tmp_path):
    folder = records.saved(records.record(), tmp_path / "out")
    tracking.file(folder)
    client().delete_experiment(client().get_experiment_by_name("grid").experiment_id)
    with pytest.raises(tracking.TrackingFailed, match="mlflow experiments restore"):
        tracking.file(folder)


# ---- once, and whole


def test_the_same_record_filed_twice_is_one_run(tmp_path):
    folder = records.saved(records.record(), tmp_path / "out")
    first = tracking.deliver(folder)
    again = tracking.deliver(folder)
    assert first.new
    assert not again.new
    assert [run.info.run_id for run in runs()] == [first.run_id] == [again.run_id]


def test_a_later_record_of_the_same_key_supersedes_the_earlier(tmp_path):
    earlier = tracking.file(records.saved(records.record(output_throughput=9000), tmp_path / "out"))
    later = records.record(started="2026-11-21T08:00:00Z", ended="2026-11-21T08:00:20Z", output_throughput=9700)
    run_id = tracking.file(records.saved(later, tmp_path / "out"))
    assert [run.info.run_id for run in runs()] == [run_id]
    assert runs()[0].data.metrics["output_throughput"] == 9700
    assert [run.info.run_id for run in runs(view=2)] == [earlier]


def test_an_earlier_record_does_not_come_back(tmp_path):
    earlier = records.saved(records.record(), tmp_path / "out")
    later = records.saved(
        records.record(started="2026-11-21T08:00:00Z", ended="2026-11-21T08:01:00Z"), tmp_path / "out"
    )
    standing = tracking.file(later)
    assert tracking.file(earlier) == standing
    assert [run.info.run_id for run in runs()] == [standing]


@pytest.mark.parametrize(
    "worse",
    [{"failure": Failure("server_died", "killed")}, {"invalid": [Reason("late_sends", "requests were sent late")]}],
)
def test_a_rerun_that_fails_or_is_not_to_be_trusted_hides_no_valid_run_and_gives_way_to_the_next(worse, tmp_path):
    valid = tracking.file(records.saved(records.record(), tmp_path / "out"))
    day = "2026-11-{}T08:00:00Z".format
    rerun = records.saved(records.record(started=day(21), ended=day(21), **worse), tmp_path / "out")
    assert not tracking.deliver(rerun).new
    assert [run.info.run_id for run in runs()] == [valid]
    better = tracking.file(records.saved(records.record(started=day(22), ended=day(22)), tmp_path / "out"))
    assert [run.info.run_id for run in runs()] == [better]
    assert not tracking.deliver(rerun).new


def test_a_measurement_takes_the_place_of_a_later_failure(tmp_path):
    failure = Failure("server_died", "killed")
    failed = records.record(started="2026-11-21T08:00:00Z", ended="2026-11-21T08:00:00Z", failure=failure)
    tracking.file(records.saved(failed, tmp_path / "out"))
    valid = tracking.file(records.saved(records.record(), tmp_path / "out"))
    assert [run.info.run_id for run in runs()] == [valid]


def test_a_record_whose_numbers_were_derived_anew_replaces_itself(tmp_path):
    found = records.record()
    folder = records.saved(found, tmp_path / "out")
    tracking.file(folder)
    dataclasses.replace(found, metrics=found.metrics | {"p99_itl_ms": 77.0}).save(folder)
    assert tracking.deliver(folder).new
    [run] = runs()
    assert run.data.metrics["p99_itl_ms"] == 77


def test_the_same_point_in_another_experiment_is_a_run_of_that_experiment(tmp_path):
    tracking.file(records.saved(records.record(), tmp_path / "out"))
    tracking.file(records.saved(records.record(experiment="again"), tmp_path / "out"))
    assert len(runs()) == len(runs(experiment="again")) == 1


def test_a_filing_that_died_half_way_leaves_no_second_run(tmp_path):
    found = records.record()
    folder = records.saved(found, tmp_path / "out")
    tracking.file(records.saved(records.record(num_prompts=10), tmp_path / "out"))  # so that the experiment is there
    grid = client().get_experiment_by_name("grid").experiment_id
    # What a filing has written when it dies just after the run came to be.
    torn = client().create_run(grid, tags={"vbench.run_key": found.run_key, "vbench.record": "0"}, start_time=2**41)
    run_id = tracking.file(folder)
    assert torn.info.run_id not in {run.info.run_id for run in runs()}
    assert {run.info.run_id for run in runs() if run.data.tags["vbench.run_key"] == found.run_key} == {run_id}


def test_filing_killed_at_any_moment_ends_as_one_whole_run(tmp_path):
    found = records.record()
    folder = records.saved(found, tmp_path / "out")
    os.mkfifo(folder / "server.log")  # filing waits here for ever: after the run came to be, before it is whole
    dying = filing(folder)
    deadline = time.monotonic() + 60
    while not torn() and time.monotonic() < deadline:
        time.sleep(0.05)
    dying.send_signal(signal.SIGKILL)
    dying.communicate()
    assert [run.info.status for run in runs()] == ["RUNNING"]
    (folder / "server.log").unlink()
    run_id = tracking.file(folder)
    assert [(run.info.run_id, run.info.status) for run in runs()] == [(run_id, "FINISHED")]


def torn():
    path = tracking.database()
    if not path.exists():
        return False
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM runs").fetchone()[0] > 0
    except sqlite3.Error:
        return False


def test_an_invalid_run_of_an_older_store_loses_its_green_tick_when_it_is_filed_again(tmp_path):
    folder = records.saved(records.record(invalid=[Reason("late_client", "")]), tmp_path / "out")
    run_id = tracking.file(folder)
    client().set_terminated(run_id, "FINISHED", end_time=1_000)  # as versions before filed it
    assert tracking.file(folder) == run_id
    [run] = runs()
    assert (run.info.status, run.info.end_time) == ("FAILED", 1_000)


def test_a_record_of_an_earlier_version_gets_its_roofline_and_bound_even_if_it_was_filed_before(tmp_path):
    archived = unpack_runs(H200 / "records.zip")
    folder = next(path for name, path in archived if name.endswith("llama8b-1xh200-tp1-28fe7a8e/n10-896183bc"))
    raw = (folder / "requests.npz").rename(tmp_path / "requests.npz")
    first = tracking.file(folder)  # without the raw columns nothing can be derived, as in earlier versions
    assert "mbu" not in runs(experiment="h200-curves")[0].data.metrics
    raw.rename(folder / "requests.npz")
    assert tracking.file(folder) == first
    (run,) = runs(experiment="h200-curves")
    assert run.data.metrics["mbu"] == pytest.approx(0.515, abs=0.01)
    assert 50 < run.data.metrics["pct_of_roofline"] < 53
    assert run.data.tags["vbench.bound_by"] == "weights bandwidth"
    assert "data sheet" in run.data.tags["vbench.bound_grounds"]
