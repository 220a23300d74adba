import math

import numpy as np
import pytest
from builders import run_config
from hypothesis import given
from hypothesis import strategies as st

from vbench.plan.rules import check_run
from vbench.schema import RampUp
from vbench.schema.errors import Refused
from vbench.workload.arrivals import arrivals, ramp, schedule_arrivals

SHAPES = st.sampled_from([0.2, 1.0, 5.0, math.inf])


def test_an_infinite_rate_sends_all_at_once():
    assert arrivals(5, math.inf, 1.0, np.random.default_rng(0)).tolist() == [0.0] * 5


def test_an_infinite_burstiness_is_a_constant_rate():
    assert arrivals(4, 2.0, math.inf, np.random.default_rng(0)).tolist() == [0.0, 0.5, 1.0, 1.5]


@given(st.integers(1, 200), st.floats(0.1, 1000), SHAPES, st.integers(0, 2**32))
def test_arrivals_start_at_zero_and_ascend(n, rate, burstiness, seed):
    times = arrivals(n, rate, burstiness, np.random.default_rng(seed))
    assert times.shape == (n,)
    assert times[0] == 0.0
    assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0])
def test_gaps_have_the_mean_of_the_rate_and_the_spread_of_the_shape(burstiness):
    gaps = np.diff(arrivals(50_000, 10.0, burstiness, np.random.default_rng(1)))
    assert gaps.mean() == pytest.approx(0.1, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03)


@pytest.mark.parametrize("n", [120, 121, 150, 10_000])
@pytest.mark.parametrize("burstiness", [0.3, 1.0, math.inf])
def test_a_load_that_time_ends_offers_its_rate_in_that_time_however_many_prompts_it_has(n, burstiness):
    load = {"num_prompts": n, "request_rate": 2.0, "burstiness": burstiness, "duration_s": 50.0, "warmup_s": 10.0}
    workload = run_config(workload=load).workload
    for seed in range(20):
        times = schedule_arrivals(workload, np.random.default_rng(seed))
        assert (times < 60.0 - 1e-9).sum() == 120
        assert (np.diff(times) >= 0).all()
    without_end = run_config(workload=load | {"duration_s": None, "warmup_s": None}).workload
    assert schedule_arrivals(without_end, np.random.default_rng(0))[-1] == pytest.approx((n - 1) / 2)


def test_of_a_time_that_is_no_whole_number_of_gaps_the_rate_is_exact_too():
    """In 10.25 s at 2/s 21 are sent: the first of them at 0 s, and the 22nd, at 10.5 s, is the first beyond."""
    for seed in range(20):
        times = arrivals(500, 2.0, 1.0, np.random.default_rng(seed), sending_s=10.25)
        assert times[21] == pytest.approx(10.5)


RAMP = {"ramp_up_strategy": "linear", "ramp_up_start_rps": 2.0, "ramp_up_end_rps": 8.0}


def test_a_linear_ramp_rises_in_even_steps_and_an_exponential_one_by_an_even_factor():
    assert ramp(4, RampUp.linear, 2.0, 8.0) == pytest.approx([2.0, 4.0, 6.0, 8.0])
    assert ramp(3, RampUp.exponential, 2.0, 8.0) == pytest.approx([2.0, 4.0, 8.0])
    assert ramp(3, RampUp.linear, 8.0, 2.0) == pytest.approx([8.0, 5.0, 2.0])


def test_a_ramp_of_one_request_is_at_its_start():
    assert ramp(1, RampUp.exponential, 2.0, 8.0).tolist() == [2.0]


def test_with_a_constant_gap_a_ramp_is_exact():
    times = schedule_arrivals(run_config(workload=RAMP | {"num_prompts": 4, "burstiness": math.inf}).workload, None)
    assert times == pytest.approx([0.0, 1 / 4, 1 / 4 + 1 / 6, 1 / 4 + 1 / 6 + 1 / 8])


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("strategy", ["linear", "exponential"])
def test_the_gaps_of_a_ramp_have_the_rate_of_their_place_and_the_spread_of_the_shape(strategy, burstiness):
    n = 50_000
    load = run_config(workload=RAMP | {"num_prompts": n, "ramp_up_strategy": strategy, "burstiness": burstiness})
    gaps = np.diff(schedule_arrivals(load.workload, np.random.default_rng(1)))
    relative = gaps * ramp(n, RampUp[strategy], 2.0, 8.0)[1:]
    for part in np.array_split(relative, 4):
        assert part.mean() == pytest.approx(1.0, rel=0.06)
    assert relative.std() == pytest.approx(burstiness**-0.5, rel=0.03)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"ramp_up_strategy": None}, "workload.ramp_up_start_rps=2.0: a ramp needs ramp_up_strategy and both"),
        ({"ramp_up_end_rps": None}, "workload.ramp_up_end_rps=None: a ramp needs ramp_up_strategy and both"),
        ({"ramp_up_start_rps": 0.0}, "workload.ramp_up_start_rps=0.0: must be above 0, and finite"),
        ({"ramp_up_end_rps": math.inf}, "workload.ramp_up_end_rps=inf: must be above 0, and finite"),
        ({"request_rate": 4.0}, "workload.request_rate=4.0: workload.ramp_up_strategy sets the rate"),
    ],
)
def test_a_ramp_that_is_half_given_or_contradicted_is_refused_by_name(values, why):
    with pytest.raises(Refused, match=why):
        check_run(run_config(workload=RAMP | values))


@pytest.mark.parametrize("strategy", ["linear", "exponential"])
def test_a_ramp_that_the_time_would_cut_is_refused_and_the_number_it_names_fits(strategy):
    """At 2 to 8/s, 30 s hold 130 requests of either ramp at most: of 2,000 the last sent would come at 2.1/s."""
    load = RAMP | {"ramp_up_strategy": strategy, "duration_s": 25.0, "warmup_s": 5.0, "burstiness": math.inf}
    with pytest.raises(Refused, match=r"num_prompts=2000: their ramp takes .* before ramp_up_end_rps=8") as refused:
        check_run(run_config(workload=load | {"num_prompts": 2000}))
    fitting = int(str(refused.value).rpartition(" ")[2])
    run = check_run(run_config(workload=load | {"num_prompts": fitting}))
    assert schedule_arrivals(run.workload, None)[-1] == pytest.approx(30.0, rel=0.02)
    check_run(run_config(workload=load | {"num_prompts": fitting // 2}))


def test_a_ramp_whose_first_request_is_sent_at_once_takes_the_time_of_the_gaps_alone():
    """At 0.1/s the first gap would take 10 s; the last of 20 requests is sent after 6.3 s."""
    ends = {"ramp_up_start_rps": 0.1, "ramp_up_end_rps": 10.0, "num_prompts": 20, "burstiness": math.inf}
    run = check_run(run_config(workload=RAMP | ends | {"duration_s": 7.0}))
    assert schedule_arrivals(run.workload, None)[-1] == pytest.approx(
        sum(1 / (0.1 + 9.9 * i / 19) for i in range(1, 20))
    )


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0, math.inf])
@pytest.mark.parametrize("n", [2, 20, 100])
def test_the_offered_rate_is_the_one_that_was_asked_whatever_the_gaps(n, burstiness):
    for seed in range(5):
        times = arrivals(n, 4.0, burstiness, np.random.default_rng(seed))
        assert times[0] == 0.0
        assert times[-1] == pytest.approx((n - 1) / 4.0)


def test_the_gaps_are_those_of_the_draw_up_to_one_factor():
    gaps = np.diff(arrivals(50, 10.0, 0.7, np.random.default_rng(3)))
    drawn = np.random.default_rng(3).gamma(0.7, 0.1 / 0.7, 50)[1:]
    assert gaps / drawn == pytest.approx(np.full(49, 4.9 / drawn.sum()))


def test_a_ramp_keeps_the_gaps_that_were_drawn():
    load = run_config(workload=RAMP | {"num_prompts": 20}).workload
    drawn = np.random.default_rng(5).gamma(1.0, 1.0 / ramp(20, RampUp.linear, 2.0, 8.0))
    assert np.diff(schedule_arrivals(load, np.random.default_rng(5))) == pytest.approx(drawn[1:])


def test_gaps_too_small_for_a_float_are_sent_at_once():
    assert arrivals(3, 10.0, 1e-9, np.random.default_rng(0)).tolist() == [0.0, 0.0, 0.0]
