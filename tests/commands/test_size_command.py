"""`vbench size` as a user starts it, on fake GPUs with the fake server."""

import json
import os
import signal

import doors
import pytest

WORDS = (
    "size", "model=tiny", "rate=50", "slo={ttft_ms: 500, tpot_ms: 50}", "prices={h100: 2.5}", "engine.weights=dummy",
    "hardware=1xh100,2xh100",
)  # fmt: skip
GPUS = "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("model=tiny", "slo={ttft_ms: 500}"), "rate: is missing"),
        (("model=tiny", "rate=50"), "slo: is missing"),
        (("model=tiny", "rate=50", "slo={ttft_ms: 500}"), "prices: name the GPUs"),
        (("model=tiny", "rate=50", "slo={ttft_ms: 500}", "prices={h10: 1}"), "did you mean h100?"),
        (("model=tiny", "rate=50", "slo={ttft_ms: 500}", "prices={h100: x"), "must be $ an hour by GPU"),
        (("model=tiny", "rate=50", "slo={ttft_ms:", "500}", "prices={h100: 1}"), "quote it: 'slo={ttft_ms: 500}'"),
        ((*WORDS, "parallelism=tp2dp"), "parallelism: vbench size splits each replica over all its GPUs"),
        ((*WORDS, "parallelism.data_parallel_size=2"), "parallelism.data_parallel_size: vbench size splits"),
        (
            (*WORDS, "workload.max_concurrency=4"),
            "workload.max_concurrency=4: workload.search=request_rate",
        ),
        ((*WORDS, "workload=conversations"), "workload=conversations comes in sessions"),
        ((*WORDS[:3], "slo={tftt_ms: 500}", *WORDS[4:]), "did you mean workload.slo.ttft_ms?"),
    ],
)
def test_what_is_missing_or_unknown_is_named(words, told, capsys):
    from vbench.campaign.planning import size

    assert size.main([word for word in words if word != "size"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("plan", "prices={h100:", "2.5,", "h200:", "3}"), "quote it: 'prices={h100: 2.5, h200: 3}'"),
        (("fit", "hardware=1xh100", "workload.slo={ttft_ms:", "500}"), "quote it: 'workload.slo={ttft_ms: 500}'"),
        (("workload.slo={ttft_ms:", "500}"), "quote it: 'workload.slo={ttft_ms: 500}'"),
    ],
    ids=["plan", "fit", "front door"],
)
def test_a_value_that_the_shell_split_is_shown_quoted(words, told, capsys, monkeypatch):
    from vbench.__main__ import main

    monkeypatch.setattr("sys.argv", ["vbench", *words])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_a_secret_in_a_split_value_is_not_repeated():
    from vbench.compose import check_quoting
    from vbench.schema.errors import Refused

    secret = "hf_" + "a1B2c3D4e5" * 3
    with pytest.raises(Refused) as refused:
        check_quoting(["engine.env={HF_TOKEN:", secret + "}"])
    assert secret not in str(refused.value)


def test_braces_that_are_whole_or_never_closed_are_left_to_hydra():
    from vbench.compose import check_quoting

    check_quoting(["workload.slo={ttft_ms: 500}", "prices={h100:2.5}", "model.name={", "seed=1"])


def read_answer(home):
    return json.loads((home / "multirun/size/size/size.json").read_text())


def test_measuring_stops_at_the_budget_and_after_a_kill_the_same_command_goes_on(tmp_path):
    fails = doors.fake("--fail", "oom_load")
    little = doors.vbench(*WORDS, fails, "measure=true", "budget_gpu_hours=0.01", cwd=tmp_path, gpus=GPUS)
    assert little.returncode == 0, little.stdout + little.stderr
    assert "the budget is spent: 0.00 of 0.01 GPU hours" in little.stdout
    assert not list(tmp_path.glob("multirun/**/session.json"))
    for each in read_answer(tmp_path):
        assert each["requests_per_s_per_replica"]["basis"] == "predicted"
        assert each["cost_per_hour"] == pytest.approx(2.5 * each["gpus"])
        assert each["gpus"] == each["replicas"] * each["tensor_parallel_size"]
        assert each["replicas"] * each["requests_per_s_per_replica"]["value"] >= 50
        assert each["cost_per_hour_low"] <= each["cost_per_hour"] <= each["cost_per_hour_high"]

    killed = doors.driver(*WORDS, fails, "measure=true", cwd=tmp_path, gpus=GPUS)
    doors.until(lambda: list(tmp_path.glob("multirun/size/*/*/record.json")))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()

    whole = doors.vbench(*WORDS, fails, "measure=true", cwd=tmp_path, gpus=GPUS)
    assert whole.returncode == 1, whole.stdout + whole.stderr
    assert "measuring 1xh100" not in whole.stdout  # the best one, which was measured before the kill
    assert "no system bears the load within the SLO" in whole.stdout
    assert len(list(tmp_path.glob("multirun/size/*/*/record.json"))) == 2
    answer = read_answer(tmp_path)
    assert [each["requests_per_s_per_replica"]["basis"] for each in answer] == ["measured", "measured"]
    assert [each["gpus"] for each in answer] == [None, None]
