"""Which level is probed next, and the answer, on servers without noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbench.schema import Search, Workload
from vbench.workload.search import (
    DECIDING,
    EXPLORING,
    HIGHEST,
    LOWEST,
    MOST_TRIES,
    Probe,
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
        met = question.requests if passes(question.level) else question.requests // 2
        probes.append(Probe(question.level, met, question.requests))
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


def test_levels_double_by_short_probes_until_one_fails():
    probes = searched(lambda level: level <= 8)
    assert [probe.level for probe in probes][:5] == [1, 2, 4, 8, 16]
    assert {probe.of for probe in probes[:5]} == {EXPLORING}
    assert EXPLORING == 8


def test_where_not_even_one_at_a_time_meets_them_the_answer_is_none():
    probes = searched(lambda _: False)
    assert {probe.level for probe in probes} == {1}
    assert answer(probes) == 0


def test_a_rate_is_halved_no_further_than_the_lowest():
    probes = searched(lambda _: False, whole=False)
    assert min(probe.level for probe in probes) == LOWEST == 1 / 64
    assert answer(probes) == 0


def test_a_server_without_limit_is_answered_by_the_highest_level():
    assert answer(searched(lambda _: True)) == HIGHEST == 8192


def test_a_level_that_seems_to_fail_is_looked_at_twice_as_long_before_it_is_believed():
    probes = [Probe(1, 8, 8), Probe(2, 7, 8)]
    question = next_question(probes, whole=True)
    assert (question.level, question.requests, question.attempt, question.exploring) == (2, 16, 1, False)
    longer = next_question([*probes, Probe(2, 92, 92)], whole=True)
    assert (longer.level, longer.requests) == (2, 200)


def test_a_failure_by_chance_is_taken_back_and_the_search_goes_on_above():
    probes = [Probe(1, 8, 8), Probe(2, 7, 8), Probe(2, 300, 300)]
    assert bracket(probes) == (2, math.inf)
    assert next_question(probes, whole=True).level == 4


def test_the_highest_level_that_seems_to_pass_is_measured_until_that_is_proven():
    probes = [Probe(1, 8, 8), Probe(2, 0, 8)]
    question = next_question(probes, whole=True)
    assert (question.level, question.requests) == (1, 343 - 8)
    assert not question.exploring
    assert next_question([*probes, Probe(1, 335, 335)], whole=True) is None


def test_no_probe_judges_more_than_a_bound():
    missed = [Probe(1, 8, 8), Probe(1, 738, 747), Probe(2, 0, 8)]
    assert next_question(missed, whole=True).requests == DECIDING == 500


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
