"""Records are filed once, whole, whatever happens on the way; and come back as one table."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import mlflow_server
import numpy as np
import pandas as pd
import pytest
import records

from vbench import tracking
from vbench.plan.naming import dotted_leaves
from vbench.schema import Weights
from vbench.schema.errors import Refused
from vbench.schema.record import Failure, Reason
from vbench.tracking.mapping import COLUMN_NAMES, flatten, restore
from vbench.tracking.pages import campaign_page

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow's own
FILE = "import sys, pathlib; from vbench import tracking; print(tracking.file(pathlib.Path(sys.argv[1])))"


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


def client():
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.store())


def runs(view=1, experiment="grid"):
    """The experiment's runs as MLflow itself sees them; view 1 active, 2 deleted."""
    known = client()
    return known.search_runs([known.get_experiment_by_name(experiment).experiment_id], run_view_type=view)


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


def test_a_server_that_is_not_there_is_named_within_seconds(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(tracking.TrackingFailed, match=r"127\.0\.0\.1"):
        tracking.file(records.saved(records.record(), tmp_path / "out"))
    assert time.monotonic() - began < 15


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


# ---- what is filed


def test_a_run_has_the_records_times_params_metrics_tags_and_artifacts(tmp_path, store):
    found = records.record(gpus=2, tp=2, weights=Weights.dummy)
    folder = records.saved(found, tmp_path / "out")
    run_id = tracking.file(folder)
    [run] = runs()
    assert run.info.run_id == run_id
    assert (run.info.run_name, run.info.status) == ("llama8b · 2xh100 · tp2 · n320", "FINISHED")
    assert run.info.end_time - run.info.start_time == 30_000
    expected = {
        "model.name": "llama8b",
        "model.rope_scaling.factor": "8.0",
        "hardware.name": "2xh100",
        "hardware.gpu.memory_mib": "81559",
        "parallelism.name": "tp2",
        "engine.max_model_len": "2000",
        "engine.max_num_seqs": "null",
        "engine.enforce_eager": "false",
        "workload.num_prompts": "320",
        "workload.request_rate": "inf",
        "engine.command": '["python", "-m", "vllm.entrypoints.openai.api_server"]',
    }
    assert expected.items() <= run.data.params.items()
    assert not [key for key in run.data.params if "config_json" in key]
    assert found.metrics.keys() <= run.data.metrics.keys()
    assert run.data.metrics["output_throughput"] == 9600
    assert run.data.metrics["server.start_s"] == 42.5
    tags = {
        "vbench.run_key": found.run_key,
        "vbench.session": found.session,
        "vbench.campaign": "grid",
        "vbench.validity": "VALID",
        "vbench.source": "measured",
        "vbench.weights": "dummy",
        "vbench.engine_version": "vllm 0.26.0",
        "vbench.gpu": "NVIDIA H100",
        "env.host": "node1",
        "server.version": "vllm 0.26.0",
    }
    assert tags.items() <= run.data.tags.items()
    assert "| output_throughput | 9,600 |" in run.data.tags["mlflow.note.content"]
    artifacts = store.parent / "artifacts" / "grid" / run_id / "artifacts"
    assert sorted(path.name for path in artifacts.iterdir()) == ["record.json", "requests.npz", "server.log"]
    assert {each.path for each in client().list_artifacts(run_id)} == {"record.json", "requests.npz", "server.log"}


def test_a_failed_run_says_why(tmp_path):
    failure = Failure("oom_load", "torch.OutOfMemoryError: CUDA out of memory.\nTried to allocate 2.00 GiB")
    tracking.file(records.saved(records.record(failure=failure), tmp_path / "out"))
    [run] = runs()
    assert run.info.status == "FAILED"
    assert run.data.tags["vbench.validity"] == "FAILED"
    assert run.data.tags["vbench.failure"] == "oom_load"
    assert "CUDA out of memory. Tried to allocate" in run.data.tags["mlflow.note.content"]


def test_an_invalid_run_carries_the_codes_of_its_reasons(tmp_path):
    reasons = [Reason("late_sends", "requests were sent late"), Reason("prefix_hits", "the cache answered")]
    tracking.file(records.saved(records.record(invalid=reasons), tmp_path / "out"))
    [run] = runs()
    assert run.info.status == "FINISHED"
    assert run.data.tags["vbench.validity"] == "INVALID"
    assert run.data.tags["vbench.reasons"] == "late_sends prefix_hits"
    assert "**prefix_hits**: the cache answered" in run.data.tags["mlflow.note.content"]


def test_a_value_too_long_for_mlflow_stays_in_the_record_and_is_named(tmp_path):
    long = ["x" * 7000]
    tracking.file(records.saved(records.record(engine={"extra_args": long}), tmp_path / "out"))
    [run] = runs()
    assert "engine.extra_args" not in run.data.params
    assert run.data.tags["vbench.only_in_record"] == "engine.extra_args"
    other = records.record(engine={"extra_args": [*long, "y"]})
    digests = {
        flatten(each).params["engine.extra_args.sha256"]
        for each in (records.record(engine={"extra_args": long}), other)
    }
    assert len(digests) == 2


def test_half_of_a_surrogate_pair_is_filed_as_a_question_mark(tmp_path):
    found = dataclasses.replace(records.record(), name="a \ud800 b", session="s \udc80")
    folder = records.saved(dataclasses.replace(found, session="s"), tmp_path / "out")
    found.save(folder)
    tracking.file(folder)
    [run] = runs()
    assert run.info.run_name == "a ? b"
    assert run.data.tags["vbench.session"] == "s ?"


def test_what_is_flattened_comes_back_in_the_types_of_the_schema():
    found = records.record(gpus=2, tp=2, num_prompts=80, workload={"max_concurrency": 16, "request_rate": 2.5})
    row = flatten(found)

    def back(key):
        return restore(key, pd.Series([row.params[key]], dtype=object)).iloc[0]

    for part in ("workload", "parallelism", "engine", "hardware"):
        for key, value in dotted_leaves(found.config[part], part):
            # A length may also be a range, so it stays the text that it is in an override.
            if (
                isinstance(value, bool | int | float)
                and key in row.params
                and not key.endswith(("input_len", "output_len"))
            ):
                assert back(key) == value, key
    assert back("engine.max_model_len") == 2000
    assert back("engine.max_num_seqs") is None or pd.isna(back("engine.max_num_seqs"))
    names = {
        COLUMN_NAMES[f"{kind}.{key}"]
        for kind in ("params", "tags")
        for key in getattr(row, kind)
        if f"{kind}.{key}" in COLUMN_NAMES
    }
    assert {"model", "hardware", "parallelism", "verdict", "engine_version", "gpu", "source"} <= names


def test_more_params_than_mlflow_takes_at_once_are_all_filed(tmp_path):
    env = {f"VLLM_OPTION_{i}": str(i) for i in range(120)}
    tracking.file(records.saved(records.record(engine={"env": env}), tmp_path / "out"))
    [run] = runs()
    assert {f"engine.env.VLLM_OPTION_{i}" for i in range(120)} <= run.data.params.keys()


def test_what_is_not_finite_is_no_metric(tmp_path):
    found = records.record(metrics={"completed": 0, "median_ttft_ms": math.nan, "p99_ttft_ms": math.inf})
    tracking.file(records.saved(found, tmp_path / "out"))
    [run] = runs()
    assert {"median_ttft_ms", "p99_ttft_ms"}.isdisjoint(run.data.metrics)
    assert run.data.metrics["completed"] == 0


def test_metrics_keep_nine_digits_and_counts_keep_all():
    from vbench.tracking.mapping import rounded

    assert rounded(9612.348723847283) == 9612.34872
    assert rounded(0.0001234567894) == 0.000123456789
    assert rounded(12345678) == 12345678
    assert rounded(1234567890.123) == 1234567890
    assert rounded(-0.0) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "JSONDecodeError"), ("{}", "KeyError"), ("[]", "TypeError"), (None, "FileNotFoundError")],
)
def test_a_folder_without_a_readable_record_is_named(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / "record.json").write_text(text)
    with pytest.raises(tracking.UnreadableRecord, match=f"record.json: {complaint}"):
        tracking.file(tmp_path)


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


# ---- query


def filed(tmp_path):
    for n, rate in ((10, 1200.0), (80, 5400.0), (320, 9600.0)):
        tracking.file(records.saved(records.record(num_prompts=n, output_throughput=rate), tmp_path / "out"))
    tracking.file(records.saved(records.record(tp=2, gpus=2, failure=Failure("oom_load", "no")), tmp_path / "out"))
    tracking.file(records.saved(records.record(experiment="other", engine={"max_model_len": "auto"}), tmp_path / "out"))


def test_a_query_gives_one_typed_row_a_run(tmp_path):
    filed(tmp_path)
    table = tracking.query("grid")
    assert list(table.columns[:5]) == ["run_id", "run_name", "experiment", "start_time", "status"]
    assert len(table) == 4
    assert set(table["params.workload.num_prompts"]) == {10, 80, 320}
    assert table["params.workload.request_rate"].map(math.isinf).all()
    assert table["params.engine.max_num_seqs"].isna().all()
    assert set(table["params.engine.enforce_eager"]) == {False}
    assert table["params.workload.lengths"].tolist() == ["sharegpt"] * 4
    assert table["metrics.output_throughput"].dtype == np.float64
    assert table.loc[table["status"] == "FAILED", "metrics.output_throughput"].isna().all()
    assert table["start_time"].iloc[0] == pd.Timestamp("2026-11-20T10:00:00Z")
    assert set(tracking.query()["params.engine.max_model_len"]) == {2000, "auto"}
    assert set(tracking.query()["experiment"]) == {"grid", "other"}


def test_a_query_tells_what_mlflows_own_search_tells(tmp_path):
    filed(tmp_path)
    table = tracking.query("grid").set_index("run_id")
    for run in runs():
        row = table.loc[run.info.run_id].dropna()
        assert (row["run_name"], row["status"]) == (run.info.run_name, run.info.status)
        assert row.filter(like="metrics.").to_dict() == {f"metrics.{k}": v for k, v in run.data.metrics.items()}
        assert row.filter(regex=r"^tags\.").to_dict() == {f"tags.{k}": v for k, v in run.data.tags.items()}
        kept = {f"params.{k}" for k, v in run.data.params.items() if v != "null"}
        assert set(row.filter(regex=r"^params\.").index) == kept


def test_a_schema_we_do_not_know_is_searched_instead_with_the_same_answer(tmp_path, store):
    filed(tmp_path)
    known = tracking.query("grid")
    from vbench.tracking import reading

    searched = reading._table(reading._rows(reading._search("grid", "")))
    pd.testing.assert_frame_equal(
        known.sort_values("run_id").reset_index(drop=True), searched.sort_values("run_id").reset_index(drop=True)
    )


def test_a_filter_picks_runs(tmp_path):
    filed(tmp_path)
    table = tracking.query("grid", where="metrics.output_throughput > 5000 and params.`model.name` = 'llama8b'")
    assert set(table["params.workload.num_prompts"]) == {80, 320}


def test_deleted_runs_and_experiments_are_not_seen(tmp_path):
    filed(tmp_path)
    client().delete_experiment(client().get_experiment_by_name("other").experiment_id)
    assert set(tracking.query()["experiment"]) == {"grid"}
    with pytest.raises(Refused, match="experiment=other"):
        tracking.query("other")


def test_a_query_without_a_store_says_how_to_get_one(store):
    store.unlink()
    with pytest.raises(Refused, match=r"there is no .*mlflow\.db; measure"):
        tracking.query()
    assert not store.exists()


def test_a_query_of_an_unknown_experiment_names_those_there_are(tmp_path):
    filed(tmp_path)
    with pytest.raises(Refused, match=r"experiment=gird: .*did you mean grid\? it has Default, grid, other"):
        tracking.query("gird")


def test_a_filter_that_mlflow_cannot_read_is_refused(tmp_path):
    filed(tmp_path)
    with pytest.raises(Refused, match='where="colour = blue"'):
        tracking.query(where="colour = blue")


def test_an_experiment_without_runs_is_an_empty_table(tmp_path):
    filed(tmp_path)
    table = tracking.query("Default")
    assert table.empty
    assert "run_id" in table


# ---- reports


def report_runs():
    return [run for run in runs() if "vbench.report" in run.data.tags]


def written(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_text(name)
    return [tmp_path / name for name in names]


def test_a_report_is_one_run_of_the_campaign_with_its_files_and_a_later_one_takes_its_place(tmp_path):
    tracking.file(records.saved(records.record(), tmp_path / "multirun"))
    tracking.report("grid", ["| a |"], written(tmp_path, "curves.png", "old.csv"))
    tracking.report("grid", ["| b |"], written(tmp_path, "curves.png", "new.csv"))
    [run] = report_runs()
    assert {each.path for each in client().list_artifacts(run.info.run_id)} == {"curves.png", "new.csv"}
    assert (run.info.run_name, run.info.status) == ("report", "FINISHED")


def test_a_report_is_no_run_of_any_query(tmp_path):
    tracking.file(records.saved(records.record(), tmp_path / "multirun"))
    before = tracking.query()
    tracking.report("grid", [], [])
    assert tracking.query().equals(before)
    assert len(tracking.query("grid", "attributes.status = 'FINISHED'")) == 1


def test_the_campaigns_description_holds_the_reports_tables_as_far_as_there_is_room(tmp_path):
    tracking.file(records.saved(records.record(), tmp_path / "multirun"))
    tracking.report("grid", ["| first |", "x" * 30_000, "| last |"], [])
    note = client().get_experiment_by_name("grid").tags["mlflow.note.content"]
    assert note.startswith("| first |\n\n| last |\n\n(1 longer tables: in the report)")
    assert "vbench.validity" in note
    [run] = report_runs()
    assert "| first |" in run.data.tags["mlflow.note.content"]


def test_a_local_store_has_no_pages_and_a_servers_are_named_without_its_password(tmp_path):
    tracking.file(records.saved(records.record(), tmp_path / "multirun"))
    assert tracking.report("grid", [], []).campaign is None
    assert tracking.page("grid") is None
    assert campaign_page("https://me:secret@host:5000/mlflow/", "7") == (
        "https://host:5000/mlflow/#/experiments/7/runs?workflowType=machine_learning&viewStateShareKey=vbench"
    )


def test_repeats_of_a_point_share_the_tag_by_which_they_can_be_grouped():
    first, second = (records.record(workload={"seed": seed}) for seed in (0, 1))
    second = dataclasses.replace(second, name=f"{second.name} s1")
    other = records.record(num_prompts=80)
    points = [flatten(record).tags["vbench.point"] for record in (first, second, other)]
    assert points[0] == points[1] != points[2]


def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none_that_cannot_be_opened(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/fresh/mlflow.db"
    making = subprocess.Popen(
        [sys.executable, "-c", "from vbench.tracking.opening import connect; connect()"],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    while making.poll() is None and not any(path.stat().st_size for path in tmp_path.glob("fresh/*[bw]")):
        time.sleep(0.001)
    making.kill()
    making.wait()
    assert not (tmp_path / "fresh" / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    records.record(run_key="only").save(tmp_path)
    tracking.file(tmp_path)
    assert len(tracking.query()) == 1
