"""The interval of a mean: by hand, by the tables of Student's t, and by how often it holds the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbench.metrics.intervals import interval, t_quantile

TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980}
SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)


@pytest.mark.parametrize(("df", "quantile"), TABLE.items())
def test_the_quantiles_are_those_of_the_printed_tables(df, quantile):
    assert round(t_quantile(df), 3) == quantile


def test_df_2_agrees_with_its_closed_form_and_many_df_with_the_normal_distribution():
    assert t_quantile(2) == pytest.approx(0.95 * math.sqrt(2 / (1 - 0.95**2)), abs=1e-8)
    assert t_quantile(1) == pytest.approx(math.tan(0.95 * math.pi / 2), abs=1e-8)
    assert t_quantile(10**7) == pytest.approx(1.959964, abs=1e-6)


@given(st.integers(1, 5000))
def test_more_samples_never_need_a_wider_quantile(df):
    assert t_quantile(df) > t_quantile(df + 1)


def test_an_interval_is_that_of_a_hand_computation():
    found = interval([900, 1000, 1400])  # mean 1100, standard deviation sqrt(70000) = 264.58
    assert (found.mean, found.n) == (1100, 3)
    assert found.half_width == pytest.approx(4.30265 * 264.5751 / math.sqrt(3), rel=1e-5)
    assert found.relative == pytest.approx(0.5975, abs=1e-4)
    assert f"{found:,.0f}" == "1,100 ± 657"


def test_one_sample_has_a_mean_and_no_interval_and_none_has_neither():
    one = interval([7])
    assert one.mean == 7
    assert math.isnan(one.half_width)
    assert f"{one:.1f}" == "7.0"
    assert math.isnan(interval([]).mean)
    assert interval([]).n == 0


def test_equal_samples_leave_no_doubt():
    assert interval([3.0, 3.0, 3.0]).half_width == 0


@given(SAMPLES, st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_the_interval_moves_and_stretches_with_its_samples(samples, shift, scale):
    one, other = interval(samples), interval([shift + scale * sample for sample in samples])
    size = scale * max(map(abs, samples)) + abs(shift) + 1
    assert other.mean == pytest.approx(shift + scale * one.mean, abs=1e-9 * size)
    assert other.half_width == pytest.approx(scale * one.half_width, abs=1e-6 * size)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_it_holds_the_true_mean_in_95_of_100_trials(n):
    trials = np.random.default_rng(n).normal(50, 4, (10_000, n))
    found = [interval(trial) for trial in trials]
    held = np.mean([abs(each.mean - 50) <= each.half_width for each in found])
    assert held == pytest.approx(0.95, abs=0.008)  # 3.7 standard deviations of 10,000 trials


def test_the_relative_half_width_of_a_negative_mean_is_positive():
    assert interval([-9.0, -11.0]).relative == interval([9.0, 11.0]).relative > 0
    assert math.isnan(interval([-1.0, 1.0]).relative)
