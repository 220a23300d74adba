import numpy as np
import pytest
from builders import requests

from vbench.metrics.definitions import metrics
from vbench.metrics.goodput import goodput, has_grown, is_saturated, meets_slo
from vbench.schema.workload import RampUp
from vbench.workload.arrivals import arrivals, ramp

FAST = [(0.2, 1), (0.3, 1), (0.4, 1)]
LATE = [(0.9, 1), (1.0, 1), (1.1, 1)]
SLOW = [(0.2, 1), (0.7, 1), (1.2, 1)]


@pytest.mark.parametrize(
    ("slo", "met"),
    [
        ({"ttft_ms": 500}, [True, False, True]),
        ({"tpot_ms": 150}, [True, True, False]),
        ({"ttft_ms": 500, "tpot_ms": 150}, [True, False, False]),
        ({"e2el_ms": 1150}, [True, True, False]),
    ],
)
def test_a_request_is_good_where_it_meets_every_objective(slo, met):
    assert meets_slo(requests(FAST, LATE, SLOW), slo).tolist() == met


def test_hidden_reasoning_does_not_make_a_slow_reply_meet_its_tpot():
    # Two visible tokens 0.5 s apart: 500 ms a token, whatever else the server counts.
    made = requests([(0.2, 1), (0.7, 1)], output_tokens=np.array([12]), asked_tokens=np.array([12]))
    assert metrics(made)["median_tpot_ms"] == pytest.approx(500)
    assert meets_slo(made, {"tpot_ms": 100}).tolist() == [False]
    assert meets_slo(made, {"tpot_ms": 501}).tolist() == [True]


def test_goodput_is_good_requests_a_second_and_failed_ones_are_not_good():
    found = goodput(requests(FAST, LATE, FAST, error=np.array(["", "", "http 500"])), {"ttft_ms": 500})
    assert found["slo_attainment"] == pytest.approx(1 / 3)
    assert found["request_goodput"] == pytest.approx(1 / 1.1)


def test_an_empty_reply_is_not_good_and_one_token_cannot_miss_its_tpot():
    assert meets_slo(requests([], [(0.2, 1)]), {"tpot_ms": 1}).tolist() == [False, True]


def test_without_objectives_there_is_no_goodput():
    assert goodput(requests(FAST), {}) == {}


def test_a_server_that_falls_behind_is_saturated():
    sent = [i * 0.1 for i in range(40)]
    behind = requests(*([(s + 0.1 + i * 0.2, 1)] for i, s in enumerate(sent)), sent=sent)
    assert is_saturated(behind)


def test_a_server_that_keeps_up_is_not_saturated():
    sent = [i * 0.1 for i in range(40)]
    assert not is_saturated(requests(*([(s + 0.25, 1)] for s in sent), sent=sent))


@pytest.mark.parametrize(("slo", "met"), [({"ttft_ms": 500}, True), ({"ttft_ms": 499.9}, False)])
def test_an_objective_is_met_up_to_its_limit(slo, met):
    assert meets_slo(requests([(0.5, 1), (1.0, 1)]), slo).tolist() == [met]


def test_attainment_is_a_share_of_all_requests_and_goodput_lasts_until_the_last_of_them_ended():
    made = requests(FAST, FAST, [(4.0, 1)], [(1.0, 1)], error=np.array(["", "", "reset", "reset"]))
    found = goodput(made, {"ttft_ms": 500})
    assert found == {"slo_met": 2, "slo_attainment": 0.5, "request_goodput": 0.5}


@pytest.mark.parametrize(
    ("column", "growing"),
    [
        ([1, 1, 1, 1, 1, 1, 1.5, 1.5], False),  # the edge: half as much again
        ([1, 1, 1, 1, 1, 1, 1.51, 1.51], True),
        ([1, 1, 1, 1, 1, 1, 1, 2], False),  # the last quarter is two of eight, not one
        ([1, 1, 1, 1, 1, 2, 2, 2], True),
        ([1, 1, 1, 1, 1, 1, 2, 2], True),  # nor four
        ([1, 1, 1, 9, 1, 1, 1, 1, 1, 1, 1, 9], False),  # one slow request of a quarter is no growth
    ],
)
def test_a_column_grows_where_its_last_quarters_median_is_above_one_and_a_half_of_its_firsts(column, growing):
    assert has_grown(np.array(column, dtype=float)) is growing


def test_seven_answers_say_nothing_of_saturation_and_eight_do():
    def behind(n):
        return requests(*([(i * 0.1 + 0.1 + i * 0.5, 1)] for i in range(n)), sent=[i * 0.1 for i in range(n)])

    assert not is_saturated(behind(7))
    assert is_saturated(behind(8))


def test_ttft_that_grows_while_requests_in_flight_do_not_is_no_saturation():
    sent = [i * 10.0 for i in range(40)]
    assert not is_saturated(requests(*([(s + 0.1 + i * 0.1, 1)] for i, s in enumerate(sent)), sent=sent))


def test_requests_in_flight_that_grow_while_ttft_does_not_are_no_saturation():
    sent = [i * 0.1 for i in range(40)]
    assert not is_saturated(requests(*([(s + 0.1, 1), (s + 0.1 + i, 1)] for i, s in enumerate(sent)), sent=sent))


def test_saturation_follows_the_order_of_the_sends_not_of_the_rows():
    sent = [i * 0.1 for i in range(40)][::-1]
    assert is_saturated(requests(*([(s + 0.1 + s * 2, 1)] for s in sent), sent=sent))


def test_a_ramp_has_more_in_flight_at_its_end_and_is_saturated_only_if_a_queue_builds_up():
    rates = ramp(300, RampUp.linear, 1.0, 10.0)
    sent = arrivals(300, rates, 1.0, np.random.default_rng(3)).tolist()
    replies, behind, end = [], [], 0.0
    for at in sent:
        in_flight = sum(at - 2.0 < other <= at for other in sent)
        replies.append([(at + 0.05 + 0.005 * in_flight, 1), (at + 2.0, 9)])
        end = max(at, end) + 1 / 3  # three a second, whatever comes
        behind.append([(end, 9)])
    assert is_saturated(requests(*replies, sent=sent))  # as if the rate had been one
    assert not is_saturated(requests(*replies, sent=sent), rates)
    assert is_saturated(requests(*behind, sent=sent), rates)
