"""A pause of the engine that makes a low level miss the SLO once: it is asked again, and told."""

import math
from dataclasses import replace

import pytest
from simulated_engine import SimulatedEngine
from simulated_search import HOUR_S, search

from vbench.workload.incident import GROUP, find_set_aside, find_suspect, set_aside
from vbench.workload.levels import MOST_TRIES, Probe
from vbench.workload.question import OWN, Question
from vbench.workload.search import MOST, NEAR, ROOM, answer, next_question


def told(level, met, of, pressure=0.3, **facts):
    return Probe(level, met, of, pressure=pressure, spread=0.1, **facts)


HIT = told(16, 4, 20, pressure=1.5, in_one_moment=True)
BELOW = [told(4, 8, 8), told(12, 40, 40), told(14, 40, 40)]
PAUSED = [HIT, *BELOW]
PASSED = told(16, OWN, OWN)


def test_a_level_that_missed_in_one_moment_is_asked_once_more_before_those_below_it_are_measured_at_length():
    question = next_question(PAUSED, whole=True)
    assert (question.level, question.exploring, question.attempt, question.judged) == (16, True, 1, 20)
    assert question.belief.describe(16).meets > 0.2  # as if it had not failed
    assert next_question([replace(HIT, in_one_moment=False), *BELOW], whole=True).level < 16


def test_if_it_passes_then_the_probe_that_the_moment_hit_counts_for_nothing_and_the_search_goes_on_above():
    probes = [*PAUSED, PASSED]
    assert find_set_aside(probes) == 0
    assert next_question(probes, whole=True).level == 64
    found = answer(probes, whole=True)
    assert (found.level, found.failed, found.set_aside, found.in_one_moment) == (16, math.inf, 16, False)
    assert next_question([*probes, told(64, 60, 64)], whole=True).level not in (16, 4)


def test_if_it_misses_again_it_fails_as_any_level():
    probes = [*PAUSED, replace(HIT, met=5)]
    assert find_set_aside(probes) is None
    assert next_question(probes, whole=True).level < 16
    assert (answer(probes, whole=True).failed, answer(probes, whole=True).in_one_moment) == (16, False)


def test_a_second_moment_counts():
    probes = [*PAUSED, PASSED, told(64, 30, 64, pressure=1.5, in_one_moment=True), told(40, 50, 50), told(50, 64, 64)]
    probes += [told(58, 64, 64)]
    question = next_question(probes, whole=True)
    assert question is None or question.level < 64
    found = answer(probes, whole=True)
    assert (found.failed, found.set_aside, found.in_one_moment) == (64, 16, True)
    again = [*probes, told(64, 200, 200)]
    assert set_aside(again, find_set_aside(again))[5].trusted


@pytest.mark.parametrize(("pressure", "asked"), [(ROOM, 16), (ROOM + 0.01, None)])
def test_a_level_is_doubted_at_once_only_where_the_latencies_leave_two_fifths_of_room(pressure, asked):
    below = [replace(each, pressure=pressure) for each in BELOW]
    level = next_question([HIT, *below], whole=True).level
    assert (level == 16) is (asked == 16)


@pytest.mark.parametrize(("pressure", "asked"), [(NEAR, 16), (NEAR + 0.01, None)])
def test_no_search_ends_below_a_level_that_missed_in_one_moment_unless_the_answer_is_near_the_capacity(pressure, asked):
    probes = [replace(HIT, pressure=2.0, level=16), told(15, 800, 800, pressure), told(14, 800, 800, pressure)]
    question = next_question(probes, whole=True)
    assert (question and question.level) == asked
    assert answer(probes, whole=True).in_one_moment is (asked == 16)


def test_what_is_no_incident():
    passing = [told(16, 200, 200)]
    for other in (
        replace(HIT, trusted=False),
        replace(HIT, saturated=True),
        replace(HIT, in_one_moment=False),
        replace(HIT, met=20 - GROUP + 1),
        replace(HIT, met=980, of=1000),  # it meets the SLO by itself, but for the last request
    ):
        expected = 0 if other.of == 1000 else None
        assert find_set_aside([other, *passing]) == expected
        assert find_suspect([other], 16) == expected
    assert find_set_aside([replace(HIT, met=981, of=1000), *passing]) is None
    assert find_set_aside([replace(HIT, met=20 - GROUP), *passing]) == 0


@pytest.mark.parametrize(
    "others",
    [
        [told(16, OWN - 1, OWN - 1)],
        [told(16, 98, OWN)],
        [told(16, OWN, OWN, trusted=False)],
        [told(16, OWN, OWN, growing=True)],
        [told(16, OWN, OWN), told(16, 0, 9, saturated=True)],
        [told(17, OWN, OWN)],
    ],
)
def test_a_moment_is_refuted_only_by_requests_enough_of_the_same_level_that_meet_the_slo(others):
    assert find_set_aside([HIT, PASSED]) == 0
    assert find_set_aside([PASSED, HIT]) is None  # its queue may have grown since
    assert find_set_aside([HIT, *others]) is None


def test_where_no_request_is_left_to_ask_again_the_answer_tells_of_the_moment():
    probes = [HIT, told(14, MOST, MOST)]
    assert next_question(probes, whole=True) is None
    assert answer(probes, whole=True).in_one_moment
    assert find_suspect([*probes, replace(PASSED, trusted=False)], 16) == 0


def test_a_level_whose_second_probe_cannot_be_trusted_is_asked_until_it_is_given_up():
    untrusted = replace(PASSED, trusted=False)
    assert next_question([*PAUSED, *[untrusted] * (MOST_TRIES - 1)], whole=True).level == 16
    question = next_question([*PAUSED, *[untrusted] * MOST_TRIES], whole=True)
    assert question is None or question.level != 16


def test_no_level_fails_by_what_other_levels_tell_alone():
    """A level just below one that a pause had hit was asked 26 times, by nine requests that met the SLO each time."""
    beside = Question(15, exploring=False, belief=next_question(PAUSED, whole=True).belief.update(16, 0, 60, 2.0))
    assert beside.belief.describe(15).meets < 0.2
    assert beside.verdict(9, 9) is None
    assert beside.verdict(8, 9) is False


SHORT = {"lengths": "random", "input_len": [16, 64], "output_len": [8, 24]}
MIDDLE = {"input_len": [50, 200], "output_len": [40, 80]}


USUAL = {"ttft_ms": 500.0, "tpot_ms": 50.0}
FAST = SimulatedEngine(0.012, 0.00018, 1e-5), USUAL, SHORT
STEPS = SimulatedEngine(0.02, 0.001, 4e-5), {"ttft_ms": 300.0, "tpot_ms": 60.0}, {**SHORT, **MIDDLE}


@pytest.mark.parametrize(
    ("server", "kind", "seed", "at_s", "pause_s", "paused"),
    [
        (FAST, "max_concurrency", 0, 2.63, 1.0, 64),  # was answered by 61 of 185
        (FAST, "request_rate", 0, 47.12, 2.0, 128),  # by 120 of 235
        (STEPS, "max_concurrency", 1, 3.66, 2.0, 4),  # by 3 of 35
    ],
)
def test_one_pause_at_a_low_level_does_not_bound_the_answer(server, kind, seed, at_s, pause_s, paused):
    steady, slo, load = server
    at_s += seed * HOUR_S
    hit = replace(steady, paused_at_s=at_s, paused_s=pause_s)
    undisturbed, found = (search(engine, slo, kind, seed, **load) for engine in (steady, hit))
    first = next(probe for probe in found.probes if probe.level == paused)
    assert first.in_one_moment
    assert first.met < 0.9 * first.of
    assert found.answer == pytest.approx(undisturbed.answer, rel=0.1)
    assert len(found.probes) <= len(undisturbed.probes) + 6
