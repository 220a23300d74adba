"""What servers and GPUs did during a run, from made-up samples."""

import numpy as np
import pytest
from builders import requests

from vbench.metrics.bounds import FACTS, GAUGES, KV_CAPACITY, find_bounds
from vbench.metrics.energy import energy
from vbench.metrics.occupancy import summaries
from vbench.schema.series import Series

TIMES = np.array([-1.0, 0.0, 1.0, 2.0, 3.0])
RUN = requests([(1.0, 1), (2.0, 3)])  # ends at 2 s, 4 tokens


def series(**columns):
    named = {name.replace("__", "/"): np.array(values, dtype=float) for name, values in columns.items()}
    return Series(times=TIMES, columns=named, started_at=0.0)


def test_a_servers_gauges_are_of_the_run_alone_its_ends_included():
    found = summaries(series(server__requests_running=[90, 2, 4, 9, 80]), RUN)
    assert (found["server_mean_requests_running"], found["server_max_requests_running"]) == (5, 9)


def test_the_cache_of_the_fullest_engine_is_the_bound_however_empty_the_others_are():
    mean, fullest = [0.5, 0.2, 0.5, 0.3, 0.5], [1.0, 0.4, 0.97, 0.6, 1.0]
    queue = {"server__requests_waiting": [0, 0, 9, 9, 0]}
    found = summaries(series(server__kv_cache_usage=mean, server__kv_cache_fullest=fullest, **queue), RUN)
    assert found["server_max_kv_cache_usage"] == 0.97
    assert found["server_mean_kv_cache_usage"] == pytest.approx(1 / 3)
    assert find_bounds(dict.fromkeys((*GAUGES, *FACTS)) | found)[0].what == KV_CAPACITY


@pytest.mark.parametrize(("cores", "limited"), [(0.89, 0.0), (0.91, 0.5)])
def test_a_front_ends_loop_is_at_its_limit_from_nine_tenths_of_a_core(cores, limited):
    loop = np.cumsum([0.0, 0.0, 0.1, cores, 0.1])
    found = summaries(series(cpu__frontend0_loop_s=loop), RUN)
    assert found["server_frontend_limited"] == pytest.approx(limited)
    assert found["server_max_frontend_loop"] == pytest.approx(cores)


def test_the_busiest_loop_counts_and_cores_of_one_part_add_up():
    calm, busy = np.cumsum([0.0, 0.2, 0.2, 0.2, 0.2]), np.cumsum([0.0, 0.3, 0.5, 0.95, 0.3])
    found = summaries(
        series(cpu__frontend0_s=calm, cpu__frontend1_s=busy, cpu__frontend0_loop_s=calm, cpu__frontend1_loop_s=busy),
        RUN,
    )
    assert found["server_mean_frontend_cpu_cores"] == pytest.approx((0.4 + 1.45) / 2)
    assert found["server_max_frontend_cpu_cores"] == pytest.approx(0.2 + 0.95)
    assert found["server_frontend_limited"] == pytest.approx(0.5)


@pytest.mark.parametrize("missing", [1, 2])
def test_samples_that_do_not_enclose_the_run_give_no_rate(missing):
    loop = np.arange(5.0)
    loop[:missing] = np.nan
    enclosed = missing == 1
    assert ("server_max_frontend_loop" in summaries(series(cpu__frontend0_loop_s=loop), RUN)) is enclosed


def test_gpus_are_averaged_over_the_run_and_the_fullest_memory_counts():
    found = summaries(
        series(
            gpu0__utilization_pct=[0, 50, 60, 70, 0], gpu1__utilization_pct=[0, 90, 90, 90, 0],
            gpu0__memory_mib=[9, 1, 5, 2, 9], gpu1__memory_mib=[9, 1, 2, 7, 99],
        ),
        RUN,
    )  # fmt: skip
    assert found["gpu_mean_utilization"] == pytest.approx(75)
    assert found["gpu_max_memory_mib"] == 7


def test_a_column_that_one_gpu_lacks_gives_no_metric():
    lacking = series(gpu0__utilization_pct=[0, 50, 60, 70, 0], gpu1__memory_mib=[1, 1, 1, 1, 1])
    assert "gpu_mean_utilization" not in summaries(lacking, RUN)


def test_energy_is_the_counters_difference_where_every_gpu_has_one():
    counted = series(gpu0__energy_j=[0, 100, 250, 500, 900], gpu0__power_w=[1, 1, 1, 1, 1])
    found = energy(counted, 2.0, 4)
    assert found == {
        "gpu_energy_j": 400.0,
        "gpu_energy_is_counter": 1.0,
        "gpu_mean_power_w": 200.0,
        "output_tokens_per_joule": 0.01,
    }


def sampled(times, **columns):
    named = {name.replace("__", "/"): np.array(values, float) for name, values in columns.items()}
    return Series(np.array(times, float), named, 1.7e9)


def test_power_that_nobody_sampled_for_a_while_is_not_guessed():
    held = sampled([-1, 0, 5, 10, 11], gpu0__power_w=[100] * 5)
    assert energy(held, 10.0, 1)["gpu_energy_j"] == pytest.approx(1000)
    missing = sampled([-1, 0, 4, 10, 11], gpu0__power_w=[100] * 5)  # 400 W for all we know
    assert energy(missing, 10.0, 1) == {}
    assert energy(sampled([-9, 0, 1], gpu0__power_w=[1] * 3), 1.0, 1)["gpu_energy_j"] == pytest.approx(1)


def test_a_counter_that_was_silent_in_mid_run_still_tells_what_it_grew_and_at_an_end_it_does_not():
    silent = sampled([-1, 0, 1, 29, 30, 31], gpu0__energy_j=[0, 100, 800, 20000, 20700, 20800])
    assert energy(silent, 30.0, 1)["gpu_energy_j"] == pytest.approx(20600)
    assert energy(sampled([-1, 29, 30], gpu0__energy_j=[0, 20000, 20700]), 30.0, 1) == {}
    assert energy(sampled([-1, 0, 31], gpu0__energy_j=[0, 100, 20800]), 30.0, 1) == {}


def test_a_counter_that_began_anew_is_none():
    anew = sampled([0, 1, 2], gpu0__energy_j=[100, 5, 300], gpu0__power_w=[100, 100, 100])
    assert energy(anew, 2.0, 1)["gpu_energy_j"] == pytest.approx(200)
    assert energy(anew, 2.0, 1)["gpu_energy_is_counter"] == 0


def test_energy_is_else_the_trapezoids_of_the_sampled_power():
    found = energy(series(gpu0__power_w=[100, 100, 200, 300, 300], gpu1__power_w=[10, 10, 10, 10, 10]), 2.0, 840)
    assert found["gpu_energy_j"] == pytest.approx(150 + 250 + 20)
    assert found["gpu_energy_is_counter"] == 0
    assert found["output_tokens_per_joule"] == pytest.approx(2.0)


def test_tokens_a_joule_are_of_replies_that_succeeded():
    failed = requests([(1.0, 1), (2.0, 3)], [(1.0, 9)], error=np.array(["", "reset"]))
    found = summaries(series(gpu0__power_w=[1, 1, 1, 1, 1]), failed)
    assert found["output_tokens_per_joule"] == pytest.approx(4 / 2)
