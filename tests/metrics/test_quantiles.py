"""The bound of a percentile: it holds as often as it says, and is given from the fewest samples on that allow it."""

import numpy as np
import pandas as pd
import pytest
from builders import requests

from vbench.analysis.points import withhold_untold
from vbench.metrics.conversing import CACHED, TURNS
from vbench.metrics.definitions import metrics
from vbench.metrics.quantiles import compute_statistics, count_replies, needed, needs_text, quotable, samples_above


@pytest.mark.parametrize(("percent", "n"), [(90, 29), (95, 59), (99, 299)])
def test_a_percentile_has_a_bound_from_the_fewest_samples_on_of_which_one_exceeds_it(percent, n):
    assert needed(percent) == n
    assert samples_above(n - 1, percent) is None
    assert samples_above(n, percent) == 0  # no sample exceeds the largest
    key = f"p{percent}_ttft_upper_ms"
    seconds = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    assert compute_statistics("ttft", seconds, n)[key] == n * 1e3
    fewer = compute_statistics("ttft", seconds[:-1], n - 1)
    assert key not in fewer
    assert f"p{percent}_ttft_ms" in fewer


@pytest.mark.parametrize(
    ("n", "percent", "above"),
    [(472, 99, 0), (473, 99, 1), (1000, 99, 4), (100, 90, 4), (1000, 95, 38), (100_000, 99, 948), (10**6, 90, 99506)],
)
def test_as_many_samples_exceed_it_as_the_binomial_distribution_allows(n, percent, above):
    from scipy.stats import binom

    assert samples_above(n, percent) == above
    assert binom.cdf(above, n, 1 - percent / 100) <= 0.05 < binom.cdf(above + 1, n, 1 - percent / 100)


@pytest.mark.parametrize(("n", "percent"), [(300, 99), (700, 99), (120, 95), (64, 90)])
def test_the_bound_lies_above_the_true_percentile_in_95_percent_of_runs(n, percent):
    rng = np.random.default_rng(n)
    bounds = [compute_statistics("x", rng.exponential(size=n), n)[f"p{percent}_x_upper_ms"] for _ in range(2000)]
    true_ms = -np.log(1 - percent / 100) * 1e3
    assert 0.94 < np.mean(np.array(bounds) >= true_ms) < 0.99


def test_samples_of_one_reply_count_once():
    seconds = np.repeat(np.arange(1.0, 301), 10)  # 300 replies of ten gaps
    assert compute_statistics("itl", seconds, 300)["p99_itl_upper_ms"] == 300_000
    assert "p99_itl_upper_ms" not in compute_statistics("itl", seconds, 298)
    many = np.arange(1.0, 10_001)
    assert compute_statistics("itl", many, 1000)["p99_itl_upper_ms"] == (10_000 - 40) * 1e3
    assert compute_statistics("itl", many, 10_000)["p99_itl_upper_ms"] == (10_000 - samples_above(10_000, 99)) * 1e3


@pytest.mark.parametrize("percent", [90, 95, 99])
def test_of_all_numbers_of_samples_as_many_exceed_the_bound_as_are_allowed(percent):
    """1 / 49 * 49 is below 1 in floating point: then the bound was one sample too high."""
    for n in range(needed(percent), 1200):
        bound = compute_statistics("ttft", np.arange(1.0, n + 1), n)[f"p{percent}_ttft_upper_ms"]
        assert bound == (n - samples_above(n, percent)) * 1e3, n


def test_replies_that_have_no_such_sample_do_not_tell_its_percentile():
    several = [[(0.1, 1), (0.2, 1)]] * 298
    for gaps, told in ((298, False), (299, True)):
        found = metrics(requests(*several[:gaps], *[[(0.1, 1), (0.3, 1)]] * (gaps - 298), *[[(0.1, 1)]] * 400))
        for name in ("itl", "tpot", "chunk_gap"):
            count = count_replies(f"p99_{name}_ms", found)
            assert (needs_text(f"p99_{name}_ms", count) is None) is told
        assert count_replies("p99_ttft_ms", found) == gaps + 400
    imported = {"completed": 400, "p99_queue_upper_ms": 1.0, "p99_e2el_upper_ms": 9.0}  # of vLLM, without arrays
    assert count_replies("p99_itl_ms", imported) == count_replies("p99_ttft_ms", imported) == 400
    assert count_replies("p99_itl_ms", {}) == np.inf


@pytest.mark.parametrize("name", ["session", *(f"ttft_{each}" for each in (*TURNS, *CACHED))])
def test_a_percentile_of_few_sessions_or_turns_is_not_told_by_the_many_replies_of_its_run(name):
    """3,000 replies, of which 298 sessions or turns of that kind: neither tables nor gates tell their p99."""
    key = f"p99_{name}_ms"
    for samples in (298, 299):
        found = compute_statistics("ttft", np.ones(3000), 3000) | compute_statistics(name, np.ones(samples), samples)
        told = needs_text(key, count_replies(key, {"completed": 3000, **found}))
        assert told == (None if samples == 299 else "needs 299")
        rows = withhold_untold(pd.DataFrame([{"completed": 3000, **found}]), [key])
        assert rows[key].isna().item() == (samples == 298)


def test_no_sample_no_statistic():
    assert compute_statistics("ttft", np.empty(0), 0) == {}


@pytest.mark.parametrize(
    ("replies", "told"),
    [
        ([80, 320], "p99_itl_ms"),  # one row bears it
        ([64, 80, 100], "p95_itl_ms"),
        ([64, 80, 10], "p95_itl_ms"),  # most rows
        ([30, 32, 80], "p90_itl_ms"),
        ([10, 20], "p99_itl_ms"),  # none: it says what it needs
        ([], "p99_itl_ms"),
    ],
)
def test_a_table_of_small_loads_has_the_highest_percentile_that_most_rows_can_tell(replies, told):
    known = {"p90_itl_ms", "p95_itl_ms", "p99_itl_ms"}
    assert quotable("p99_itl_ms", replies, known) == told
    assert quotable("p99_itl_ms", replies, {"p99_itl_ms"}) == "p99_itl_ms"
    assert quotable("median_itl_ms", replies, known) == "median_itl_ms"


@pytest.mark.parametrize(("key", "n"), [("p90_ttft_ms", 29), ("p95_e2el_ms", 59), ("steady_p99_itl_ms", 299)])
def test_a_percentile_says_how_many_replies_it_needs_with_one_fewer_than_these(key, n):
    assert needs_text(key, n - 1) == f"needs {n}"
    assert needs_text(key, n) is None
    assert needs_text("median_ttft_ms", 1) is None
