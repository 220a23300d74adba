"""`vbench size measure=true`: what it measures in which order, when it stops, and how it goes on after a kill.

The campaign that measures is replaced by one that writes the record of a search; all else is as in the command.
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import records
from builders import run_config

from vbench.campaign.planning.sizing import Sizing
from vbench.campaign.planning.spending import count_spent_seconds
from vbench.campaign.story import INTERRUPTED
from vbench.plan.forecast.estimate import Basis
from vbench.plan.rules import check_run
from vbench.plan.sizing.capacity import find_measured
from vbench.schema import to_plain
from vbench.schema.errors import Refused
from vbench.schema.record import Reason, Record

GPU = {"memory_bandwidth_gb_s": 3350.0, "bf16_tflops": 989.5, "fp8_tflops": 1979.0, "link_gb_s": 900.0}
H100 = {"name": "h100", "product": "H100", "memory_mib": 81559} | GPU
LOAD = {"lengths": "random", "input_len": 200, "output_len": 50, "slo": {"ttft_ms": 500.0, "tpot_ms": 50.0}}
BEGAN = datetime(2026, 11, 20, 10, tzinfo=timezone.utc)
START_S, SEARCH_S = 60.0, 300.0


def config(gpus, price="h100", **parts):
    gpu = H100 | {"name": price}
    return check_run(
        run_config(
            hardware={"gpus": gpus, "gpu": gpu},
            parallelism={"tensor_parallel_size": None},
            workload=LOAD,
            experiment="size",
            **parts,
        )
    )


class World:
    """Systems that bear so many requests a second, by their GPUs; each search leaves its record."""

    def __init__(self, **capacities):
        self.capacities, self.searched = capacities, []

    def search(self, made):
        name = f"{made.hardware.gpus}x{made.hardware.gpu.name}"
        self.searched.append(name)
        save(made, self.capacities[f"{made.hardware.gpu.name}_{made.hardware.gpus}"])
        return 0


def save(made, capacity, **changes):
    """The record of a search, which began after a start and took SEARCH_S."""
    name = f"{made.hardware.gpus}x{made.hardware.gpu.name}"
    ended = BEGAN + timedelta(seconds=SEARCH_S)
    found = Record(
        f"key {name}", f"session {name}", name, "size", BEGAN.isoformat(), ended.isoformat(), to_plain(made),
        {"engine": "vllm 0.32.0"}, {"start_s": START_S},
        {"slo_request_rate": capacity, "slo_level_failed": capacity * 1.05},
    )  # fmt: skip
    folder = Path("multirun/size") / name / "search"
    folder.mkdir(parents=True, exist_ok=True)
    replace(found, **changes).save(folder)


@pytest.fixture
def home(tmp_path, monkeypatch):
    records.empty_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def size(prices, *gpus, rate=50.0):
    return Sizing([config(count, gpu) for gpu in prices for count in gpus], rate, prices)


def bases(home):
    rows = json.loads((home / "multirun/size/size/size.json").read_text())
    assert all(each["basis"] == each["requests_per_s_per_replica"]["basis"] for each in rows)
    return {f"{each['gpu']}_{each['tensor_parallel_size']}": each["basis"] for each in rows}


def test_it_measures_what_may_be_cheapest_until_no_other_system_can_be_and_marks_each_row(home, capsys):
    world = World(h100_1=20.0, other_1=30.0, h100_2=500.0, other_2=500.0)
    asked = size({"h100": 2.0, "other": 20.0}, 1, 2)
    told = asked.measure(None, world.search)
    assert world.searched == ["1xh100", "2xh100"]
    assert "the winner is certain" in told
    assert asked.carry_out(None, None) == 0
    assert bases(home) == {
        "h100_1": "measured", "h100_2": "measured", "other_1": "predicted", "other_2": "predicted",
    }  # fmt: skip
    assert "h100 tp2 with 1 replica (2 GPUs) is the cheapest, $4.00 an hour; its capacity is measured" in (
        capsys.readouterr().out
    )


def test_a_winner_that_a_rival_beats_only_at_the_far_end_of_its_range_is_settled_and_not_certain(home):
    prices = {"h100": 2.0, "other": 2.1}  # of equal GPUs, so that they are predicted alike
    rival = size(prices, 1)._rank([])[1].system
    rate = (rival.outlook.high + rival.capacity.high) / 2  # one replica bears it only beyond the likely range
    world = World(h100_1=0.6 * rate, other_1=0.6 * rate)
    told = size(prices, 1, rate=rate).measure(None, world.search)
    assert (world.searched, told.partition(":")[0]) == (["1xh100"], "the winner is settled")
    assert "1xother would be cheaper only beyond the likely range" in told


def test_a_measured_rival_is_no_longer_one_that_could_be_cheaper(home):
    """Its search leaves 5 % between what passed and what failed, which may hold the rate."""
    world = World(h100_1=100.0, other_1=98.0)
    told = size({"h100": 2.0, "other": 1.9}, 1, rate=100.0).measure(None, world.search)
    assert sorted(world.searched) == ["1xh100", "1xother"]
    assert told.startswith("the winner is certain")


def test_it_stops_before_a_session_that_would_exceed_the_budget_and_goes_on_with_a_larger_one(home):
    world = World(h100_1=20.0, h100_2=500.0)
    told = size({"h100": 2.0}, 1, 2).measure(0.4, world.search)
    assert world.searched == ["1xh100"]
    assert f"the budget is spent: {(START_S + SEARCH_S) / 3600:.2f} of 0.4 GPU hours" in told
    told = size({"h100": 2.0}, 1, 2).measure(2.0, world.search)
    assert world.searched == ["1xh100", "2xh100"]
    assert "the winner is certain" in told


def test_a_search_that_goes_on_by_itself_ends_the_command_and_the_same_command_finds_its_record(home):
    world, left = World(h100_1=400.0), []

    def leave(made):
        left.append(made)
        return INTERRUPTED

    with pytest.raises(KeyboardInterrupt):
        size({"h100": 2.0}, 1).measure(None, leave)
    save(left[0], 400.0)
    assert "the winner is certain" in size({"h100": 2.0}, 1).measure(None, world.search)
    assert world.searched == []


def test_a_system_that_could_not_be_measured_is_named_and_no_dearer_one_is_measured_for_it(home):
    searched = []

    def search_on_a_busy_host(made):
        searched.append(made.hardware.gpus)
        save(made, 400.0, invalid=[Reason("untrusted_probes", "x")])
        return 1

    told = size({"h100": 2.0}, 1, 8).measure(None, search_on_a_busy_host)
    assert searched == [1]
    assert told == "1xh100 could not be measured; rerun=invalid or rerun=failed tries it again"


def test_gpus_with_a_price_are_not_ranked_with_gpus_that_have_none():
    with pytest.raises(Refused, match=r"prices: other has none and others have"):
        Sizing([config(1), config(1, "other")], 50.0, {"h100": 2.0})


def test_sessions_that_nobody_waits_for_are_refused(home):
    asked = Sizing([config(1, launcher={"detach": True})], 50.0, {"h100": 2.0})
    with pytest.raises(Refused, match=r"launcher.detach=true: measure=true waits"):
        asked.carry_out("local", None)


def test_time_spent_counts_each_start_once_and_what_was_measured_before_a_kill():
    def run(begin, end, start_s, **changes):
        times = ((BEGAN + timedelta(seconds=each)).isoformat() for each in (begin, end))
        return Record("key", "session", "name", "size", *times, {}, {}, {"start_s": start_s}, **changes)

    first = [run(0, 100, 50.0, parent="search"), run(100, 150, 50.0, parent="search")]
    resumed = [run(1000, 1030, 60.0, parent="search"), run(1000, 1050, 60.0)]
    assert count_spent_seconds(first + resumed) == 50 + 150 + 60 + 50


def test_probes_of_an_unfinished_search_and_runs_of_few_requests_tell_no_capacity():
    def paced(rate, ttft, **changes):
        made = replace(config(1), workload=replace(config(1).workload, request_rate=rate))
        found = Record("key", "session", "name", "size", "", "1", to_plain(made), {"engine": "vllm 0.32.0"})
        return replace(found, metrics={"p99_ttft_ms": ttft, "p99_tpot_ms": 5.0}, **changes)

    whole = [paced(10.0, 50.0), paced(40.0, 5000.0)]
    assert find_measured(config(1), whole).basis is Basis.interpolated
    assert find_measured(config(1), [replace(each, parent="search") for each in whole]) is None
    capped = [replace(each, config={**each.config, "workload": {**each.config["workload"], "max_concurrency": 4}})
              for each in whole]  # fmt: skip
    assert find_measured(config(1), capped) is None
    few = [Reason("few_samples", "x")]
    assert find_measured(config(1), [replace(each, warnings=few) for each in whole]) is None
