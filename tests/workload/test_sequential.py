"""The test of a level keeps its stated error, also where misses come in groups, and its stated size."""

import numpy as np
import pytest

from vbench.workload import sequential
from vbench.workload.sequential import DESIGN_EFFECT, ERROR, MOST, evidence, requests_needed, verdict

SEARCHES = 2000


def outcomes(share, group=1, seed=0):
    """Verdicts of many levels of this true share, and their sizes; so many requests in a row always miss together."""
    rng = np.random.default_rng(seed)
    passed, sizes = [], []
    for _ in range(SEARCHES):
        met = np.repeat(rng.random(-(-MOST // group)) < share, group)[:MOST].cumsum()
        counts = np.arange(1, MOST + 1)
        for size in range(20, MOST + 1, 20):  # looks after each 20 requests, as a probe ends
            if (found := verdict(int(met[size - 1]), int(counts[size - 1]))) is not None:
                break
        passed.append(found)
        sizes.append(size)
    return np.mean(passed), np.mean(sizes)


@pytest.mark.parametrize("group", [1, 2])
def test_a_level_of_98_percent_rarely_passes(group):
    passes, _ = outcomes(0.98, group)
    assert passes < ERROR


@pytest.mark.parametrize("group", [1, 2])
def test_a_level_of_99_8_percent_rarely_fails(group):
    passes, _ = outcomes(0.998, group)
    assert passes > 1 - ERROR


def test_the_error_is_nearly_used_up_where_misses_come_as_assumed():
    """A test that is more cautious than it says costs requests: the bounds lie at the stated shares."""
    below, _ = outcomes(0.98, group=int(DESIGN_EFFECT))
    above, _ = outcomes(0.997, group=int(DESIGN_EFFECT))
    assert 0.01 < below < ERROR
    assert 0.01 < 1 - above < ERROR


def test_a_share_of_99_percent_is_undecided_longest():
    assert 0.2 < outcomes(0.99)[0] < 0.8
    sizes = {share: outcomes(share)[1] for share in (0.9, 0.98, 0.991, 0.998)}
    assert sizes[0.9] < 60
    assert sizes[0.98] < 340
    assert 1000 < sizes[0.991] < 1200
    assert sizes[0.998] < 480


def test_a_hundred_of_a_hundred_prove_nothing():
    assert verdict(100, 100) is None
    assert verdict(342, 342) is None
    assert verdict(343, 343) is True
    assert requests_needed(0, 0) == 343


def test_each_miss_costs_110_requests():
    assert requests_needed(199, 200) == 143 + 111
    assert verdict(199 + 254, 200 + 254) is True
    assert verdict(199 + 253, 200 + 253) is None
    assert requests_needed(10_000, 10_000) == 0


def test_misses_alone_fail_a_level():
    assert verdict(0, 3) is None
    assert verdict(0, 4) is False
    assert evidence(0, 0) == 0


def test_after_the_most_requests_the_likelier_share_decides():
    assert verdict(MOST - 21, MOST - 1) is None
    assert verdict(MOST - 21, MOST) is True
    assert verdict(MOST - 22, MOST) is False
    assert sequential.MOST == 2400
