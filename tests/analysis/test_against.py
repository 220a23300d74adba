"""`against=` and `fail_if`: the report, then one line and an exit code."""

from __future__ import annotations

import pytest
import records

from vbench.analysis import __main__ as door
from vbench.analysis.gate import parse_gate
from vbench.plan.sessions import plan
from vbench.schema import RunConfig, Weights, from_plain
from vbench.schema.record import Failure, Reason
from vbench.session import sessionfile


def repeated(rates, **what):
    return [records.record(workload={"seed": seed}, output_throughput=rate, **what) for seed, rate in enumerate(rates)]


def campaign(name, rates, **what):
    return repeated(rates, experiment=name, **what)


@pytest.mark.parametrize(
    ("rates", "code", "line"),
    [
        ((900, 905, 910), 1, "failed: output_throughput<0.97: llama8b · 1xh100 · tp1 is 0.900 ["),
        ((700, 900, 1100), 3, "undecided: output_throughput<0.97: llama8b · 1xh100 · tp1 is 0.881 ["),
        ((1000, 1005, 1010), 0, "passed: output_throughput<0.97: llama8b · 1xh100 · tp1 is 1.000 ["),
    ],
)
def test_the_gate_ends_with_one_line_and_a_code_after_the_report(file, tmp_path, capsys, rates, code, line):
    file(*campaign("old", (1000, 1005, 1010)), *campaign("new", rates))
    asked = ["experiment=new", "against=old", "fail_if=output_throughput<0.97", "figures=[]"]
    assert door.main(asked) == code
    said = capsys.readouterr().out
    last = said.splitlines()[-1]
    assert last.startswith(line)
    assert ("more repeats (workload.repeats)" in last) == (code == 3)
    assert "Against old" in said
    assert (tmp_path / "report" / "new" / "report.html").exists()


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ({"failure": Failure("oom_kv", "no room")}, 3, "320 prompts is FAILED (oom_kv)"),
        ({"invalid": [Reason("late_client", "late")]}, 3, "320 prompts is INVALID (late_client)"),
        ({"failure": Failure("oom_kv", "no room"), "num_prompts": 640}, 0, ""),  # nor does the baseline have it
    ],
)
def test_a_gate_does_not_pass_where_the_new_side_lost_a_point_of_the_baseline(file, capsys, what, code, words):
    both = [*campaign("old", (1000, 1005, 1010), num_prompts=80), *campaign("old", (1000, 1005, 1010))]
    lost = campaign("new", (1000,), engine_version="vllm 0.32.0", **what)
    kept = campaign("new", (1000, 1005, 1010), num_prompts=80, engine_version="vllm 0.32.0")
    file(*both, *kept, *lost)
    asked = ["experiment=new", "against=old", "fail_if=output_throughput<0.97", "figures=[]"]
    assert door.main(asked) == code
    last = capsys.readouterr().out.splitlines()[-1]
    assert words in last
    assert "tp1 is 1.000 [" in last
    if code:  # one of three repeats is enough
        file(campaign("new", (1000, 1005), engine_version="vllm 0.32.0")[1])
        door.main(asked)
        assert words not in capsys.readouterr().out.splitlines()[-1]


def test_a_campaign_that_still_runs_is_said_to_be_unfinished_and_repeats_are_not_advised(file, tmp_path, capsys):
    file(*campaign("old", (1000, 1005, 1010)), *campaign("new", (1000,)))
    configs = [from_plain(RunConfig, each.config) for each in campaign("new", (1000, 1000, 1000))]
    (planned, *_) = plan((each, "vllm 0.26.0") for each in configs)
    sessionfile.write(planned, tmp_path / "multirun" / "new" / planned.folder)
    assert door.main(["experiment=new", "against=old", "fail_if=output_throughput<0.97", "figures=[]"]) == 3
    said = capsys.readouterr().out
    assert "points to come" in said
    last = said.splitlines()[-1]
    assert "the new side: unfinished: " in last.lower()
    assert "run the same command again" in last
    assert "workload.repeats" not in last


def test_a_gate_does_not_pass_before_the_campaign_has_ended(file, tmp_path, capsys):
    file(*campaign("old", (1000, 1005, 1010)), *campaign("new", (1000, 1005, 1010)))
    config = from_plain(RunConfig, campaign("new", (1000,), num_prompts=640)[0].config)
    (planned,) = plan([(config, "vllm 0.26.0")])
    sessionfile.write(planned, tmp_path / "multirun" / "new" / planned.folder)
    assert door.main(["experiment=new", "against=old", "fail_if=output_throughput<0.97", "figures=[]"]) == 3
    last = capsys.readouterr().out.splitlines()[-1]
    assert "is 1.000 [" in last
    assert "Not passed, because the new side is unfinished: 1 of 4 points to come" in last


def test_a_version_is_compared_with_another_of_the_same_store(file, capsys):
    file(*campaign("grid", (1000, 1005)), *campaign("grid", (1100, 1105), engine_version="vllm 0.32.0"))
    assert door.main(["against=vllm 0.26.0", "fail_if=output_throughput<1.05", "figures=[]"]) == 0
    said = capsys.readouterr().out
    assert "1.100" in said
    assert "engine_version (vllm 0.32.0 against vllm 0.26.0)" in said


def test_the_report_begins_with_the_ratios_that_were_asked_for(file, capsys):
    file(*campaign("old", (1000, 1005, 1010)), *campaign("new", (900, 905, 910)))
    assert door.main(["experiment=new", "against=old", "figures=[]"]) == 0
    said = " ".join(capsys.readouterr().out.partition("Which system")[0].split())
    assert "Against the baseline llama8b · 1xh100 · tp1, divided by old at 1 point: output tokens/s 0.900 [" in said


def test_a_baseline_that_has_no_point_in_common_is_said_first(file, capsys):
    file(*campaign("old", (1000, 1010)), *campaign("new", (900, 910), num_prompts=80))
    assert door.main(["experiment=new", "against=old", "figures=[]"]) == 0
    said = " ".join(capsys.readouterr().out.partition("Which system")[0].split())
    assert "Against the baseline No point was measured on both sides: they differ in " in said


def test_a_gate_without_an_interval_is_undecided_and_says_what_to_measure_after_the_report(file, tmp_path, capsys):
    file(*campaign("old", (1000,)), *campaign("new", (900,)))
    assert door.main(["experiment=new", "against=old", "fail_if=output_throughput<0.97", "figures=[]"]) == 3
    assert "measure both sides with workload.repeats=3" in capsys.readouterr().out.splitlines()[-1]
    assert (tmp_path / "report" / "new" / "report.html").exists()


def test_campaigns_of_other_weights_are_not_compared(file, capsys):
    file(*campaign("old", (1000, 1010)), *campaign("new", (900, 910), weights=Weights.dummy))
    assert door.main(["experiment=new", "against=old", "figures=[]"]) == 0
    assert "they differ in engine.weights (dummy against hub)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["fail_if=output_throughput<0.97"], "give the baseline too: against=EXPERIMENT"),
        (["experiment=new", "against=odl"], "against=odl: not in"),
        (["experiment=new", "against=new"], "it is the experiment itself"),
        (["experiment=new", "against=old", "fail_if=throughput"], "must be a metric, < or >, and a ratio"),
        (["experiment=new", "against=old", "fail_if=output_thruput<1"], "did you mean output_throughput"),
        (["figures=gif"], "figures=gif: no such format"),
    ],
)
def test_a_wrong_question_is_one_line(file, capsys, words, line):
    file(*campaign("old", (1000,)), *campaign("new", (900,)))
    assert door.main([*words, "out=made"]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_gate_has_a_metric_a_sign_and_a_ratio():
    assert parse_gate("p99_itl_ms > 1.05") == ("p99_itl_ms", ">", 1.05)
    judged = [parse_gate("p99_itl_ms>1.05").judge(low, low + 0.1) for low in (1.06, 1.04, 0.9)]
    assert judged == ["failed", "undecided", "passed"]
    assert [parse_gate("request_throughput<0.97").judge(low, low + 0.1) for low in (0.98, 0.9, 0.8)] == [
        "passed", "undecided", "failed",
    ]  # fmt: skip
