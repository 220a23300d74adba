"""When a server counts as starved of CPU: from made-up samples of two cores, one second apart."""

import numpy as np
import pytest

from vbench.metrics.contention import contention_metrics
from vbench.schema.series import Series

TIMES = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])


def sampled(**a_second):
    """Each total grows by so much a second: a number, or one for each of the four seconds."""
    grown = {
        "capacity": 2.0,
        "busy": 2.0,
        "steal": 0.0,
        "server": 2.0,
        "client": 0.0,
        "throttled": 0.0,
        "longest_wait": 0.0,
    } | a_second
    columns = {
        f"cpu/host_{name}_s": 100 + np.concatenate([[0.0], np.cumsum(np.broadcast_to(each, 4))])
        for name, each in grown.items()
    }
    return Series(times=TIMES, columns=columns, started_at=0.0)


def starved(**a_second):
    return contention_metrics(sampled(**a_second), 2.0)["server_starved_share"]


def test_a_server_that_waits_while_others_have_its_cores_is_starved():
    assert contention_metrics(sampled(server=1.5, longest_wait=0.4), 2.0) == pytest.approx(
        {
            "host_cpu_busy_share": 1.0,
            "host_cpu_others_share": 0.25,
            "host_cpu_client_share": 0.0,
            "host_cpu_stolen_share": 0.0,
            "server_cpu_throttled_share": 0.0,
            "server_starved_share": 0.4,
            "server_starved_by_client_share": 0.0,
        }
    )


def test_threads_that_wait_for_one_another_are_not_starved():
    assert starved(server=2.0, longest_wait=0.9) == 0


def test_others_starve_no_server_for_longer_than_they_ran():
    assert starved(server=1.9, longest_wait=0.9) == pytest.approx(0.1 - 0.02)


@pytest.mark.parametrize(("server", "share"), [(1.981, 0.0), (1.979, 0.001)])
def test_20_ms_a_second_may_be_the_rounding_of_the_kernels_totals(server, share):
    assert starved(server=server, longest_wait=0.9) == pytest.approx(share)


def test_others_that_keep_nothing_waiting_starve_nothing():
    assert starved(server=0.5, longest_wait=0.01) == pytest.approx(0.01)


@pytest.mark.parametrize(("busy", "share"), [(1.79, 0.0), (1.81, 0.3)])
def test_others_count_only_while_the_cores_are_busy(busy, share):
    assert starved(busy=busy, server=1.0, longest_wait=0.3) == pytest.approx(share)


def test_each_second_counts_by_itself_and_only_within_the_run():
    assert starved(server=[1.0, 1.0, 2.0, 1.0], longest_wait=[0.5, 0.0, 0.5, 0.5]) == 0
    assert starved(server=[1.0, 1.0, 2.0, 1.0], longest_wait=[0.5, 0.5, 0.5, 0.5]) == pytest.approx(0.25)


def test_a_used_up_quota_starves_a_server_on_idle_cores():
    found = contention_metrics(sampled(busy=0.5, server=0.5, throttled=0.6, longest_wait=0.4), 2.0)
    assert found["server_starved_share"] == pytest.approx(0.4)
    assert found["server_cpu_throttled_share"] == pytest.approx(0.6)


def test_stolen_time_is_no_wait_that_the_kernel_sees_and_no_process_of_this_host():
    found = contention_metrics(sampled(steal=0.2, server=1.8), 2.0)
    assert found["host_cpu_others_share"] == pytest.approx(0)
    assert found["server_starved_share"] == found["host_cpu_stolen_share"] == pytest.approx(0.1)


def test_the_part_of_a_sample_outside_the_run_is_left_out():
    found = contention_metrics(sampled(server=[2.0, 2.0, 1.0, 1.0], longest_wait=1.0), 1.5)
    assert found["server_starved_share"] == pytest.approx((0.5 - 0.01) / 1.5)


@pytest.mark.parametrize("end", [3.1, 100.0])
def test_samples_that_do_not_enclose_the_run_tell_nothing(end):
    assert contention_metrics(sampled(), end) == {}
    assert contention_metrics(Series(TIMES, {}, 0.0), 1.0) == {}


def test_a_kernel_whose_times_stand_still_tells_nothing():
    assert contention_metrics(sampled(capacity=0.0, busy=0.0, server=0.0), 2.0) == {}


def test_a_load_client_on_the_same_cores_is_told_apart_from_others():
    found = contention_metrics(sampled(server=1.4, client=0.5, longest_wait=0.4), 2.0)
    assert found["host_cpu_client_share"] == pytest.approx(0.25)
    assert found["host_cpu_others_share"] == pytest.approx(0.05)
    assert found["server_starved_share"] == pytest.approx(0.1 - 0.02)
    assert found["server_starved_by_client_share"] == pytest.approx(0.4 - 0.08)
