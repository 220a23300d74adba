"""When a pause is the front end's: from made-up samples of its event loop and of the polls that it answered."""

import numpy as np
import pytest
from builders import requests, run_config

from vbench.metrics.front_end import find_front_ends, is_held_up
from vbench.metrics.stalls import EngineFacts, stalls
from vbench.metrics.validity import judge
from vbench.schema.series import Series

TIMES = np.arange(-1.0, 11.0)  # seconds at which the loops were read
PAUSE = (4.0, 7.0)


def sampled(*busy, answers=(0.0, 1.0, 2.0, 3.0, 6.9, 8.0, 9.0), apart=True):
    """Front ends whose loops use so many cores during the pause and 0.3 else; /metrics answered at these times."""
    times = np.sort(np.concatenate([TIMES, answers]))
    columns = {"server/requests_running": np.where(np.isin(times, answers), 4.0, np.nan)}
    columns |= {"cpu/engine_core0_s": np.where(np.isin(times, TIMES), 7.0, np.nan)} if apart else {}
    for number, cores in enumerate(busy):
        used = np.where((TIMES[1:] > PAUSE[0]) & (TIMES[1:] <= PAUSE[1]), cores, 0.3 * (cores > 0))
        total = np.interp(times, TIMES, 50 + np.concatenate([[0.0], np.cumsum(used)]))
        columns[f"cpu/frontend{number}_loop_s"] = np.where(np.isin(times, TIMES), total, np.nan)
    return find_front_ends(Series(times, columns, 0.0))


@pytest.mark.parametrize(("cores", "held"), [(0.79, False), (0.81, True), (1.0, True)])
def test_a_front_end_that_computes_and_answers_nothing_holds_all_up(cores, held):
    assert is_held_up(sampled(cores), *PAUSE) is held


@pytest.mark.parametrize(("answer", "held"), [(3.99, True), (4.01, False), (6.79, False), (6.81, True)])
def test_one_that_answers_within_the_pause_does_not(answer, held):
    assert is_held_up(sampled(1.0, answers=(0.0, answer, 9.0)), *PAUSE) is held


def test_a_pause_without_a_poll_tells_nothing():
    assert not is_held_up(sampled(1.0), 5.0, 6.19)
    assert is_held_up(sampled(1.0), 5.0, 6.21)


def test_all_of_several_front_ends_are_held_up_but_for_an_idle_parent():
    assert is_held_up(sampled(1.0, 0.9), *PAUSE)
    assert not is_held_up(sampled(1.0, 0.5), *PAUSE)
    assert is_held_up(sampled(0.0, 1.0), *PAUSE)


@pytest.mark.parametrize(("cores", "idle"), [(0.009, True), (0.011, False)])
def test_a_loop_that_used_less_than_a_hundredth_of_a_core_is_an_idle_parent(cores, idle):
    columns = {f"cpu/frontend{number}_loop_s": TIMES * used for number, used in enumerate((cores, 1.0))}
    columns |= {
        "cpu/engine_core0_s": TIMES,
        "server/requests_running": np.where(np.isin(TIMES, (3.0, 7.0)), 1.0, np.nan),
    }
    assert is_held_up(find_front_ends(Series(TIMES, columns, 0.0)), *PAUSE) is idle


@pytest.mark.parametrize("answers", [(), (0.0, 1.0), (8.0, 9.0)])
def test_polls_that_are_never_answered_say_nothing_of_the_pause(answers):
    assert not is_held_up(sampled(1.0, answers=answers), *PAUSE)


def test_a_loop_that_the_engine_shares_is_no_front_end_of_its_own():
    assert not is_held_up(sampled(1.0, apart=False), *PAUSE)


def test_nothing_sampled_is_no_evidence():
    assert not is_held_up(sampled(), *PAUSE)
    assert not is_held_up(sampled(0.0), *PAUSE)


def test_such_a_pause_has_a_cause_a_metric_and_a_warning_of_its_own():
    ticks = [(float(time), 1) for time in (*np.arange(0.1, 4.05, 0.1), *np.arange(7.0, 9.0, 0.1))]
    made = requests(ticks)
    found = stalls(made, EngineFacts(front_ends=sampled(1.0)))
    assert found["longest_front_end_stall_ms"] == pytest.approx(3000)
    assert found["longest_unexplained_stall_ms"] == 0
    assert stalls(made, EngineFacts(front_ends=sampled(0.3)))["longest_unexplained_stall_ms"] == pytest.approx(3000)
    warned = {reason.code for reason in judge(made, run_config().workload, found | {"median_itl_ms": 100.0}).warnings}
    assert warned == {"stalled_by_front_end", "few_samples"}
    compiled = stalls(made, EngineFacts(front_ends=sampled(1.0), compiled_at=np.array([5.0])))
    assert compiled["longest_compile_stall_ms"] == pytest.approx(3000)
