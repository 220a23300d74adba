"""The test of a level keeps its stated error, also where misses come in groups, and its stated size."""

import math

import numpy as np
import pytest

from vbench.workload import sequential
from vbench.workload.sequential import CLEAR, CLOSE, DESIGN_EFFECT, ERROR, MOST, WIDER, bound, evidence, verdict

SEARCHES = 2000


def outcomes(share, group=1, seed=0, looks=20):
    """Verdicts of many levels of this true share, and their sizes; so many requests in a row always miss together."""
    rng = np.random.default_rng(seed)
    passed, sizes = [], []
    for _ in range(SEARCHES):
        met = np.repeat(rng.random(-(-MOST // group)) < share, group)[:MOST].cumsum()
        counts = np.arange(1, MOST + 1)
        for size in range(looks, MOST + 1, looks):
            if (found := verdict(int(met[size - 1]), int(counts[size - 1]))) is not None:
                break
        passed.append(found)
        sizes.append(size)
    return np.mean(passed), np.mean(sizes)


@pytest.mark.parametrize("looks", [5, 20])
@pytest.mark.parametrize("group", [1, 2])
def test_a_level_of_98_percent_rarely_passes(group, looks):
    passes, _ = outcomes(0.98, group, looks=looks)
    assert passes < ERROR


@pytest.mark.parametrize("looks", [5, 20])
@pytest.mark.parametrize("group", [1, 2])
def test_a_level_of_99_8_percent_rarely_fails(group, looks):
    passes, _ = outcomes(0.998, group, looks=looks)
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
    assert 1500 < sizes[0.991] < 1800
    assert sizes[0.998] < 520


def test_a_hundred_of_a_hundred_prove_nothing():
    assert verdict(100, 100) is None
    assert verdict(342, 342) is None
    assert verdict(343, 343) is True


def test_each_miss_costs_110_requests():
    clear = CLEAR - 343
    assert verdict(343 + clear - 1, 343 + clear) is None
    assert verdict(453 + 9, 453 + 10) is None  # the bound has grown by now
    assert evidence(110, 111) < 0 < evidence(111, 112)


def test_the_bound_grows_where_a_level_is_open_for_long():
    assert bound(0) == bound(CLEAR) == pytest.approx(math.log(19))
    assert bound(CLEAR + 1) > bound(CLEAR)
    assert bound((CLEAR + CLOSE) // 2) == pytest.approx((1 + WIDER / 2) * math.log(19))
    assert bound(CLOSE - 1) < bound(CLOSE) == bound(CLOSE + 1) == pytest.approx((1 + WIDER) * math.log(19))
    assert (CLEAR, CLOSE, WIDER) == (400, 1000, 0.5)


def test_a_level_passes_and_fails_at_the_wider_bound():
    assert [verdict(of - 5, of) for of in (1070, 1071)] == [None, True]
    assert [verdict(of - 15, of) for of in (1156, 1157)] == [False, None]


def test_misses_alone_fail_a_level():
    assert verdict(0, 3) is None
    assert verdict(0, 4) is False
    assert evidence(0, 0) == 0


def test_after_the_most_requests_the_likelier_share_decides():
    assert verdict(MOST - 27, MOST - 1) is None
    assert verdict(MOST - 26, MOST) is True
    assert verdict(MOST - 27, MOST) is False
    assert sequential.MOST == 3000
