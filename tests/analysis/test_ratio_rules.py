"""Ratios, gates and the load of a table at their edges, against scipy and by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from vbench.analysis.gate import EXIT_CODES, Gate, judge
from vbench.analysis.loads import NUM_PROMPTS
from vbench.analysis.points import choose_load
from vbench.analysis.ratios import LARGEST_DF, log_means, match_points, mean_ratio


@pytest.fixture(scope="module")
def stats():
    """scipy's: imported here, since it takes a second of CPU and collecting the tests needs none of it."""
    from scipy import stats

    return stats


def matched(new, old):
    """`match_points` of runs of one metric: lists of values by point."""

    def means(side):
        rows = [(point, value) for point, values in side.items() for value in values]
        return log_means(pd.DataFrame(rows, columns=["load", "tok_s"]), ["tok_s"], ["load"])

    return match_points(means(new), means(old), ["load"])


def test_a_ratio_of_repeats_is_welchs(stats):
    new, old = [100.0, 104.0, 99.0], [90.0, 95.0]
    found = mean_ratio(matched({1: new}, {1: old}))
    logs = np.log(new), np.log(old)
    theirs = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert found.interval_from == "repeats"
    assert (found.low, found.high) == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))


def test_half_of_the_points_with_repeats_are_enough_and_the_others_are_as_noisy_as_the_noisiest(stats):
    new = {1: [100.0, 104.0], 2: [50.0, 51.0], 3: [10.0], 4: [5.0]}
    old = {1: [90.0, 95.0], 2: [50.0, 50.5], 3: [9.0], 4: [5.0]}
    assert mean_ratio(matched(new, old)).interval_from == "repeats"
    rows = matched(new, old)
    noisiest = rows.loc[rows["variance"].idxmax()]
    noise = [noisiest if math.isnan(row.variance) else row for row in rows.itertuples()]
    variances, df = [row.variance for row in noise], [row.df for row in noise]
    total = sum(variances) / 16
    together = total**2 / sum((variance / 16) ** 2 / each for variance, each in zip(variances, df, strict=True))
    half = stats.t.ppf(0.975, together) * math.sqrt(total)
    assert math.log(mean_ratio(rows).high / mean_ratio(rows).value) == pytest.approx(half)
    fewer = mean_ratio(matched(new | {5: [1.0]}, old | {5: [1.0]}))
    assert fewer.interval_from == "points"


def test_two_points_without_repeats_scatter_and_one_has_no_interval(stats):
    two = mean_ratio(matched({1: [110.0], 2: [100.0]}, {1: [100.0], 2: [100.0]}))
    half = stats.t.ppf(0.975, 1) * np.std([math.log(1.1), 0.0], ddof=1) / math.sqrt(2)
    assert two.interval_from == "points"
    assert math.log(two.high / two.value) == pytest.approx(half)
    one = mean_ratio(matched({1: [110.0]}, {1: [100.0]}))
    assert (one.interval_from, one.points) == ("", 1)
    assert math.isnan(one.low)


def test_small_values_count_and_zeros_have_no_ratio_nor_has_a_mean_with_one():
    rows = matched({1: [0.1], 2: [0.0]}, {1: [0.2], 2: [1.0]})
    assert [math.exp(log) for log in rows["log"]] == pytest.approx([0.5, math.nan], nan_ok=True)
    assert str(mean_ratio(rows)) == "none: 0 in a run"


def test_a_mean_over_very_many_repeats_is_that_of_the_normal_distribution(stats):
    repeats = list(np.exp(np.linspace(-0.01, 0.01, 2 * LARGEST_DF)))
    found = mean_ratio(matched({1: repeats}, {1: repeats}))
    half = stats.norm.ppf(0.975) * np.std(np.log(repeats), ddof=1) * math.sqrt(2 / len(repeats))
    assert math.log(found.high / found.value) == pytest.approx(half, rel=2e-3)


@pytest.mark.parametrize(
    ("low", "high", "below", "above"),
    [
        (0.90, 0.96, "failed", "passed"),
        (0.90, 0.97, "undecided", "undecided"),
        (0.97, 1.00, "undecided", "undecided"),
        (0.98, 1.00, "passed", "failed"),
    ],
)
def test_a_gate_decides_only_where_the_interval_leaves_its_limit_out(low, high, below, above):
    assert Gate("tok_s", "<", 0.97).judge(low, high) == below
    assert Gate("tok_s", ">", 0.97).judge(low, high) == above


def rows(*intervals):
    columns = (
        "model_label",
        "system_label",
        "metric",
        "value",
        "low",
        "high",
        "points",
        "interval_from",
        "host_slower",
    )
    return pd.DataFrame(
        [(f"m{n}", "", "tok_s", low, low, high, 2, "starts", 1.0) for n, (low, high) in enumerate(intervals)],
        columns=columns,
    )


MOST = "the load that most systems have: "
FAILS, OPEN, PASSES = (0.9, 0.95), (0.9, 1.1), (1.0, 1.1)


@pytest.mark.parametrize(
    ("intervals", "code"),
    [([PASSES, FAILS, OPEN], 1), ([PASSES, OPEN], 3), ([PASSES, PASSES], 0)],
)
def test_one_row_that_fails_fails_all_and_all_must_pass(intervals, code):
    outcome = judge(rows(*intervals), "", "tok_s<0.97")
    assert outcome.exit_code == EXIT_CODES[outcome.verdict] == code


def test_a_gate_names_five_rows_and_counts_the_others():
    assert "more" not in judge(rows(*[FAILS] * 5), "", "tok_s<0.97").line
    line = judge(rows(*[FAILS] * 7), "", "tok_s<0.97").line
    assert "m4 is" in line
    assert "m5" not in line
    assert line.endswith("; and 2 more")


@pytest.mark.parametrize(
    ("by_system", "load", "why"),
    [
        ([(160, 320, 640), (160, 320, 640)], 320, ""),
        ([(160, 640), (160, 320, 640)], 640, "the largest load that all systems share, because not all have 320"),
        ([(160,), (320,)], 320, "no load is shared by all systems"),
        ([(10, 160), (160,), (640,)], 160, f"{MOST}no load is shared by all"),
        ([(4, 8), (4, 8, 16)], 8, "the largest load that all systems share"),
        ([(4, 8)], 8, "its largest load"),
        ([(8,)], 8, ""),
    ],
)
def test_systems_are_compared_at_320_prompts_if_all_have_them(by_system, load, why):
    made = [("m", f"s{n}", each) for n, loads in enumerate(by_system) for each in loads]
    found = pd.DataFrame(made, columns=["model_label", "system_label", "load"])
    assert choose_load(found, None, NUM_PROMPTS) == (load, why)


def test_a_load_that_was_asked_for_and_that_nobody_has_is_named():
    found = pd.DataFrame([("m", "s", 8), ("m", "s", 16)], columns=["model_label", "system_label", "load"])
    assert choose_load(found, 320, NUM_PROMPTS) == (16, "its largest load, because it has no 320")
