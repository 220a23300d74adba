"""The fastest prefill that a load shows."""

import numpy as np
import pytest
from builders import requests

from vbench.metrics.prefill import peak_prefill_rate


def burst(*firsts, **columns):
    return requests(*([(first, 1), (first + 0.1, 1)] for first in firsts), **columns)


def test_a_burst_that_two_steps_answer_shows_the_rate_of_both():
    made = burst(0.1, *[0.2] * 7, sent=np.arange(8) * 1e-4, input_tokens=np.full(8, 500))
    assert peak_prefill_rate(made) == pytest.approx(8 * 500 / 0.2)


def test_a_later_and_faster_window_counts():
    made = burst(1.0, 5.1, 5.1, sent=np.array([0.0, 5.0, 5.0]), input_tokens=np.array([100, 100, 300]))
    assert peak_prefill_rate(made) == pytest.approx(400 / 0.1)


def test_a_load_without_a_token_shows_none():
    assert peak_prefill_rate(requests([], [])) == 0


def test_a_first_token_at_the_moment_of_a_send_is_no_rate_without_a_duration():
    made = burst(1.0, 1.5, sent=np.array([0.0, 1.0]), input_tokens=np.array([100, 200]))
    assert peak_prefill_rate(made) == pytest.approx(200 / 0.5)


@pytest.mark.parametrize(("n", "rate"), [(999, 1000.0), (1000, 10.0)])
def test_of_1000_starts_every_other_is_looked_at(n, rate):
    sent, took = np.arange(n) * 10.0, np.full(n, 1.0)
    took[1] = 0.01  # the fastest is the second
    made = burst(*(sent + took), sent=sent, input_tokens=np.full(n, 10))
    assert peak_prefill_rate(made) == pytest.approx(rate)
