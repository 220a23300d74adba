"""How much misses come in groups is found from them, without bias."""

import numpy as np
import pytest

from vbench.workload.grouping import (
    ASSUMED,
    BATCH,
    DESIGN_EFFECT,
    GROUP,
    MOST,
    Grouping,
    estimate_effect,
    find_grouping,
)


def misses(share, group, count, rng):
    return np.repeat(rng.random(-(-count // group)) < share, group)[:count]


@pytest.mark.parametrize("group", [1, 2, 3, 5])
def test_the_size_of_groups_is_found(group):
    """Within a tenth: groups that a batch's end divides look smaller."""
    rng = np.random.default_rng(0)
    found = [find_grouping(misses(0.02, group, 400, rng).tolist()) for _ in range(2000)]
    effect = 1 + sum(each.excess for each in found) / sum(each.misses for each in found)
    assert effect == pytest.approx(group, rel=0.1)


def test_less_than_two_batches_tell_nothing():
    assert find_grouping([True] * (2 * BATCH - 1)) == Grouping()
    assert find_grouping([True] * BATCH + [False] * BATCH) == Grouping(BATCH / 2, BATCH * (BATCH - 1) / 2)
    assert find_grouping([False] * 100) == Grouping(0.0, 0.0)


def test_before_any_miss_groups_of_three_are_assumed_and_thirty_misses_weigh_as_much():
    assert (ASSUMED, GROUP, MOST, BATCH) == (30.0, 3.0, 10.0, 25)
    assert estimate_effect([]) == 3
    assert estimate_effect([Grouping(30.0, 12.0)]) == pytest.approx(2.2)
    assert estimate_effect([Grouping(30.0, -12.0)]) == DESIGN_EFFECT == 2
    assert estimate_effect([Grouping(30.0, 120.0)]) == 4
    assert estimate_effect([Grouping(50.0, -500.0)]) == DESIGN_EFFECT
    assert estimate_effect([Grouping(50.0, 5000.0)]) == 10
