"""What is believed of a capacity."""

import numpy as np
import pytest

from vbench.workload.capacity import CAUTION, Belief
from vbench.workload.curve import Curve

BELIEF = Belief.from_counts([(16, 400, 400), (20, 360, 400)], effect=2.0)


def test_the_chances_of_all_capacities_are_one_and_those_of_parts_add_up():
    low, high = np.array([1e-3, 17.0, 17.0, 18.0]), np.array([1e5, 19.0, 18.0, 19.0])
    whole, both, first, second = BELIEF.chances_between(low, high)
    assert whole == pytest.approx(1)
    assert both == pytest.approx(first + second)
    assert 0 < first < both < 1


@pytest.mark.parametrize("level", [14.0, 17.0, 25.0])
def test_the_chance_of_a_capacity_above_a_level_is_that_the_level_meets_the_slo(level):
    (above,) = BELIEF.chances_between(np.array([level]), np.array([1e5]))
    assert above == pytest.approx(BELIEF.describe(level).meets)


@pytest.mark.parametrize("fails", [0.02, 0.1, 0.5, 0.9])
def test_the_level_of_a_chance_to_fail_has_that_chance(fails):
    level = BELIEF.find_level(fails)
    assert BELIEF.describe(level * 0.999).fails <= fails <= BELIEF.describe(level * 1.001).fails


def steep(steepness):
    return Curve(steepness=steepness)


def test_a_steepness_that_the_latencies_tell_narrows_the_capacity():
    counts = [(100.0, 100, 100), (120.0, 90, 100)]
    known, unknown = (
        Belief.from_counts(counts, 2.0, steep(40.0)).describe(1),
        Belief.from_counts(counts, 2.0).describe(1),
    )
    assert known.high / known.low < unknown.high / unknown.low
    assert known.low > unknown.low


def test_a_steepness_is_not_believed_against_what_requests_tell():
    level_misses = {50.0: 0.005, 100.0: 0.01, 200.0: 0.02, 400.0: 0.04}
    counts = [(level, round(4000 * (1 - misses)), 4000) for level, misses in level_misses.items()]
    told, alone = Belief.from_counts(counts, 2.0, steep(100.0)).describe(1), Belief.from_counts(counts, 2.0).describe(1)
    assert told.middle == pytest.approx(alone.middle, rel=0.1)


def test_no_probe_alone_rules_out_a_capacity():
    """The host may have been slower for that time: further probes take it back."""
    slow = (100.0, 20, 160)
    assert Belief.from_counts([slow], 2.0).describe(100.0).meets < 0.01
    assert Belief.from_counts([slow, *[(100.0, 400, 400)] * 3], 2.0).describe(100.0).meets > 0.9


COUNTS = [(100.0, 100, 100), (150.0, 90, 100)]


def believe(counts, crossing=np.nan, error=0.05):
    return Belief.from_counts(counts, 2.0, Curve(crossing, error=error))


def test_where_the_latencies_reach_the_objectives_narrows_the_capacity():
    """By as much as is known, and a little below, as few requests show too low a 99th percentile."""
    unknown, known, hardly = (believe(COUNTS, *each).describe(1) for each in ((), (125.0, 0.04), (125.0, 0.4)))
    assert known.high / known.low < hardly.high / hardly.low < unknown.high / unknown.low
    assert known.middle == pytest.approx(125 * np.exp(-CAUTION * 0.04), rel=0.02)


def test_latencies_are_not_believed_against_what_requests_tell():
    counts = [(100.0, 780, 800), (90.0, 1580, 1600), (80.0, 1595, 1600)]
    assert believe(counts, 200.0).describe(1).high < 120


def test_what_latencies_tell_does_not_make_a_level_less_likely_to_fail():
    """The error that a search states rests on the requests alone."""
    for level in (90.0, 100.0, 110.0):
        assert believe(COUNTS, 140.0).describe(level).fails == believe(COUNTS).describe(level).fails
        assert believe(COUNTS, 140.0).describe(level).meets > believe(COUNTS).describe(level).meets
    assert believe(COUNTS, 140.0).find_level(0.1) == believe(COUNTS).find_level(0.1)


def test_a_probe_under_way_keeps_what_latencies_told():
    before = believe(COUNTS, 140.0)
    assert (
        before.update(110.0, 50, 50, 2.0).describe(1).middle
        == believe([*COUNTS, (110.0, 50, 50)], 140.0).describe(1).middle
    )
