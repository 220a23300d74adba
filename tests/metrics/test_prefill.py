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
