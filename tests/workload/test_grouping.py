"""How much misses come in groups is found from them, without bias, and keeps the test's stated error."""

import numpy as np
import pytest

from vbench.workload.grouping import ASSUMED, BATCH, GROUP, MOST, Grouping, estimate_effect, find_grouping
from vbench.workload.sequential import DESIGN_EFFECT, ERROR, verdict


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


def test_before_any_miss_groups_of_three_are_assumed_and_five_misses_weigh_as_much():
    assert (ASSUMED, GROUP, MOST, BATCH) == (5.0, 3.0, 10.0, 25)
    assert estimate_effect([]) == 3
    assert estimate_effect([Grouping(5.0, 2.0)]) == pytest.approx(2.2)
    assert estimate_effect([Grouping(5.0, -2.0)]) == DESIGN_EFFECT == 2
    assert estimate_effect([Grouping(5.0, 20.0)]) == 4
    assert estimate_effect([Grouping(50.0, -500.0)]) == DESIGN_EFFECT
    assert estimate_effect([Grouping(50.0, 5000.0)]) == 10


def passes(share, group, levels=600, looks=20, most=3000):
    """How often a level passes, judged as a search does, by it and by a probe of the level above."""
    rng, passed = np.random.default_rng(group), 0
    for _ in range(levels):
        above = find_grouping(misses(0.05, group, 150, rng).tolist())
        column = misses(1 - share, group, most, rng)
        met = (~column).cumsum()
        effect = estimate_effect([above])
        for start in range(0, most, 800):  # a probe at a time, each begun with what is known by then
            sizes = range(start + looks, min(start + 800, most) + 1, looks)
            found = next((it for size in sizes if (it := verdict(int(met[size - 1]), size, effect)) is not None), None)
            if found is not None:
                break
            ends = range(0, min(start + 800, most), 800)
            effect = estimate_effect([above, *(find_grouping(column[at : at + 800].tolist()) for at in ends)])
        passed += bool(found)
    return passed / levels


@pytest.mark.parametrize("group", [1, 2, 3])
def test_the_stated_error_holds_in_groups_of_any_of_these_sizes(group):
    assert passes(0.98, group) < ERROR
    assert 1 - passes(0.998, group) < ERROR
