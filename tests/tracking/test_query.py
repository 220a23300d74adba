"""The store comes back as one table; a report is one run of it."""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import records
from stored_runs import client, runs

from vbench import tracking
from vbench.schema.errors import Refused
from vbench.schema.record import TELEMETRY, Failure
from vbench.schema.series import Series
from vbench.tracking import __main__ as pages
from vbench.tracking.mapping import flatten
from vbench.tracking.pages import campaign_page

pytestmark = [
    pytest.mark.usefixtures("store"),
]


# ---- query


@pytest.fixture
def filed(store, tmp_path, filed_once):
    loads = ((10, 1200.0), (80, 5400.0), (320, 9600.0))
    made = [records.record(num_prompts=n, output_throughput=rate) for n, rate in loads]
    made.append(records.record(tp=2, gpus=2, failure=Failure("oom_load", "no")))
    made.append(records.record(experiment="other", engine={"max_model_len": "auto"}))
    filed_once.fill(tmp_path, made)


def test_a_query_gives_one_typed_row_a_run(filed):
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


def test_a_query_tells_what_mlflows_own_search_tells(filed):
    table = tracking.query("grid").set_index("run_id")
    for run in runs():
        row = table.loc[run.info.run_id].dropna()
        assert (row["run_name"], row["status"]) == (run.info.run_name, run.info.status)
        assert row.filter(like="metrics.").to_dict() == {f"metrics.{k}": v for k, v in run.data.metrics.items()}
        assert row.filter(regex=r"^tags\.").to_dict() == {f"tags.{k}": v for k, v in run.data.tags.items()}
        kept = {f"params.{k}" for k, v in run.data.params.items() if v != "null"}
        assert set(row.filter(regex=r"^params\.").index) == kept


def test_a_schema_we_do_not_know_is_searched_instead_with_the_same_answer(filed):
    known = tracking.query("grid")
    from vbench.tracking import reading

    searched = reading._table(reading._rows(reading._search("grid", "")))
    pd.testing.assert_frame_equal(
        known.sort_values("run_id").reset_index(drop=True), searched.sort_values("run_id").reset_index(drop=True)
    )


def test_a_filter_picks_runs(filed):
    table = tracking.query("grid", where="metrics.output_throughput > 5000 and params.`model.name` = 'llama8b'")
    assert set(table["params.workload.num_prompts"]) == {80, 320}


def test_of_runs_that_others_filed_a_nan_passes_no_comparison_but_unequal(filed):
    """As MLflow 3.17.2 does; docs/metrics.md says so."""
    experiment = client().create_experiment("foreign")
    for value in (5.0, math.nan):
        client().log_metric(client().create_run(experiment).info.run_id, "m", value)
    assert tracking.query("foreign", where="metrics.m != 5")["metrics.m"].isna().tolist() == [True]
    for holds in ("> -10", ">= 0", "< 10", "<= 5", "= 5"):
        assert tracking.query("foreign", where=f"metrics.m {holds}")["metrics.m"].tolist() == [5.0]


def test_of_a_metric_that_others_logged_twice_at_one_time_and_step_the_larger_is_compared(filed):
    """As MLflow 3.17.2 does, whichever came last; docs/metrics.md says so."""
    experiment = client().create_experiment("foreign")
    for values in ((7.0, 5.0), (1.0, 5.0)):
        run_id = client().create_run(experiment).info.run_id
        for value in values:
            client().log_metric(run_id, "m", value, timestamp=1000, step=0)
    assert sorted(tracking.query("foreign")["metrics.m"]) == [5.0, 7.0]
    for holds, found in (("= 5", [5.0]), ("> 5", [7.0]), ("!= 7", [5.0]), ("< 5", [])):
        assert tracking.query("foreign", where=f"metrics.m {holds}").get("metrics.m", pd.Series()).tolist() == found


def test_what_is_filed_has_no_metric_twice_at_one_time_and_step_even_if_it_is_filed_again(tmp_path, store):
    folder = records.saved(records.record(), tmp_path / "out")
    times = np.array([0.0001, 0.0004, 1.0, 1.0001])  # two pairs of samples, each within one millisecond
    Series(times, {"server/requests_running": np.array([9.0, 3.0, 8.0, 4.0])}, 1e9).save(folder / TELEMETRY)
    tracking.file(folder)
    tracking.file(folder)
    with closing(sqlite3.connect(store)) as database:
        rows = database.execute("SELECT key, timestamp, step, run_uuid FROM metrics").fetchall()
    assert len([key for key, *_ in rows if key == "server/requests_running"]) == 2
    assert len(set(rows)) == len(rows)
    [run] = runs()
    assert run.data.metrics["server/requests_running"] == 4.0  # the last sample, not the larger one


def test_deleted_runs_and_experiments_are_not_seen(filed):
    client().delete_experiment(client().get_experiment_by_name("other").experiment_id)
    assert set(tracking.query()["experiment"]) == {"grid"}
    with pytest.raises(Refused, match="experiment=other"):
        tracking.query("other")


def test_a_query_without_a_store_says_how_to_get_one(store):
    store.unlink()
    with pytest.raises(Refused, match=r"there is no .*mlflow\.db; measure"):
        tracking.query()
    assert not store.exists()


def test_a_query_of_an_unknown_experiment_names_those_there_are(filed):
    with pytest.raises(Refused, match=r"experiment=gird: .*did you mean grid\? it has Default, grid, other"):
        tracking.query("gird")


def test_a_filter_that_mlflow_cannot_read_is_refused(filed):
    with pytest.raises(Refused, match='where="colour = blue"'):
        tracking.query(where="colour = blue")


def test_an_experiment_without_runs_is_an_empty_table(filed):
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
    [run] = report_runs()
    link, _, rest = note.partition("\n\n")
    route = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html"
    assert (
        link == f"Answers, tables and figures to explore: **[Open the report]({route}?workflowType=machine_learning)**"
    )
    assert rest.startswith("| first |\n\n| last |\n\n(1 longer tables: in the report)")
    assert "vbench.validity" in note
    assert len(note) <= 20_000
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


@pytest.mark.slow
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


def test_the_pages_of_all_experiments_are_listed_also_of_a_local_store(store, capsys, filed):
    client().create_experiment("foreign")
    assert pages.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["grid", "other"]
    known = client().get_experiment_by_name("grid").experiment_id
    query = "workflowType=machine_learning&viewStateShareKey=vbench"
    assert lines[0].split()[1] == f"http://127.0.0.1:5000/#/experiments/{known}/runs?{query}"
    store.unlink()
    assert pages.main() == 0
    assert capsys.readouterr().out == ""
