"""Tables have the cells that a hand computation gives, figures what was measured, and nothing is mixed in silence."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import records
from compared import runs
from sections import OOM, curve, section

from vbench import tracking
from vbench.analysis import comparisons, frame, labels
from vbench.analysis import points as mean
from vbench.analysis.comparisons import excluded
from vbench.analysis.options import Options
from vbench.schema import Lengths, Weights
from vbench.schema.record import Reason

# ---- the frame


def test_what_other_tests_make_of_records_is_what_a_query_gives_of_them_once_they_are_filed(store, tmp_path):
    made = [
        records.record(gpus=4, tp=2, dp=2, num_prompts=80, workload={"seed": 3, "max_concurrency": 8}),
        records.record(gpus=0, weights=Weights.dummy, lengths=Lengths.random, engine={"max_model_len": 8000}),
        records.record(num_prompts=0, engine={"env": {"A": "1"}, "extra_args": ["--seed", "0"]}),
        records.record(model="llama70b", failure=OOM, started="2026-11-21T10:00:00Z"),
        records.record(invalid=[Reason("late_sends", "so late")], started="2026-11-22T10:00:00Z"),
    ]
    for each in made:
        tracking.file(records.saved(each, tmp_path / "multirun"))
    queried, told = (
        each.sort_values(["tags.vbench.run_key", "start_time"], ignore_index=True).fillna(math.nan)
        for each in (tracking.query(), records.table(made))
    )
    columns = told.drop(columns="run_id").dropna(axis=1, how="all").columns
    pd.testing.assert_frame_equal(queried[columns], told[columns], check_dtype=False)


def test_runs_are_named_by_model_hardware_parallelism_and_load():
    found = runs(records.record(gpus=4, tp=2, dp=2, num_prompts=80))
    [row] = found.valid.to_dict("records")
    named = {"model": "llama8b", "hardware": "4xh100", "gpus": 4, "parallelism": "tp2dp2", "num_prompts": 80}
    assert named.items() <= row.items()
    assert row["device"] == "NVIDIA H100"
    assert row["output_throughput"] == 9600


def test_the_latest_valid_run_of_a_key_counts_in_each_experiment():
    found = runs(
        records.record(output_throughput=9000),
        records.record(output_throughput=9100, started="2026-11-21T10:00:00Z"),
        records.record(invalid=[Reason("late_sends", "")], started="2026-11-22T10:00:00Z"),
        records.record(experiment="friday", output_throughput=9200),
    )
    assert sorted(found.valid["output_throughput"]) == [9100, 9200]
    assert found.superseded["output_throughput"].tolist() == [9000]
    assert found.left_out.empty  # its point was measured


def test_runs_of_other_tools_are_counted_and_left_alone(store, tmp_path):
    from mlflow import MlflowClient

    found = MlflowClient(tracking.store())
    found.create_run(found.create_experiment("theirs"))
    tracking.file(records.saved(records.record(), tmp_path / "multirun"))
    all_runs = frame.runs(tracking.query())
    assert (all_runs.foreign, len(all_runs.valid)) == (1, 1)


# ---- what is never mixed in silence


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"engine_version": "vllm 0.32.0"}, {"1xh100 · tp1 · vllm 0.26.0", "1xh100 · tp1 · vllm 0.32.0"}),
        ({"weights": Weights.dummy}, {"1xh100 · tp1 · hub weights", "1xh100 · tp1 · dummy weights"}),
        ({"lengths": Lengths.random}, {"1xh100 · tp1 · ShareGPT lengths", "1xh100 · tp1 · random lengths"}),
        ({"workload": {"request_rate": 4.0}}, {"1xh100 · tp1 · request_rate=inf", "1xh100 · tp1 · request_rate=4"}),
        ({"engine": {"max_num_seqs": 64}}, {"1xh100 · tp1", "1xh100 · tp1 · max_num_seqs=64"}),
        (
            {"engine": {"max_model_len": "auto"}},
            {"1xh100 · tp1 · max_model_len=2000", "1xh100 · tp1 · max_model_len=auto"},
        ),
        (
            {"engine": {"command": ["python", "tests/fake_vllm.py"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · not vLLM's own server: python tests/fake_vllm.py"},
        ),
        (
            {"engine": {"command": ["python", "-m", "vllm.entrypoints.cli.main", "serve"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · vllm serve"},
        ),
        (
            {"engine": {"command": ["/opt/b/python", "-m", "vllm.entrypoints.openai.api_server"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · /opt/b/python -m vllm.entrypoints.openai.api_server"},
        ),
        (
            {"engine": {"extra_args": ["--api-server-count", "4"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · --api-server-count 4"},
        ),
        (
            {"gpu": dataclasses.replace(records.H100, product="H100 PCIe")},
            {"1xh100 · tp1 · NVIDIA H100", "1xh100 · tp1 · NVIDIA H100 PCIe"},
        ),
    ],
    ids=["engine", "weights", "lengths", "rate", "option", "context", "fake", "serve", "other", "args", "product"],
)
def test_runs_that_differ_in_what_shapes_a_result_are_series_of_their_own(change, names):
    found = runs(records.record(), records.record(**change))
    assert set(labels.add_labels(found.valid, found.conditions)["system_label"]) == names


def test_seeds_make_repeats_and_repeats_give_means_and_intervals():
    made = [
        records.record(workload={"seed": seed}, output_throughput=rate) for seed, rate in enumerate((900, 1000, 1400))
    ]
    found = runs(*made, records.record(num_prompts=10))
    alone, point = mean.mean_points(labels.add_labels(found.valid, found.conditions)).to_dict("records")
    assert (point["runs"], point["output_throughput"]) == (3, 1100)
    assert point["output_throughput_half_width"] == pytest.approx(657.2, abs=0.1)  # 4.3027 · 264.58 / √3
    assert math.isnan(point["median_itl_ms_half_width"])  # three equal values tell nothing of their spread
    assert alone["runs"] == 1
    assert math.isnan(alone["output_throughput_half_width"])


def test_what_differs_only_between_models_is_said_of_the_model():
    found = runs(records.record(), records.record(model="llama70b", engine={"max_model_len": 8000}))
    rows = labels.add_labels(found.valid, found.conditions)
    assert set(rows["model_label"]) == {"llama8b · max_model_len=2000", "llama70b · max_model_len=8000"}
    assert set(rows["system_label"]) == {"1xh100 · tp1"}


def test_dummies_cpus_and_fakes_are_always_said():
    found = runs(
        records.record(gpus=0, weights=Weights.dummy, engine={"command": ["python", "fake.py"], "enforce_eager": True})
    )
    said = labels.shared_conditions(found.valid)
    for word in ("EPYC 9654", "dummy weights", "vllm 0.26.0", "enforce_eager", "not vLLM's own server: python fake.py"):
        assert word in said


@pytest.mark.parametrize(("weights", "experts", "routing", "said"), [
    (Weights.dummy, 8, None, True),
    (Weights.dummy, 8, "uniform_random", False),
    (Weights.dummy, 0, None, False),
    (Weights.hub, 8, None, False),
])  # fmt: skip
def test_experts_that_random_gates_chose_are_always_said(weights, experts, routing, said):
    found = runs(records.record(weights=weights)).valid.assign(**{"model.num_experts": experts})
    caption = labels.shared_conditions(found.assign(**{"engine.moe_routing": routing}))
    assert ("dummy experts" in caption) is said


# ---- tables


def test_the_table_has_the_cells_of_a_hand_computation():
    found = runs(
        records.record(gpus=1, output_throughput=9612.3, median_itl_ms=21.44),
        records.record(gpus=2, tp=2, output_throughput=13000.0, median_itl_ms=14.0),
        records.record(gpus=2, dp=2, output_throughput=12500.4, median_itl_ms=20.06),
        records.record(model="llama70b", gpus=2, tp=2, output_throughput=2100.0, median_itl_ms=44.0),
        records.record(model="llama70b", gpus=1, failure=OOM),
        records.record(model="llama70b", gpus=4, tp=4, num_prompts=80),
        records.record(model="llama70b", gpus=2, dp=2, invalid=[Reason("late_sends", "")]),
    )
    table = section(comparisons.sections(found, Options(num_prompts=320)), "throughput-latency")
    expected = pd.DataFrame(
        {
            "llama70b": ["N/A [a]", "N/A [b]", "2,100 / 44.0", "N/A [c]"],
            "llama8b": ["9,612 / 21.4", "12,500 / 20.1", "★ 13,000 / 14.0", "N/A [d]"],
        },
        index=pd.Index(["1xh100 · tp1", "2xh100 · dp2", "2xh100 · tp2", "4xh100 · tp4"], name="hardware · parallelism"),
    )
    pd.testing.assert_frame_equal(table.table, expected, check_column_type=False, check_index_type=False)
    assert table.notes == (
        "[a] FAILED: oom_load",
        "[b] INVALID: late_sends",
        "[c] measured only at num_prompts=80",
        "[d] not measured",
    )


@pytest.mark.parametrize(
    ("loads", "asked", "load", "says"),
    [
        ([(10, 80, 320), (10, 320)], None, 320, "num_prompts=320. "),
        ([(10, 80, 320), (10, 80)], None, 80, "num_prompts=80 (the largest load that all systems share"),
        ([(10, 80, 320), (10, 80)], 320, 320, "num_prompts=320. "),
        ([(10, 80), (10, 80)], 64, 80, "num_prompts=80 (the largest load that all systems share"),
        ([(10, 320), (80,)], None, 320, "no load is shared by all"),
        ([(10, 40), (40,), (80,)], None, 40, "the load that most systems have"),
    ],
)
def test_the_load_of_the_table_is_shared_or_asked_for_and_said(loads, asked, load, says):
    found = runs(*(record for gpus, some in enumerate(loads, 1) for record in curve(some, gpus=gpus, dp=gpus)))
    table = section(comparisons.sections(found, Options(num_prompts=asked)), "throughput-latency")
    assert set(table.data["load"]) == {load}
    assert says in table.caption


def test_what_is_left_out_is_counted_by_reason():
    late, hits = Reason("late_sends", ""), Reason("prefix_hits", "")
    found = runs(
        records.record(gpus=1, failure=OOM),
        records.record(gpus=2, tp=2, failure=OOM),
        records.record(gpus=4, tp=4, invalid=[late, hits]),
        records.record(gpus=8, tp=8, invalid=[late]),
    )
    table = excluded.count_by_reason(found.left_out)
    assert table[["verdict", "reason", "runs"]].to_numpy().tolist() == [
        ["FAILED", "oom_load", 2],
        ["INVALID", "late_sends", 2],
        ["INVALID", "prefix_hits", 1],
    ]
