from dataclasses import replace

import pytest
from builders import run_config

from vbench.plan.forecast.campaign import STOP, forecast
from vbench.plan.forecast.durations import CLOSE_S
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.performance import History, Performance
from vbench.plan.forecast.starts import Start, estimate_rehearsal, estimate_start, read_starts
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import to_plain
from vbench.schema.record import Failure, Record

LOAD = {"lengths": "random", "input_len": 8, "output_len": 100}


def config(prompts=10, gpus=2, **load):
    return check_run(
        run_config(
            hardware={"gpus": gpus},
            parallelism={"tensor_parallel_size": None},
            workload=LOAD | {"num_prompts": prompts} | load,
        )
    )


def session(*prompts, gpus=2, **load):
    (made,) = plan((config(count, gpus, **load), "vllm 0.26.0") for count in prompts)
    return made


def record(made, output_throughput, start_s=100.0, **server):
    metrics = {"output_throughput": output_throughput, "median_ttft_ms": 50.0, "median_tpot_ms": 5.0}
    return Record(
        "key", "session", "name", "default", "", "", to_plain(made), {"engine": "vllm 0.26.0"},
        {"start_s": start_s} | server, metrics,
    )  # fmt: skip


def start(seconds, model="vbench/tiny", gpus=2, gpu="h100", rehearsal=None, program="vllm"):
    return Start(model, gpu, gpus, f"tp{gpus}", program, seconds, rehearsal)


def expect_nothing(_):
    return None


def test_a_start_is_that_of_the_system_then_of_the_model_then_of_the_gpu_then_assumed():
    made = session(10)
    known = [start(80.0), start(120.0), start(200.0, gpus=4), start(300.0, model="other"), start(9.0, gpu="a100")]
    found = estimate_start(made, known)
    assert (found.value, found.basis, found.source) == (
        100.0,
        Basis.measured,
        "2 recorded starts of tiny on 2xh100, tp2",
    )
    assert found.low <= 80
    assert found.high >= 120
    assert estimate_start(made, known[2:]).value == 200
    assert (estimate_start(made, known[3:]).value, estimate_start(made, known[3:]).basis) == (300, Basis.assumed)
    unknown = estimate_start(made, known[4:])
    assert unknown.basis is Basis.assumed
    assert unknown.source.startswith("no record of this host: ")


def test_starts_of_another_program_tell_nothing_of_this_one():
    fakes = [start(2.0, program="fake_vllm.py", rehearsal=0.1)]
    for estimate in (estimate_start, estimate_rehearsal):
        assert estimate(session(10), fakes) == estimate(session(10), [])
    faked = replace(config(10), engine=replace(config(10).engine, command=["python", "tests/fake_vllm.py"]))
    assert [each.program for each in read_starts([record(faked, 1.0)])] == ["fake_vllm.py"]


def test_a_rehearsal_is_known_only_from_servers_that_were_rehearsed():
    assert estimate_rehearsal(session(10), [start(80.0), start(90.0, rehearsal=12.0)]).value == 12


def test_runs_on_one_server_tell_one_start():
    assert read_starts([record(config(10), 1.0), record(config(20), 1.0)]) == [start(100.0)]
    assert len(read_starts([record(config(10), 1.0), record(config(10), 1.0, start_s=50.0)])) == 2


def test_a_recorded_load_is_measured_and_one_between_two_lies_between_them():
    history = History([record(config(10), 1000.0), record(config(1000), 4000.0)])
    assert history.find(config(10)).output_throughput.value == 1000
    assert history.find(config(10)).output_throughput.basis is Basis.measured
    between = history.find(config(100, seed=7)).output_throughput
    assert (round(between.value), between.low, between.high) == (2000, 1000, 4000)
    assert between.basis is Basis.interpolated
    assert history.find(config(5)) is None
    assert history.find(config(10, gpus=4)) is None
    assert history.find(config(10, output_len=7)) is None
    assert history.find(config(10, request_rate=2.0)) is None


@pytest.mark.parametrize(
    ("measured", "low", "high"), [([1000], 950, 1050), ([990, 1010], 950, 1050), ([990, 1000, 1010], 990, 1010)]
)
def test_what_was_measured_once_or_twice_may_be_5_percent_off_and_thrice_tells_its_range(measured, low, high):
    found = History([record(config(10), float(value)) for value in measured]).find(config(10)).output_throughput
    assert (found.value, found.low, found.high) == (1000, pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("change", [{"failure": Failure("oom_load", "x")}, {"source": "imported"}])
def test_only_valid_measurements_of_vbench_tell_anything(change):
    assert History([replace(record(config(10), 1000.0), **change)]).find(config(10)) is None


def test_a_rate_whose_requests_wait_in_the_client_tells_nothing_of_the_rate_alone():
    held = record(config(50, request_rate=8.0, max_concurrency=4), 1000.0)
    assert History([held]).find(config(50, request_rate=8.0)) is None
    assert History([held]).find(config(50, request_rate=8.0, max_concurrency=4)).output_throughput.value == 1000
    assert History([record(config(50, max_concurrency=4), 9.0)]).find(config(4)).output_throughput.value == 9


def sure(value):
    return Estimate(value, value, value, Basis.measured, "")


def test_a_session_holds_its_gpus_for_the_start_and_every_run_that_is_missing():
    made = session(10, 40)
    shown = Performance(sure(200.0), sure(10.0), sure(5.0))
    found = forecast([made], {made.runs[0].key}, {}, [start(100.0, rehearsal=20.0)], lambda _: shown, {"h100": 3.0})
    (planned,) = found.sessions
    assert [run.run.name for run in planned.missing] == ["tiny · 2xh100 · tp2 · n40"]
    seconds = 100 + 20 + 40 * 100 / 200 + CLOSE_S + STOP.value
    assert planned.seconds.value == pytest.approx(seconds)
    assert found.gpu_hours.value == pytest.approx(2 * seconds / 3600)
    assert found.dollars.value == pytest.approx(3 * 2 * seconds / 3600)
    assert planned.basis is Basis.measured


def test_paced_requests_take_as_long_as_they_arrive():
    made = session(11, request_rate=2.0)
    shown = Performance(sure(1e9), sure(500.0), sure(5.0))
    found = forecast([made], set(), {}, [], lambda _: shown, {})
    assert found.sessions[0].runs[0].seconds.value == pytest.approx(5 + 0.5 + 0.5 + CLOSE_S)


def test_of_an_unknown_system_the_range_is_wide_and_the_basis_weak():
    (run,) = forecast([session(10)], set(), {}, [], expect_nothing, {}).sessions[0].runs
    assert run.seconds.basis is Basis.assumed
    assert run.seconds.low <= run.seconds.value / 4
    assert run.seconds.high == run.seconds.value * 4


def test_what_is_recorded_or_infeasible_costs_nothing():
    known, impossible = session(10), session(10, gpus=4)
    keys = {run.key for run in known.runs}
    found = forecast([known, impossible], keys, {impossible.folder: "too large"}, [], expect_nothing, {})
    assert found.started == []
    assert found.gpu_hours.value == 0


def test_dollars_are_told_only_if_every_gpu_has_a_price():
    found = forecast([session(10)], set(), {}, [], expect_nothing, {"a100": 1.0})
    assert found.dollars is None
