"""What of a record is filed, under which names, and what comes back of it."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import records
from stored_runs import client, runs

from vbench import tracking
from vbench.metrics.remedies import REMEDY
from vbench.plan.naming import dotted_leaves
from vbench.schema import RunConfig, Weights, keys
from vbench.schema.record import RECORD, Failure, Reason, Record
from vbench.schema.series import Series
from vbench.tracking.curves import points
from vbench.tracking.mapping import COLUMN_NAMES, flatten, restore
from vbench.tracking.markdown import escape_markdown
from vbench.tracking.note import note
from vbench.tracking.view import ABOUT

pytestmark = [
    pytest.mark.usefixtures("store"),
]


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
    assert run.info.status == "FAILED"  # no green tick in MLflow
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

    of_any_type = {key.name for key in keys(RunConfig) if key.kinds == (object,)}
    for part in ("workload", "parallelism", "engine", "hardware"):
        for key, value in dotted_leaves(found.config[part], part):
            # A length may also be a range, so it stays the text that it is in an override.
            if isinstance(value, bool | int | float) and key in row.params and key not in of_any_type:
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
    folder = records.saved(found, tmp_path / "out")
    assert json.loads((folder / RECORD).read_text())["metrics"] == {"completed": 0}
    tracking.file(folder)
    [run] = runs()
    assert {"median_ttft_ms", "p99_ttft_ms"}.isdisjoint(run.data.metrics)
    assert run.data.metrics["completed"] == 0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400])
def test_a_metric_of_a_record_that_is_not_finite_leaves_the_others_readable(tmp_path, value):
    folder = records.saved(records.record(metrics={"completed": 7, "median_ttft_ms": 8.5}), tmp_path / "out")
    file = folder / RECORD
    file.write_text(file.read_text().replace("8.5", value))
    assert Record.load(folder).metrics == {"completed": 7}
    tracking.file(folder)
    [run] = runs()
    assert "median_ttft_ms" not in run.data.metrics


def test_metrics_keep_nine_digits_and_counts_keep_all():
    from vbench.tracking.mapping import round_digits

    assert round_digits(9612.348723847283) == 9612.34872
    assert round_digits(0.0001234567894) == 0.000123456789
    assert round_digits(12345678) == 12345678
    assert round_digits(1234567890.123) == 1234567890
    assert round_digits(-0.0) == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "JSONDecodeError"), ("{}", "KeyError"), ("[]", "TypeError"), (None, "FileNotFoundError")],
)
def test_a_folder_without_a_readable_record_is_named(tmp_path, text, complaint):
    if text is not None:
        (tmp_path / "record.json").write_text(text)
    with pytest.raises(tracking.UnreadableRecord, match=f"record.json: {complaint}"):
        tracking.file(tmp_path)


def test_no_series_has_two_points_at_one_time_and_step_of_which_mlflow_shows_the_larger():
    twice = Series(np.array([0.0001, 0.0004, 1.0]), {"server/requests_running": np.array([9.0, 3.0, 4.0])}, 1e9)
    found = points(twice)
    assert [point.value for point in found] == [3.0, 4.0]
    assert len({(point.key, point.at_ms, point.step) for point in found}) == len(found)


def test_samples_a_second_apart_have_a_step_each_though_they_jitter_and_the_last_is_early():
    """MLflow draws two values at one step as a vertical stroke."""
    times = np.array([-0.013, 0.996, 2.004, 2.998, 3.27])
    found = points(Series(times, {"server/requests_running": np.array([0.0, 1.0, 2.0, 3.0, 4.0])}, 1e9))
    assert [(point.step, point.value) for point in found] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 4.0)]


def test_the_note_of_a_run_tells_no_percentile_of_too_few_replies():
    assert "| p99_itl_ms | needs 299 |" in note(records.record(num_prompts=80))
    few_of_many = records.record(num_prompts=320)
    few_of_many.metrics["p99_ttft_upper_ms"] = 1.0  # and no bound of ITL
    assert "| p99_itl_ms | needs 299 |" in note(few_of_many)
    assert "| p99_itl_ms | 42 |" in note(records.record(num_prompts=320))


def test_the_note_of_an_invalid_run_says_why_mlflow_calls_it_failed_and_what_to_do():
    told = note(records.record(invalid=[Reason("short_replies", "3 replies ended early")]))
    assert "MLflow's status FAILED means here: measured, not to be trusted" in told
    assert "- what to do: " + escape_markdown(REMEDY["short_replies"]) in told
    assert "MLflow's status" not in note(records.record())
    assert "status is FAILED for INVALID runs too" in ABOUT


def test_the_note_of_a_search_has_its_answer():
    found = records.record(metrics={"slo_max_concurrency": 22.0, "slo_capacity_low": 21.5, "probes": 9.0})
    assert note(found).splitlines()[-3:] == [
        "| slo_max_concurrency | 22 |", "| slo_capacity_low | 21.5 |", "| probes | 9 |",
    ]  # fmt: skip
