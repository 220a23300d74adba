import numpy as np
import pytest
from builders import requests

from vbench.metrics.goodput import goodput, meets, saturated

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
    assert meets(requests(FAST, LATE, SLOW), slo).tolist() == met


def test_goodput_is_good_requests_a_second_and_failed_ones_are_not_good():
    found = goodput(requests(FAST, LATE, FAST, error=np.array(["", "", "http 500"])), {"ttft_ms": 500})
    assert found["slo_attainment"] == pytest.approx(1 / 3)
    assert found["request_goodput"] == pytest.approx(1 / 1.1)


def test_an_empty_reply_is_not_good_and_one_token_cannot_miss_its_tpot():
    assert meets(requests([], [(0.2, 1)]), {"tpot_ms": 1}).tolist() == [False, True]


def test_without_objectives_there_is_no_goodput():
    assert goodput(requests(FAST), {}) == {}


def test_a_server_that_falls_behind_is_saturated():
    sent = [i * 0.1 for i in range(40)]
    behind = requests(*([(s + 0.1 + i * 0.2, 1)] for i, s in enumerate(sent)), sent=sent)
    assert saturated(behind)


def test_a_server_that_keeps_up_is_not_saturated():
    sent = [i * 0.1 for i in range(40)]
    assert not saturated(requests(*([(s + 0.25, 1)] for s in sent), sent=sent))
