import itertools
import json
from dataclasses import replace

import pytest
from builders import run_config

from vbench.plan.forecast.estimate import Basis
from vbench.plan.reach.predictor import Predictor
from vbench.plan.rules import check_run
from vbench.plan.sizing.capacity import LIKELY, CapacityPredictor, find_measured, find_range
from vbench.schema import to_plain
from vbench.schema.errors import Refused
from vbench.schema.record import Failure, Reason, Record

SLO = {"ttft_ms": 500.0, "tpot_ms": 50.0}
GPU = {"memory_bandwidth_gb_s": 3350.0, "bf16_tflops": 989.5, "fp8_tflops": 1979.0, "link_gb_s": 900.0}
H100 = {"name": "h100", "product": "H100", "memory_mib": 81559} | GPU


def config(slo=SLO, gpus=1, **load):
    lengths = {"lengths": "random", "input_len": 200, "output_len": 100}
    return check_run(
        run_config(
            hardware={"gpus": gpus, "gpu": H100},
            parallelism={"tensor_parallel_size": None},
            workload=lengths | {"slo": slo} | load,
        )
    )


def record(made, ended="1", **changes):
    found = Record("key", "session", "name", "size", "", ended, to_plain(made), {"engine": "vllm 0.26.0"})
    return replace(found, **changes)


def searched(passed, **metrics):
    return record(config(search="request_rate"), metrics={"slo_request_rate": passed} | metrics)


def paced(rate, ttft, tpot):
    return record(config(request_rate=rate), metrics={"p99_ttft_ms": ttft, "p99_tpot_ms": tpot})


def test_a_search_of_the_system_with_the_same_slo_is_its_capacity():
    found = find_measured(config(), [searched(30.0, slo_level_failed=32.0)])
    assert (found.value, found.low, found.high, found.basis) == (30, 30, 32, Basis.measured)
    assert "vllm 0.26.0" in found.source


def test_a_search_in_which_no_level_failed_may_bear_5_percent_more():
    found = find_measured(config(), [searched(30.0)])
    assert (found.low, found.high) == (30.0, pytest.approx(31.5))


@pytest.mark.parametrize(
    "asked",
    [config(gpus=2), config(slo=SLO | {"ttft_ms": 400.0}), config(output_len=50)],
    ids=["gpus", "slo", "length"],
)
def test_of_another_system_slo_or_length_it_tells_nothing(asked):
    assert find_measured(asked, [searched(30.0)]) is None


def test_an_invalid_search_tells_nothing_and_one_that_ran_out_of_memory_tells_all():
    invalid = replace(searched(30.0), invalid=[Reason("untrusted_probes", "x")])
    assert find_measured(config(), [invalid]) is None
    failed = record(config(search="request_rate"), failure=Failure("oom_load", "x"))
    assert find_measured(config(), [failed]).value == 0
    later = replace(searched(30.0), ended_at="2")
    assert find_measured(config(), [later, failed]).value == 30


def test_between_a_rate_that_passed_and_one_that_failed_the_capacity_is_where_the_worst_objective_meets_its_limit():
    found = find_measured(config(), [paced(10.0, 50.0, 25.0), paced(40.0, 100.0, 100.0)])
    assert (round(found.value), found.low, found.high) == (20, 10, 40)
    assert found.basis is Basis.interpolated


def test_rates_that_all_passed_or_all_failed_tell_no_capacity():
    assert find_measured(config(), [paced(10.0, 50.0, 25.0)]) is None
    assert find_measured(config(), [paced(10.0, 900.0, 25.0)]) is None


def test_a_rate_whose_requests_wait_in_the_client_tells_no_capacity():
    """Its latencies begin when a place is free: with a limit to what is in flight, any rate seems to pass."""
    capped = record(config(request_rate=40.0, max_concurrency=8), metrics={"p99_ttft_ms": 50.0, "p99_tpot_ms": 25.0})
    assert find_measured(config(), [capped, paced(80.0, 900.0, 100.0)]) is None
    assert find_measured(config(), [paced(40.0, 50.0, 25.0), paced(80.0, 900.0, 100.0)]).low == 40.0


def test_a_prediction_lies_in_its_range_and_a_tighter_slo_bears_less():
    predictor = CapacityPredictor(Predictor.default())
    loose, tight = (predictor.predict(config(slo=slo)) for slo in (SLO, {"ttft_ms": 20.0, "tpot_ms": 3.0}))
    likely = predictor.predict(config(), LIKELY)
    assert loose.low < likely.low < loose.value < likely.high < loose.high
    assert tight.value < loose.value
    assert loose.basis is Basis.predicted
    assert predictor.predict(config(slo={"ttft_ms": 1e-6})).value == 0


def test_a_range_moves_every_limit_by_the_error_of_its_latency_and_the_rate_by_that_of_the_throughput():
    off = replace(Predictor.default(), errors=(0.1, 0.0, 0.0), tail_errors=(0.2, 0.4))
    asked = []

    def find(limits):
        asked.append(dict(limits))
        return limits["ttft_ms"] / 100

    value, low, high = find_range(find, SLO, off, 2.0)
    tighter, looser = {"ttft_ms": 500 / 1.8, "tpot_ms": 50 / 1.4}, {"ttft_ms": 500 * 1.8, "tpot_ms": 50 * 1.4}
    assert asked == [SLO, pytest.approx(tighter), pytest.approx(looser)]
    assert (value, low, high) == pytest.approx((5.0, 5 / 1.8 / 1.2, 5 * 1.8 * 1.2))


@pytest.mark.parametrize("slo", [{"ttft_ms": 500.0}, {"tpot_ms": 200.0}, {"e2el_ms": 60_000.0}])
def test_no_limit_is_so_loose_that_a_replica_bears_more_than_it_serves_all_the_time(slo):
    """500 requests at any rate end within a minute: it is the queue of those that follow that never ends."""
    predictor = Predictor.default()
    served = predictor.predict(config(num_prompts=8000)).output_throughput.value / 100  # requests/s, of 100 tokens each
    assert 0.5 * served < CapacityPredictor(predictor).predict(config(slo=slo)).value < 1.1 * served


def replay(path, replies, count=None):
    rows = [{"timestamp": 100 * row, "input_length": 200, "output_length": reply} for row, reply in enumerate(replies)]
    path.write_text("\n".join(map(json.dumps, rows)))
    load = {"lengths": "trace", "path": str(path), "trace": {"time_unit": "ms"}, "slo": SLO}
    made = run_config(hardware={"gpus": 1, "gpu": H100}, workload=load)
    return check_run(replace(made, workload=replace(made.workload, num_prompts=count)))


def test_a_trace_of_few_rows_tells_no_rate_that_is_borne_all_the_time(tmp_path):
    whole, few = (replay(tmp_path / "trace.jsonl", [100] * 2000, count) for count in (None, 1999))
    assert 1 < CapacityPredictor(Predictor.default()).predict(whole).value < 200
    with pytest.raises(Refused, match=r"^workload\.num_prompts=1999: so few rows"):
        CapacityPredictor(Predictor.default()).predict(few)


def test_a_trace_whose_later_replies_are_longer_is_borne_as_one_of_the_same_replies_in_another_order(tmp_path):
    """Its requests take longer and longer at any rate, but not because of a queue."""
    growing = [100] * 1000 + [200] * 1000
    mixed, grown = (
        CapacityPredictor(Predictor.default()).predict(replay(tmp_path / name, replies)).value
        for name, replies in (("mixed.jsonl", [100, 200] * 1000), ("grown.jsonl", growing))
    )
    assert 0.6 * mixed < grown < mixed  # the later half alone asks for 0.75 as many


@pytest.mark.slow
def test_a_looser_limit_never_gives_less_even_if_each_is_asked_by_a_command_of_its_own():
    slos = [SLO | {"tpot_ms": 0.5 * 1.3**power} for power in range(12)]  # 0.5 to 9 ms
    slos.append({"ttft_ms": SLO["ttft_ms"]})
    found = [CapacityPredictor(Predictor.default()).predict(config(slo=slo)) for slo in slos]
    for tighter, looser in itertools.pairwise(found):
        assert tighter.value <= looser.value
        assert tighter.low <= looser.low
        assert tighter.high <= looser.high
    assert found[0].value < found[-1].value
