"""What a session asks for, derived from its plan."""

import pytest
from builders import run_config

from vbench.plan.resources import expected_s, load_timeout_s, resources
from vbench.plan.rules import check_run
from vbench.plan.sessions import Session, plan
from vbench.schema.errors import Refused
from vbench.workload.search import MOST, MOST_PROBES


def session(*loads: int, **parts) -> Session:
    configs = (run_config(**parts | {"workload": parts.get("workload", {}) | {"num_prompts": n}}) for n in loads)
    (planned,) = plan((check_run(config), "vllm 1") for config in configs)
    return planned


def test_sizes_of_one_campaign_ask_for_different_things():
    slurm = {"partition": "gpu", "gres_type": "h100", "cpus_per_gpu": 6, "mem_gib_per_gpu": 100, "extra": {"b": "2"}}
    two, four = (
        resources(session(8, hardware={"gpus": n, "slurm": slurm}, parallelism={"data_parallel_size": n}))
        for n in (2, 4)
    )
    assert (two.gpus, two.gpu_type, two.cpus, two.memory_gib, two.partition) == (2, "h100", 12, 200, "gpu")
    assert (four.gpus, four.gpu_type, four.cpus, four.memory_gib) == (4, "h100", 24, 400)
    assert two.extra == (("b", "2"),)


def test_a_session_without_gpus_asks_for_the_cores_and_memory_of_one():
    asked = resources(session(8))
    assert (asked.gpus, asked.gpu_type, asked.cpus, asked.memory_gib) == (0, None, 8, 64)


def test_a_server_that_already_runs_needs_no_gpus_of_ours():
    asked = resources(session(8, hardware={"gpus": 1}, engine={"base_url": "http://h:8000"}))
    assert (asked.gpus, asked.gpu_type) == (0, None)


def test_the_time_limit_covers_the_start_and_grows_with_the_points_unless_it_is_given():
    few, many = session(8), session(8, 320, 1280)
    assert few.engine.start_timeout_s / 60 < resources(few).minutes < resources(many).minutes
    assert resources(session(8, hardware={"slurm": {"time_min": 7}})).minutes == 7


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        (90, 90), ("90", 90), ("90:01", 91), ("1:30:00", 90), ("0:00:30", 1), ("2-12", 3600), ("1-0:30", 1470),
        ("1-0:30:00", 1470),
    ],
)  # fmt: skip
def test_time_limits_are_taken_in_the_forms_of_sbatch_and_said_back(limit, wanted):
    asked = resources(session(8, hardware={"slurm": {"time_min": limit, "extra": {"begin": "16:00"}}}))
    assert asked.minutes == wanted
    assert f", {wanted} min (" in asked.sentence
    assert asked.sentence.endswith(", partition default, begin 16:00")
    by_hours = resources(session(8, hardware={"slurm": {"time_min": "1-0:30"}})).sentence
    assert "1470 min (1-00:30:00)" in by_hours


@pytest.mark.parametrize("limit", ["soon", 0, "0:00", "1:2:3:4", -5, "1:30:00:00", "1-"])
def test_what_is_no_time_limit_is_refused(limit):
    with pytest.raises(
        Refused, match=rf"hardware.slurm.time_min={limit}: must be minutes above 0, or a time as sbatch"
    ):
        session(8, hardware={"slurm": {"time_min": limit}})


@pytest.mark.parametrize(
    ("load", "least_s"),
    [
        ({"request_rate": 0.5}, 100 / 0.5 * 0.7),
        ({"ramp_up_strategy": "linear", "ramp_up_start_rps": 0.2, "ramp_up_end_rps": 0.4}, 100 / 0.4 * 0.7),
        ({"max_concurrency": 1, "lengths": "random", "output_len": 100}, 100 * 100 * 0.1),
        ({"search": "request_rate", "slo": {"ttft_ms": 100}}, 26 * 20),
        ({"search": "max_concurrency", "slo": {"ttft_ms": 100}}, 26 * 10),
    ],
)
def test_arrivals_turns_and_probes_take_their_time(load, least_s):
    assert expected_s(session(100, workload=load)) > least_s


def lasts(n, **load):
    """Seconds expected of n random requests of 1,000 prompt tokens and 100 reply tokens."""
    engine = load.pop("engine", {})
    parts = {name: load.pop(name) for name in ("hardware", "parallelism") if name in load}
    shape = {"lengths": "random", "input_len": 1000, "output_len": 100}
    return expected_s(session(n, engine={"weights": "dummy", **engine}, workload=shape | load, **parts))


def test_a_point_is_10_s_and_its_prompts_at_2000_tokens_a_second_and_its_replies_at_10():
    assert lasts(10) == pytest.approx(10 + 10 * 1000 / 2000 + 100 * 0.1)


def test_replies_take_turns_in_128_streams_where_the_engine_does_not_say():
    assert lasts(128) == pytest.approx(10 + 128 / 2 + 10)
    assert lasts(256) == pytest.approx(10 + 256 / 2 + 20)
    assert lasts(256, engine={"max_num_seqs": 64}) == pytest.approx(10 + 256 / 2 + 40)
    assert lasts(256, max_concurrency=32) == pytest.approx(10 + 256 / 2 + 80)


def test_replicas_share_prompts_and_replies():
    two = {"hardware": {"gpus": 2}, "parallelism": {"data_parallel_size": 2}}
    assert lasts(512, **two) == pytest.approx(10 + 512 / 2 / 2 + 20)


def test_arrivals_add_the_time_of_the_last():
    assert lasts(11, request_rate=2.0, burstiness=float("inf")) == pytest.approx(10 + 5 + 11 / 2 + 10)


def test_a_session_lasts_as_long_as_its_points_and_a_bare_start_is_one_of_10_s():
    assert expected_s(session(0, workload={"lengths": "none"})) == 10
    shape = {"lengths": "random", "input_len": 1000, "output_len": 100}
    assert expected_s(session(10, 20, workload=shape)) == pytest.approx(lasts(10) + lasts(20))


@pytest.mark.parametrize(("start_timeout_s", "minutes"), [(862.5, 15), (862.6, 30), (1762.5, 30), (1762.6, 45)])
def test_the_time_limit_is_the_start_and_half_as_long_again_as_its_points_in_quarters_of_an_hour(
    start_timeout_s, minutes
):
    shape = {"lengths": "random", "input_len": 1000, "output_len": 100}
    made = session(10, engine={"weights": "dummy", "start_timeout_s": start_timeout_s}, workload=shape)  # 25 s
    assert resources(made).minutes == minutes


def test_a_load_is_given_up_an_hour_after_half_as_long_again_as_its_schedule_may_take():
    shape = {"lengths": "random", "input_len": 1000, "output_len": 100}
    assert load_timeout_s(session(10, workload=shape).runs[0]) == pytest.approx(3600 + 1.5 * 25)
    slow = shape | {"request_rate": 0.001, "burstiness": float("inf")}
    assert load_timeout_s(session(11, workload=slow).runs[0]) == pytest.approx(3600 + 1.5 * (10 + 10_000 + 5.5 + 10))


@pytest.mark.parametrize("search", ["request_rate", "max_concurrency"])
def test_a_search_is_planned_for_the_most_probes_and_requests_that_it_may_take(search):
    load = {"lengths": "random", "input_len": 1, "output_len": 20, "slo": {"ttft_ms": 100}, "search": search}
    deciding_s = MOST / 16 * 2.0
    assert expected_s(session(1, workload=load)) == pytest.approx(MOST_PROBES * (10 + 6 * 2.0) + deciding_s)
