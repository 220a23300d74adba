"""The load is whatever was swept within a system; both sides of a comparison say under which conditions they ran."""

from __future__ import annotations

import dataclasses
import math

import pytest
import records

from vbench.analysis import comparisons, figures, frame
from vbench.analysis.comparisons import against, one_load
from vbench.analysis.labels import add_labels, load_axis
from vbench.analysis.options import Options
from vbench.schema import Lengths
from vbench.schema.errors import Refused


def runs(*made):
    return frame.runs(records.table(list(made)))


def sections(found, **asked):
    return {each.slug: each for each in comparisons.sections(found, Options(figures=[], **asked))}


def swept(key, values, num_prompts=512, **what):
    return [
        records.record(num_prompts=num_prompts, output_throughput=1000.0 * value, median_itl_ms=10 + value,
                       workload={key: value}, **what)
        for value in values
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "values", "words"),
    [
        ("max_concurrency", [4, 8, 16, 32, 64], [f"{n} at once" for n in (4, 8, 16, 32, 64)]),
        ("request_rate", [1.0, 2.0, 4.5], ["1 req/s", "2 req/s", "4.5 req/s"]),
    ],
)
def test_a_sweep_of_one_load_parameter_is_one_curve_and_says_its_unit(key, values, words):
    found = sections(runs(*swept(key, values), *swept(key, values, gpus=2, tp=2)))
    curve = found["curves-llama8b"]
    drawing = figures.draw(curve.figure)
    assert [len(line.points) for line in drawing.lines] == [len(values)] * 2
    written = {each.text for each in drawing.words}
    assert set(words[:-1]) <= written
    assert any(f"numbers: {key}" in text for text in written)
    assert "512 prompts" in curve.caption
    table = found["throughput-latency"]
    assert table.table.index.tolist() == ["1xh100 · tp1", "2xh100 · tp2"]
    assert f"at {key}={values[-1]:g} (the largest load that all systems share)" in table.caption


def test_100_prompts_at_once_are_not_100_requests_a_second():
    at_once = records.record(num_prompts=100, workload={"request_rate": math.inf})
    made = [*swept("request_rate", [50.0, 100.0], num_prompts=100), at_once]
    [found] = one_load.sections(runs(*made), Options())
    assert found.table["llama8b"].to_dict() == {
        "1xh100 · tp1": "100,000 / 110.0",
        "1xh100 · tp1 · all prompts at once": "N/A [a]",
    }
    assert found.notes[0] == "[a] measured only at num_prompts=100"


def test_a_family_of_curves_where_two_load_parameters_vary():
    made = [run for n in (100, 200) for run in swept("max_concurrency", [4, 8, 16], num_prompts=n)]
    labels = add_labels(runs(*made).valid, runs(*made).conditions)
    assert load_axis(labels).column == "workload.max_concurrency"
    assert labels.groupby("system_label")["load"].apply(sorted).to_dict() == {
        "1xh100 · tp1 · num_prompts=100": [4, 8, 16],
        "1xh100 · tp1 · num_prompts=200": [4, 8, 16],
    }


def test_prompts_that_grow_with_the_rate_are_no_condition():
    made = [run for rate in (1.0, 2.0, 4.0) for run in swept("request_rate", [rate], num_prompts=int(60 * rate))]
    labels = add_labels(runs(*made).valid, runs(*made).conditions)
    assert set(labels["system_label"]) == {"1xh100 · tp1"}
    assert sorted(labels["load"]) == [1, 2, 4]


def test_a_cap_that_only_one_system_has_is_never_left_out():
    made = [*swept("max_concurrency", [64]), records.record(num_prompts=512, gpus=2, tp=2)]
    labels = add_labels(runs(*made).valid, runs(*made).conditions)
    assert "1xh100 · tp1 · max_concurrency=64" in set(labels["system_label"])


def test_a_run_without_a_rate_is_named_beside_a_sweep_of_rates():
    made = [*swept("request_rate", [1.0, 2.0]), records.record(num_prompts=512)]
    labels = add_labels(runs(*made).valid, runs(*made).conditions)
    assert labels.set_index("system_label")["load"].groupby(level=0).apply(sorted).to_dict() == {
        "1xh100 · tp1": [1, 2],
        "1xh100 · tp1 · all prompts at once": [512],
    }


def test_conversations_beside_a_sweep_of_rates_are_not_said_to_be_sent_at_once():
    talks = records.record(num_prompts=512, lengths=Lengths.conversations)
    made = [*swept("request_rate", [1.0, 2.0]), talks, records.record(num_prompts=256)]
    labels = add_labels(runs(*made).valid, runs(*made).conditions)
    said = labels.set_index("load")["system_label"]
    assert "all prompts at once" not in said[512]
    assert "conversations" in said[512]
    assert "all prompts at once" in said[256]


def test_num_prompts_chooses_no_load_where_another_was_swept():
    with pytest.raises(Refused, match="these runs vary in max_concurrency"):
        sections(runs(*swept("max_concurrency", [4, 8])), num_prompts=80)


# ---- both sides of against=


def compare(new, old, **asked):
    both = dataclasses.replace(runs(*new), baseline=runs(*old))
    [section] = against.sections(both, Options(against="lastweek", figures=[], **asked))
    return section


def points(experiment, engine=None, loads=(10, 80, 320), rate=9000.0, **what):
    return [
        records.record(experiment=experiment, num_prompts=n, output_throughput=rate, engine=engine, **what)
        for n in loads
    ]


BACKEND = {"env": {"VLLM_ATTENTION_BACKEND": "FLASHINFER"}}


def test_a_condition_that_only_one_side_has_is_named_whichever_side_it_is():
    with_it, without = points("tonight", BACKEND), points("lastweek", rate=9600.0)
    forth, back = compare(with_it, without), compare(without, with_it)
    assert "They differ in engine.env.VLLM_ATTENTION_BACKEND (FLASHINFER against not set)." in forth.caption
    assert "They differ in engine.env.VLLM_ATTENTION_BACKEND (not set against FLASHINFER)." in back.caption
    assert forth.data["value"].iloc[0] == pytest.approx(9000 / 9600)


def test_a_condition_that_part_of_a_side_has_is_not_mixed():
    old = [*points("lastweek", rate=9600.0), *points("lastweek", BACKEND, rate=20_000.0)]
    section = compare(points("tonight"), old)
    assert section.data["value"].iloc[0] == pytest.approx(9000 / 9600)


def test_imported_results_of_other_prompts_are_not_divided():
    def imported(experiment, tokens):
        made = records.record(experiment=experiment, source="imported")
        return dataclasses.replace(made, metrics=made.metrics | {"total_input_tokens": tokens})

    alike = compare([imported("tonight", 70_000)], [imported("lastweek", 70_900)])
    assert alike.data["value"].iloc[0] == pytest.approx(1)
    unlike = compare([imported("tonight", 320_000)], [imported("lastweek", 32_000)])
    assert unlike.table is None
    assert "imported.input_len (1000 against 100)" in unlike.notes[0]


@pytest.mark.parametrize("side", [0, 1])
def test_workloads_that_only_one_side_varies_are_not_divided(side):
    pair = [points("a", workload={"max_concurrency": 64}), points("b")]
    section = compare(pair[side], pair[1 - side])
    assert section.table is None
    assert "max_concurrency (" in section.notes[0]


def test_a_side_without_a_valid_run_says_so_and_leaves_a_gate_undecided():
    failed = records.record(experiment="tonight", failure=records.Failure("oom_load", "out of memory"))
    asked = {"fail_if": "output_throughput<0.97"}
    section = compare([failed], points("lastweek"), **asked)
    assert section.notes == ("Nothing to compare: the new side has no VALID run under load.",)
    assert against.judge_sections([section], asked["fail_if"]).exit_code == 3
