"""Which level is probed next, and the answer, on servers without noise."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbench.schema import Search, Workload
from vbench.workload.grouping import GROUP, Grouping
from vbench.workload.search import (
    EXPLORING,
    HIGHEST,
    LOWEST,
    MOST_TRIES,
    Probe,
    Question,
    answer,
    bracket,
    decide,
    find_unproven,
    next_question,
    streams,
)
from vbench.workload.sequential import MOST


def searched(passes, whole=True, limit=200):
    """Probes until the search ends, of a server on which `passes(level)` holds without noise."""
    probes = []
    while question := next_question(probes, whole):
        met = of = 0
        while question.verdict(met, of) is None:
            of += 1
            met += passes(question.level) or of % 2
        probes.append(Probe(question.level, met, of))
        assert len(probes) < limit
    return probes


@given(st.integers(0, 5000))
def test_the_search_finds_the_capacity_to_its_resolution(capacity):
    probes = searched(lambda level: level <= capacity)
    found = answer(probes)
    assert found <= capacity
    assert capacity - found <= max(1, 0.05 * capacity)
    assert len(probes) < 40


@given(st.floats(0.05, 500))
def test_a_rate_is_found_below_one_as_well(capacity):
    found = answer(searched(lambda level: level <= capacity, whole=False))
    assert found <= capacity < found * 1.06


@pytest.mark.parametrize("capacity", [1, 7, 22, 100])
def test_the_answer_has_passed_the_test_and_the_level_above_it_has_failed_it(capacity):
    probes = searched(lambda level: level <= capacity)
    passed, failed = bracket(probes)
    assert decide([probe for probe in probes if probe.level == passed]) is True
    assert decide([probe for probe in probes if probe.level == failed]) is False


def pressed(level, pressure, met=8, of=8):
    return Probe(level, met, of, pressure=pressure)


def test_levels_double_by_short_probes_until_one_fails():
    probes = searched(lambda level: level <= 16)
    assert [probe.level for probe in probes][:4] == [4, 8, 16, 32]
    assert [probe.of for probe in probes[:3]] == [EXPLORING] * 3
    assert EXPLORING == 8
    assert [probe.level for probe in searched(lambda level: level <= 4, whole=False)][:4] == [1, 2, 4, 8]


@pytest.mark.parametrize(("pressure", "level"), [(0.5, 16), (0.51, 8), (math.nan, 8)])
def test_a_level_that_leaves_half_of_the_objectives_room_is_followed_by_one_four_times_as_high(pressure, level):
    assert next_question([pressed(4, pressure)], whole=True).level == level
    assert next_question([pressed(4, pressure)], whole=False).level == 8


def test_the_highest_level_is_not_jumped_over():
    assert next_question([pressed(4096, 0.1)], whole=True).level == HIGHEST


@pytest.mark.parametrize(
    ("low", "high", "level"),
    [
        (0.5, 1.5, 24),  # halfway
        (0.6, 1.4 + 1 / 4.5, 22),
        (0.9, 2.0, 19),  # as near to the level that passed as it may be: a fifth of the bracket
        (0.1, 1.1, 28),  # and to the one that failed
        (0.5, 0.9, 24),  # it failed by less than its 99th percentile: halved
        (math.nan, 1.5, 24),
        (1.0, 1.5, 24),
    ],
)
def test_a_bracket_is_cut_where_the_objectives_should_be_reached(low, high, level):
    probes = [pressed(16, low), pressed(32, high, met=0)]
    assert next_question(probes, whole=True).level == level
    assert next_question(probes, whole=False).level == 24


def test_a_narrow_bracket_is_cut_within_it():
    assert next_question([pressed(4, 0.99), pressed(6, 9.0, met=0)], whole=True).level == 5
    assert next_question([pressed(4, 0.1), pressed(6, 1.01, met=0)], whole=True).level == 5


def test_the_highest_pressure_of_a_levels_probes_counts():
    probes = [pressed(16, 0.5), pressed(16, 0.9), pressed(32, 1.5, met=0), pressed(32, math.nan, met=0)]
    assert next_question(probes, whole=True).level == 19


def test_where_not_even_one_at_a_time_meets_them_the_answer_is_none():
    probes = searched(lambda _: False)
    assert [probe.level for probe in probes] == [4, 2, 1]
    assert answer(probes) == 0


def test_a_rate_is_halved_no_further_than_the_lowest():
    probes = searched(lambda _: False, whole=False)
    assert min(probe.level for probe in probes) == LOWEST == 1 / 64
    assert answer(probes) == 0


def test_a_server_without_limit_is_answered_by_the_highest_level():
    assert answer(searched(lambda _: True)) == HIGHEST == 8192


def test_a_short_probe_goes_on_until_its_level_seems_to_pass_or_fails():
    short = Question(2, exploring=True)
    assert short.verdict(7, 7) is None
    assert short.verdict(8, 8) is True
    assert short.verdict(7, 8) is None
    assert short.verdict(110, 111) is None
    assert short.verdict(111, 112) is True
    assert short.verdict(4, 8) is False


def test_a_probe_counts_on_from_the_ones_before_it_on_its_level():
    probes = [Probe(1, 8, 8), Probe(2, 7, 8)]
    assert next_question(probes, whole=True) == Question(2, True, attempt=1, met=7, of=8, effect=GROUP)
    assert Question(2, exploring=True, attempt=1, met=7, of=8).verdict(104, 104) is True
    assert Question(2, exploring=True, attempt=1, met=7, of=8).verdict(103, 103) is None
    assert Question(2, exploring=True, attempt=1, met=7, of=8).verdict(0, 3) is False


def test_a_failure_by_chance_is_taken_back_and_the_search_goes_on_above():
    probes = [Probe(1, 8, 8), Probe(2, 7, 8), Probe(2, 300, 300)]
    assert bracket(probes) == (2, math.inf)
    assert next_question(probes, whole=True).level == 4


def test_the_highest_level_that_seems_to_pass_is_measured_until_that_is_proven():
    probes = [Probe(1, 8, 8), Probe(2, 0, 8)]
    assert next_question(probes, whole=True) == Question(1, False, attempt=1, met=8, of=8, effect=GROUP)
    assert Question(1, exploring=False, met=8, of=8).verdict(334, 334) is None
    assert Question(1, exploring=False, met=8, of=8).verdict(335, 335) is True
    assert next_question([*probes, Probe(1, 591, 591)], whole=True) is None
    assert next_question([*probes, Probe(1, 590, 590)], whole=True).level == 1


def test_the_groups_in_which_misses_come_decide_how_many_requests_it_takes():
    """By all probes in which most requests met the SLO; those that failed by far tell nothing about groups."""
    probes = [Probe(1, 100, 100), Probe(2, 190, 200, grouping=Grouping(misses=45.0, excess=65.0))]
    assert next_question(probes, whole=True).effect == pytest.approx(1 + 75 / 50)
    probes[1] = replace(probes[1], grouping=Grouping(misses=45.0, excess=90.0))
    assert next_question(probes, whole=True).effect == 3
    told = replace(probes[1], grouping=Grouping(misses=45.0, excess=65.0))
    for other in (replace(told, met=179), replace(told, trusted=False)):
        assert next_question([probes[0], other], whole=True).effect == GROUP
    assert next_question([probes[0], replace(told, met=180)], whole=True).effect == pytest.approx(2.5)


def test_a_hundred_of_a_hundred_do_not_pass():
    assert decide([Probe(4, 100, 100)]) is None
    assert decide([Probe(4, 343, 343)]) is True
    assert decide([Probe(4, 90, 100)]) is False


def test_probes_of_a_level_count_together():
    assert decide([Probe(4, 172, 172)] * 2) is True
    assert decide([Probe(4, 490, 495)] * 2) is None
    assert decide([Probe(4, MOST // 2, MOST // 2), Probe(4, MOST // 2 - 30, MOST // 2)]) is False


def test_an_invalid_probe_decides_nothing_until_it_was_tried_thrice():
    invalid = Probe(4, 400, 400, trusted=False)
    assert decide([invalid]) is None
    assert decide([invalid, Probe(4, 343, 343)]) is True
    assert decide([invalid] * 2) is None
    assert decide([invalid] * 3) is False
    assert decide([invalid] * 3 + [Probe(4, 20, 20)]) is True
    assert decide([invalid] * 3 + [Probe(4, 19, 20)]) is False
    assert MOST_TRIES == 3


def test_a_saturated_probe_fails_its_level_at_once():
    assert decide([Probe(4, 400, 400, saturated=True)]) is False


def test_a_level_whose_queue_grows_does_not_pass_until_a_longer_look_shows_otherwise():
    growing = Probe(4, 400, 400, growing=True)
    assert decide([growing]) is None
    assert next_question([Probe(5, 0, 8), growing], whole=True).level == 4
    assert decide([growing, Probe(4, 400, 400)]) is True
    assert decide([growing] * 3) is False
    assert decide([Probe(4, 0, 8, growing=True)]) is False


def test_levels_given_up_without_a_trusted_probe_are_unproven():
    invalid = Probe(8, 50, 100, trusted=False)
    told = [Probe(4, 100, 100), Probe(16, 0, 9, trusted=False, saturated=True)]
    assert find_unproven([*told, invalid]) == [8]
    assert find_unproven([*told, invalid, Probe(8, 50, 100)]) == []


def test_a_search_may_open_as_many_streams_as_its_highest_probe():
    assert streams(Workload(num_prompts=100, max_concurrency=8)) == 8
    assert streams(Workload(num_prompts=100)) == 100
    assert streams(Workload(num_prompts=100, search=Search.max_concurrency)) == HIGHEST


@pytest.mark.parametrize(("low", "high", "level"), [(0.99, 9.0, 120), (0.1, 1.01, 180)])
def test_no_level_is_chosen_within_a_fifth_of_a_wide_bracket_from_its_ends(low, high, level):
    probes = [pressed(100, low), pressed(200, high, met=0)]
    assert next_question(probes, whole=True).level == level
