"""The steady window: which requests began in it, and what it says of them."""

from dataclasses import replace

import numpy as np
import pytest
import records
from builders import requests, run_config

from vbench.metrics.definitions import metrics
from vbench.metrics.goodput import slo_metrics
from vbench.metrics.reach import reach
from vbench.metrics.steady import steady_metrics
from vbench.schema import to_plain
from vbench.schema.record import REQUESTS
from vbench.schema.structure import singles
from vbench.tracking.rederived import complete_metrics

GPU = {"name": "h100", "product": "H100", "memory_mib": 81559, "memory_bandwidth_gb_s": 1000.0, "bf16_tflops": 100.0}


def closed_loop(waves, places=2, slow_first=0.0):
    """So many waves of requests, one a second, each request answered in two chunks after 0.5 s and 1 s."""
    sent = [float(wave) for wave in range(waves) for _ in range(places)]
    replies = [[(at + 0.5 + slow_first * (at == 0), 1), (at + 1.0, 3)] for at in sent]
    return requests(*replies, sent=sent)


def test_the_first_replies_only_fill_the_places():
    found = steady_metrics(closed_loop(5, slow_first=0.4))
    assert found["steady_requests"] == 8
    assert found["steady_p99_ttft_ms"] == found["steady_median_ttft_ms"] == pytest.approx(500)
    assert found["steady_mean_tpot_ms"] == pytest.approx(500 / 3)
    assert found["steady_median_e2el_ms"] == pytest.approx(1000)
    assert found["steady_median_itl_ms"] == pytest.approx(500 / 3)


def test_a_request_that_began_a_moment_before_the_last_of_them_ended_is_left_out():
    made = requests([(1.0, 1)], [(1.5, 1)], [(2.0, 1)], [(3.0, 1)], [(4.0, 1)], sent=[0.0, 0.0, 1.49, 1.5, 3.0])
    assert steady_metrics(made)["steady_requests"] == 2


@pytest.mark.parametrize("places", [1, 2, 40])
def test_throughput_is_what_is_served_even_if_requests_begin_in_groups(places):
    found = steady_metrics(closed_loop(5, places))
    assert found["steady_window_s"] == pytest.approx(3.0)
    assert found["steady_request_throughput"] == pytest.approx(places)
    assert found["steady_output_token_throughput"] == pytest.approx(4 * places)


def test_a_searchs_throughput_is_what_is_served_too():
    made = closed_loop(5, 40)
    found = slo_metrics(made, made.sent >= 1.0, {"ttft_ms": 600})
    assert found["slo_output_throughput"] == pytest.approx(160)
    assert found["slo_request_goodput"] == pytest.approx(40)
    assert found["slo_window_s"] == pytest.approx(3.0)


def test_the_steady_rates_of_an_earlier_version_are_computed_again_when_it_is_filed(tmp_path):
    made = closed_loop(5, 40)
    made.save(tmp_path / REQUESTS)
    wrong = {"steady_window_s": 3.2, "steady_output_token_throughput": 190.0, "completed": 200}
    wrong |= {"pct_of_roofline": 50.0, "client_ttft_lag_p99_s": 0.001}
    record = records.record(metrics=wrong)
    right = complete_metrics(record, tmp_path).metrics
    assert right["steady_output_token_throughput"] == pytest.approx(160)
    assert (right["pct_of_roofline"], right["completed"]) == (50.0, 200)
    assert complete_metrics(record, tmp_path / "elsewhere").metrics == record.metrics  # no raw columns


def test_the_rates_of_an_earlier_version_with_a_warm_up_are_computed_again_when_it_is_filed(tmp_path):
    made = closed_loop(5, 40)
    made.finished[:40], made.chunk_times[1:80:2] = 1.5, 1.5  # of the first wave the last tokens
    made.save(tmp_path / REQUESTS)
    config = to_plain(run_config(workload={"warmup_s": 1.0, "slo": {"ttft_ms": 600}}))
    wrong = {"warmup_requests": 40.0, "output_throughput": 160.0, "request_goodput": 40.0, "completed": 160}
    right = complete_metrics(records.record(metrics=wrong, config=config), tmp_path).metrics
    assert right["output_throughput"] == pytest.approx((160 * 4 + 40 * 3) / 4)
    assert right["request_throughput"] == right["request_goodput"] == pytest.approx(200 / 4)
    assert right["completed"] == 160


def test_the_reach_of_an_earlier_version_whose_warm_up_hit_the_cache_is_computed_again_when_it_is_filed(tmp_path):
    structure = singles([[0]] * 4)
    made = requests(*([(at + 1.0, 1)] for at in range(4)), sent=[0.0, 1.0, 2.0, 3.0], input_tokens=np.full(4, 40))
    made = replace(made, carried=np.zeros(4, np.int64)).with_structure(structure, np.array([40]))  # 32 of 40 can hit
    made.save(tmp_path / REQUESTS)
    config = run_config(workload={"warmup_s": 2.0}, hardware={"gpus": 1, "gpu": GPU})
    wrong = {"pct_of_roofline": 50.0, "mfu": 0.0, "prefix_hits_measured": 0.6, "cached_input_tokens": 96.0}
    record = records.record(metrics=wrong | {"server_prefix_cache_hits": 96.0}, config=to_plain(config))
    right = reach(made.select(made.sent >= 2.0), config, np.full(2, 32.0))
    assert complete_metrics(record, tmp_path).metrics["mfu"] == pytest.approx(right["mfu"])


def test_the_reach_of_an_earlier_version_is_computed_again_when_it_is_filed_and_what_is_not_known_left_out(tmp_path):
    made = closed_loop(5, 4)
    made.save(tmp_path / REQUESTS)
    config = run_config(hardware={"gpus": 1, "gpu": GPU})
    wrong = {"pct_of_roofline": 50.0, "mbu_kv": 0.5, "link_share": 0.5, "completed": 20.0}
    found = complete_metrics(records.record(metrics=wrong, config=to_plain(config)), tmp_path).metrics
    assert found == reach(made, config) | {"completed": 20.0}
    new = wrong | {"client_ttft_lag_p99_s": 0.001}
    assert complete_metrics(records.record(metrics=new, config=to_plain(config)), tmp_path).metrics == new


def test_tokens_that_were_never_streamed_count_where_they_count_in_the_whole_run():
    made = closed_loop(50, 10)
    hiding = replace(made, output_tokens=made.output_tokens * 3, asked_tokens=made.asked_tokens * 3)
    before, after = steady_metrics(made), steady_metrics(hiding)
    assert after["steady_output_token_throughput"] == pytest.approx(3 * before["steady_output_token_throughput"])
    assert metrics(hiding)["output_throughput"] == pytest.approx(3 * metrics(made)["output_throughput"])
    whole, older = metrics(hiding), metrics(made)
    assert whole["steady_output_throughput"] == pytest.approx(3 * older["steady_output_throughput"], rel=0.05)


def test_a_failed_request_counts_as_begun_and_not_as_served():
    failed = closed_loop(5)
    failed.error[4] = "reset"
    found = steady_metrics(failed)
    assert found["steady_requests"] == 8
    assert found["steady_request_throughput"] == pytest.approx(5 / 3)


def test_a_load_sent_at_once_has_no_steady_window():
    assert steady_metrics(requests(*[[(1.0, 1)]] * 5)) == {"steady_requests": 0}


def test_one_request_makes_no_rate():
    assert steady_metrics(requests([(1.0, 1)], [(2.0, 1)], sent=[0.0, 1.0])) == {"steady_requests": 1}
    assert steady_metrics(requests([], sent=[np.nan], finished=np.array([np.nan]), error=np.array(["refused"]))) == {}


def test_percentiles_have_bounds_where_enough_requests_began_there():
    assert "steady_p99_ttft_upper_ms" in steady_metrics(closed_loop(301, places=1))
    assert steady_metrics(closed_loop(300, places=1))["steady_requests"] == 299
    assert "steady_p99_ttft_upper_ms" in steady_metrics(closed_loop(300, places=1))
    assert "steady_p99_ttft_upper_ms" not in steady_metrics(closed_loop(299, places=1))


def test_two_requests_are_enough_for_statistics_and_a_rate():
    made = requests([(1.0, 1)], [(2.0, 1)], [(3.0, 1)], sent=[0.0, 1.0, 2.0])
    found = steady_metrics(made)
    assert found["steady_requests"] == 2
    assert found["steady_median_ttft_ms"] == pytest.approx(1000)
    assert found["steady_request_throughput"] == pytest.approx(1.0)
    assert "steady_median_ttft_ms" not in steady_metrics(made.select(np.array([True, True, False])))


@pytest.mark.parametrize(("took_s", "has_rates"), [(1.0, True), (1.01, False)])
def test_a_window_shorter_than_the_usual_request_in_it_has_no_rates(took_s, has_rates):
    """The last two requests begin 1 s apart, and one other ends between: is that 1 a second? If they take long, no."""
    ends = [1.9, 2.0, 2.9, 2.0 + took_s, 3.0 + took_s]
    found = steady_metrics(requests(*[[(end, 1)] for end in ends], sent=[0.0, 0.0, 1.9, 2.0, 3.0]))
    assert found["steady_window_s"] == pytest.approx(1.0)
    assert ("steady_request_throughput" in found) is has_rates
    assert ("steady_output_token_throughput" in found) is has_rates


def test_rates_of_too_short_a_window_that_an_earlier_version_filed_are_left_out(tmp_path):
    made = requests(*[[(end, 1)] for end in [1.9, 2.0, 2.9, 9.0, 9.0]], sent=[0.0, 0.0, 1.9, 2.0, 3.0])
    made.save(tmp_path / REQUESTS)
    rates = {"steady_request_throughput": 1.0, "steady_output_token_throughput": 1.0}
    filed = records.record(metrics={"steady_window_s": 1.0, "pct_of_roofline": 50.0, "completed": 5} | rates)
    assert not rates.keys() & complete_metrics(filed, tmp_path).metrics.keys()
