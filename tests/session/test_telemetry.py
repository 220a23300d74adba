"""What servers and GPUs say of a run: sampled, kept, summed up and drawn."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import builders
import numpy as np
import pytest
import records
from servers import served, session

from vbench import tracking
from vbench.engine.endpoint import Endpoint
from vbench.engine.external import ExternalServer
from vbench.host.cputime import ServerProcesses
from vbench.host.gpus import GpuReading
from vbench.host.leases import HostLease
from vbench.metrics.occupancy import summaries
from vbench.schema.record import TELEMETRY
from vbench.schema.series import Series, growth, replace_by_rates
from vbench.session import telemetry
from vbench.session.telemetry import gpu_columns, server_columns
from vbench.tracking.curves import MOST_A_RUN, MOST_A_SERIES, points

HERE = Path(__file__).parents[1]
NAN = float("nan")
NOTHING = HostLease(frozenset())


def made(times, missed=0, **columns):
    """A series; columns are named group__name."""
    named = {name.replace("__", "/"): np.array(values, float) for name, values in columns.items()}
    return Series(np.array(times, float), named, started_at=1_800_000_000.0, missed=missed)


def run_of(seconds, tokens):
    """Requests of a run that lasted so long: one reply, all of its tokens at the end."""
    return builders.requests([(seconds, tokens)])


# ---- the series


def test_rows_of_different_sources_share_one_time_axis_and_are_nan_where_the_other_spoke():
    found = Series.from_samples(
        [(12.0, {"gpu0/power_w": 300.0}), (11.0, {"server/requests_running": 4.0})], 10.0, 5.0, missed=1
    )
    assert found.times.tolist() == [1.0, 2.0]
    assert found.samples("gpu0/power_w")[0].tolist() == [2.0]
    assert found.samples("server/requests_running")[1].tolist() == [4.0]
    assert found.samples("gpu1/power_w")[0].tolist() == []


def test_a_series_is_saved_and_loaded_as_it_was(tmp_path):
    before = made([-1, 0, 1], gpu0__power_w=[100, NAN, 120], gpu10__power_w=[1, 2, 3], missed=2)
    before.save(tmp_path / TELEMETRY)
    after = Series.load(tmp_path / TELEMETRY)
    assert (after.started_at, after.missed, after.gpus()) == (before.started_at, 2, ["gpu0", "gpu10"])
    np.testing.assert_array_equal(after.times, before.times)
    np.testing.assert_array_equal(after.columns["gpu0/power_w"], before.columns["gpu0/power_w"])
    assert [path.name for path in tmp_path.iterdir()] == [TELEMETRY]


def test_a_growing_column_becomes_its_rate_over_its_own_samples():
    found = replace_by_rates(
        made([0, 1, 2, 4], cpu__frontend0_s=[10, NAN, 30, 130]), {"cpu/frontend0_s": "cpu/frontend0_cores"}
    )
    assert list(found.columns) == ["cpu/frontend0_cores"]
    np.testing.assert_array_equal(found.columns["cpu/frontend0_cores"], [NAN, NAN, 10, 50])


def test_replicas_are_summed_but_the_use_of_their_caches_is_a_mean():
    one, two = {"requests_running": 3.0, "kv_cache_usage": 0.2}, {"requests_running": 5.0, "kv_cache_usage": 0.6}
    together = {"server/requests_running": 8.0, "server/kv_cache_usage": 0.4, "server/kv_cache_fullest": 0.6}
    assert server_columns([one, two]) == together
    several = {"kv_cache_usage": 0.5, "kv_cache_fullest": 0.9}  # of one server
    assert server_columns([several]) == {"server/kv_cache_usage": 0.5, "server/kv_cache_fullest": 0.9}
    assert server_columns([one, several])["server/kv_cache_fullest"] == 0.9
    assert server_columns([one]) == {"server/requests_running": 3.0, "server/kv_cache_usage": 0.2}
    assert server_columns([one, {"requests_running": 5.0}]) == {"server/requests_running": 8.0}


# ---- the summaries


def test_energy_is_the_counters_difference_between_the_runs_ends():
    # 50 J a second until 0, 200 after; the run is from 0 to 2.
    found = made([-1, 1, 3], gpu0__energy_j=[1000, 1250, 1650], gpu0__power_w=[1, 1, 1])
    metrics = summaries(found, run_of(2.0, 90))
    assert metrics["gpu_energy_is_counter"] == 1
    assert metrics["gpu_energy_j"] == pytest.approx(1450 - 1125)
    assert metrics["gpu_mean_power_w"] == pytest.approx(325 / 2)
    assert metrics["output_tokens_per_joule"] == pytest.approx(90 / 325)


def test_without_a_counter_energy_is_the_integral_of_the_sampled_power():
    found = made([0, 1, 2], gpu0__power_w=[100, 300, 300])
    metrics = summaries(found, run_of(2.0, 50))
    assert metrics["gpu_energy_is_counter"] == 0
    assert metrics["gpu_energy_j"] == pytest.approx(200 + 300)
    assert metrics["output_tokens_per_joule"] == pytest.approx(0.1)


def test_counters_are_used_only_where_every_gpu_has_one_and_all_gpus_count():
    times = [0, 1, 2]
    both = made(times, gpu0__energy_j=[0, 100, 200], gpu1__energy_j=[5, 305, 605])
    assert summaries(both, run_of(2.0, 1))["gpu_energy_j"] == pytest.approx(800)
    one = made(times, gpu0__energy_j=[0, 100, 200], gpu0__power_w=[90] * 3, gpu1__power_w=[300] * 3)
    metrics = summaries(one, run_of(2.0, 1))
    assert (metrics["gpu_energy_is_counter"], metrics["gpu_energy_j"]) == (0, pytest.approx(780))


def test_a_gpu_that_tells_nothing_leaves_the_energy_of_all_unknown():
    one, lost = GpuReading(100.0, 5.0, 1980.0, 90.0, 1e6), GpuReading(*[NAN] * 5)
    assert gpu_columns([lost, lost]) == {}
    rows = [(float(at), gpu_columns([replace(one, energy_j=1e6 + 100 * at), lost])) for at in (0, 1, 2)]
    both = Series.from_samples(rows, 0.0, 1.7e9, 0)
    assert both.gpus() == ["gpu0", "gpu1"]
    assert not {"gpu_energy_j", "gpu_mean_utilization", "gpu_max_memory_mib"} & summaries(both, run_of(2.0, 90)).keys()


@pytest.mark.parametrize("times", [[0.5, 1, 2], [0, 1, 1.5], [0]])
def test_samples_that_do_not_enclose_the_run_tell_no_energy(times):
    assert np.isnan(growth(np.array(times), np.arange(len(times)) * 100.0, 2.0))
    assert "gpu_energy_j" not in summaries(made(times, gpu0__energy_j=times), run_of(2.0, 1))


def test_means_and_maxima_are_of_the_samples_during_the_run():
    found = made(
        [-1, 0, 1, 2, 3],
        server__requests_running=[99, 2, 4, NAN, 99],
        server__requests_waiting=[9, 0, 3, 0, 9],
        server__kv_cache_usage=[1, 0.1, 0.5, 0.3, 1],
        gpu0__utilization_pct=[0, 80, 90, 100, 0],
        gpu1__utilization_pct=[0, 40, 50, 60, 0],
        gpu0__memory_mib=[9e9, 700, 800, 750, 9e9],
        gpu1__memory_mib=[9e9, 900, 850, 850, 9e9],
        missed=3,
    )
    metrics = summaries(found, run_of(2.0, 1))
    assert metrics["server_max_requests_running"] == 4
    assert metrics["server_mean_requests_running"] == 3
    assert metrics["server_max_requests_waiting"] == 3
    assert metrics["server_mean_kv_cache_usage"] == pytest.approx(0.3)
    assert metrics["server_max_kv_cache_usage"] == 0.5
    assert metrics["gpu_mean_utilization"] == 70
    assert metrics["gpu_max_memory_mib"] == 900
    assert metrics["telemetry_missed"] == 3


def test_without_gpus_there_are_no_keys_of_gpus_and_without_samples_no_keys_at_all():
    keys = summaries(made([0, 1], server__requests_running=[1, 2]), run_of(1.0, 1))
    assert not [key for key in keys if key.startswith("gpu") or "joule" in key]
    assert summaries(made([]), run_of(1.0, 1)) == {"telemetry_missed": 0}


def test_a_run_of_which_nothing_was_sent_has_no_energy():
    nothing = builders.requests([], finished=np.array([NAN]), error=np.array(["never sent"]))
    assert "gpu_energy_j" not in summaries(made([-1, 0, 1], gpu0__power_w=[9, 9, 9]), nothing)


def test_the_cores_of_each_part_are_a_mean_of_the_run_and_a_maximum_between_samples():
    # From 0 to 2 s: two front ends, whose loops use 0.95 and 0.5 of a core in the first second, then 0.2 and 0.3.
    found = made(
        [-1, 0, 1, 2, 3],
        cpu__frontend0_s=[5, 5, 6, 6.3, 9],
        cpu__frontend0_loop_s=[4, 4, 4.95, 5.15, 5.15],
        cpu__frontend1_s=[1, 1, 1.5, 1.8, 1.8],
        cpu__frontend1_loop_s=[1, 1, 1.5, 1.8, 1.8],
        cpu__engine_core0_s=[0, 1, 2, 3, 4],
    )
    metrics = summaries(found, run_of(2.0, 1))
    assert metrics["server_mean_frontend_cpu_cores"] == pytest.approx(2.1 / 2)
    assert metrics["server_max_frontend_cpu_cores"] == pytest.approx(1.5)
    assert metrics["server_mean_engine_core_cpu_cores"] == metrics["server_max_engine_core_cpu_cores"] == 1
    assert metrics["server_max_frontend_loop"] == pytest.approx(0.95)
    assert metrics["server_frontend_limited"] == 0.5
    assert "server_mean_worker_cpu_cores" not in metrics


def test_a_process_that_ended_in_the_run_leaves_no_figure_of_its_part():
    found = made([-1, 0, 1, 2], cpu__frontend0_s=[0, 0, 1, 2], cpu__worker0_s=[0, 1, NAN, NAN])
    metrics = summaries(found, run_of(1.5, 1))
    assert metrics["server_mean_frontend_cpu_cores"] == 1
    assert "server_mean_worker_cpu_cores" not in metrics


# ---- the watch


def watched(server, enough, interval_s=0.02):
    """The series of a watch over this server, held until `enough` of what it has found."""
    processes = server.find_processes() if server.process else ServerProcesses()

    async def story():
        started = time.perf_counter()
        async with telemetry.watch([server.control], processes, NOTHING, interval_s) as watch:
            while not enough(watch.series(started)):  # noqa: ASYNC110  the watch has no event for it
                await asyncio.sleep(0.01)
        return watch.series(started)

    return story()


def test_a_server_is_sampled_again_and_again_with_time(tmp_path):
    async def look(servers):
        return await watched(servers[0], lambda found: len(found.times) >= 4)

    found = served(session(), tmp_path, during=look)
    assert found.missed == 0
    assert (np.diff(found.times) > 0).all()
    assert {name.partition("/")[2] for name in found.columns if name.startswith("server/")} == {
        "requests_running", "requests_waiting", "kv_cache_usage", "generation_tokens", "prompt_tokens", "preemptions",
    }  # fmt: skip
    assert set(found.samples("server/requests_running")[1]) == {0}
    assert {name for name in found.columns if not name.startswith("server/")} == {
        "cpu/frontend0_s",
        "cpu/frontend0_loop_s",
    }
    cpu_s = found.samples("cpu/frontend0_s")[1]
    assert (np.diff(cpu_s) >= 0).all()
    assert cpu_s[0] > 0  # it has started
    assert found.started_at == pytest.approx(time.time(), abs=3600)


def test_a_server_that_does_not_answer_is_missed_and_ends_nothing():
    async def nobody():
        async with Endpoint("http://127.0.0.1:9") as control:
            return await watched(ExternalServer(None, control), lambda found: found.missed >= 3)

    found = asyncio.run(nobody())
    assert found.missed >= 3
    assert len(found.times) == 0


def test_what_fails_in_the_block_is_raised_and_the_sampling_ends():
    async def story():
        async with (
            Endpoint("http://127.0.0.1:9") as control,
            telemetry.watch([control], ServerProcesses(), NOTHING, 0.01),
        ):
            raise KeyError("the load")

    with pytest.raises(KeyError, match="the load"):
        asyncio.run(story())


WATCH = """
import asyncio, json, time
from vbench.host.cputime import ServerProcesses
from vbench.host.gpus import GpuReading
from vbench.host.leases import HostLease
from vbench.session import telemetry
async def story():
    cards = HostLease(frozenset(), ("GPU-fake-1", "GPU-fake-0", "GPU-fake-7"))
    async with telemetry.watch([], ServerProcesses(), cards, 0.01) as watch:
        while len((found := watch.series(0.0)).times) < 3:
            await asyncio.sleep(0.01)
    return found
found = asyncio.run(story())
print(json.dumps({name: values.tolist() for name, values in found.columns.items()}))
"""


def gpus_watched(**env):
    path = os.pathsep.join([str(HERE / "fakes"), str(HERE.parent)])
    given = {**os.environ, "PYTHONPATH": path, "FAKE_GPUS": "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3", **env}
    return json.loads(subprocess.check_output([sys.executable, "-c", WATCH], env=given, text=True))


def test_gpus_are_numbered_by_their_place_in_the_share_and_one_that_is_lost_has_no_value():
    found = gpus_watched()
    assert {name.partition("/")[0] for name in found} == {"gpu0", "gpu1", "gpu2"}
    assert np.isnan([value for name, values in found.items() if name.startswith("gpu2/") for value in values]).all()
    assert set(found["gpu0/power_w"]) == {200.0}
    assert set(found["gpu1/power_w"]) == {100.0}
    assert set(found["gpu1/memory_mib"]) == {3.0}
    assert set(found["gpu1/sm_clock_mhz"]) == {1980.0}
    assert set(found["gpu1/utilization_pct"]) == {90.0}
    assert found["gpu0/energy_j"] == sorted(found["gpu0/energy_j"])


def test_a_card_without_the_energy_counter_is_told_by_its_power_alone():
    found = gpus_watched(FAKE_GPU_ENERGY="0")
    assert "gpu0/power_w" in found
    assert "gpu0/energy_j" not in found


# ---- in MLflow


def test_long_series_are_drawn_with_fewer_points_that_keep_both_ends():
    found = made(range(1000), server__requests_running=range(1000))
    drawn = points(found)
    assert len(drawn) == MOST_A_SERIES
    assert (drawn[0].value, drawn[-1].value) == (0, 999)
    assert (drawn[-1].step, drawn[-1].at_ms) == (999, 1_800_000_999_000)
    eight = {f"gpu{gpu}__{name}": range(1000) for gpu in range(8) for name in ("power_w", "memory_mib", "sm_clock_mhz")}
    assert len(points(made(range(1000), **eight))) <= MOST_A_RUN


def test_counters_are_drawn_as_rates_and_the_energy_total_not_at_all():
    columns = {"gpu0__energy_j": [1, 2], "gpu0__power_w": [1, 1], "cpu__frontend0_s": [7, 7.5]}
    columns |= {"cpu__host_capacity_s": [9, 11], "cpu__host_longest_wait_s": [0, 0.5]}
    drawn = points(made([0, 1], server__generation_tokens=[5, 25], **columns))
    assert {point.key for point in drawn} == {"server/generation_tokens_per_s", "gpu0/power_w", "cpu/frontend0_cores"}
    assert [point.value for point in drawn if point.key.startswith(("server", "cpu"))] == [20, 0.5]


def test_a_runs_series_are_filed_with_it_and_are_no_results_of_the_query(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    records.empty_store(tmp_path)
    folder = records.saved(records.record(), tmp_path / "out")
    columns = {f"gpu{gpu}__{name}": np.arange(900) for gpu in (0, 3) for name in ("power_w", "memory_mib")}
    made(range(900), **columns).save(folder / TELEMETRY)
    client, run_id = MlflowClient(tracking_uri=tracking.store()), tracking.file(folder)
    history = sorted(client.get_metric_history(run_id, "gpu3/power_w"), key=lambda point: point.step)
    assert len(history) == MOST_A_SERIES
    assert (history[-1].step, history[-1].value, history[-1].timestamp) == (899, 899, 1_800_000_899_000)
    assert TELEMETRY in {each.path for each in client.list_artifacts(run_id)}
    table = tracking.query()
    assert table["metrics.output_throughput"].tolist() == [9600]
    assert not [column for column in table if "/" in column]
    assert tracking.query(where="metrics.`gpu3/power_w` > 1")["run_id"].tolist() == [run_id]


def test_a_series_that_is_broken_is_named(tmp_path):
    folder = records.saved(records.record(), tmp_path / "out")
    (folder / TELEMETRY).write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(tracking.UnreadableRecord, match="BadZipFile"):
        tracking.file(folder)
