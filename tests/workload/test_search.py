"""Which level is probed next, and the answer, on servers without noise."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vbench.schema import Search, Workload
from vbench.workload.capacity import HIGHEST, LOWEST, Belief
from vbench.workload.grouping import DESIGN_EFFECT, GROUP, Grouping
from vbench.workload.levels import MOST_LONG, MOST_TRIES, Probe
from vbench.workload.question import EXPLORING, OWN, Question
from vbench.workload.search import (
    MOST,
    MOST_JUDGED,
    MOST_PROBES,
    answer,
    find_unproven,
    next_question,
    streams,
)


def searched(passes, whole=True):
    """Probes until the search ends, of a server on which `passes(level)` holds without noise."""
    probes = []
    while question := next_question(probes, whole):
        met = of = 0
        while question.verdict(met, of) is None and of < MOST_JUDGED:
            of += 4
            met += 4 * passes(question.level) or 2
        probes.append(Probe(question.level, met, of))
    return probes


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 5000))
@example(109)  # beside a level that passed, one that fails is not expected to
@example(198)  # below a cliff a level that passed once is not known yet
def test_the_search_finds_the_capacity_within_its_interval(capacity):
    probes = searched(lambda level: level <= capacity)
    found = answer(probes, whole=True).level
    assert found <= capacity
    assert capacity - found <= max(1, 0.06 * capacity)
    assert len(probes) < 30


@settings(deadline=None, max_examples=10)
@given(st.floats(0.05, 500))
def test_a_rate_is_found_below_one_as_well(capacity):
    found = answer(searched(lambda level: level <= capacity, whole=False), whole=False).level
    assert found <= capacity < found * 1.13


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 22, 100])
def test_the_level_that_is_named_was_measured_and_so_was_one_above_it_that_failed(capacity):
    probes = searched(lambda level: level <= capacity)
    found = answer(probes, whole=True)
    assert sum(probe.of for probe in probes if probe.level == found.level) >= OWN == 100
    assert found.level <= capacity < found.failed <= max(capacity + 1, 1.6 * capacity)
    assert found.low <= capacity + 1
    assert found.high >= capacity


def pressed(level, pressure, met=40, of=40):
    return Probe(level, met, of, pressure=pressure)


def test_levels_double_by_short_probes_until_one_fails():
    probes = searched(lambda level: level <= 16)
    assert [probe.level for probe in probes][:4] == [4, 8, 16, 32]
    assert [probe.of for probe in probes[:3]] == [EXPLORING] * 3
    assert EXPLORING == 8
    assert [probe.level for probe in searched(lambda level: level <= 4, whole=False)][:4] == [1, 2, 4, 8]


@pytest.mark.parametrize(("pressure", "level"), [(0.6, 16), (0.61, 8), (math.nan, 8)])
def test_a_level_that_leaves_two_fifths_of_the_objectives_room_is_followed_by_one_four_times_as_high(pressure, level):
    assert next_question([pressed(4, pressure)], whole=True).level == level
    assert next_question([pressed(4, pressure)], whole=False).level == 8


@pytest.mark.parametrize(
    ("low", "high", "level"),
    [
        (0.2, 0.5, 36),  # a half is left, of which 12 places took three tenths
        (0.2, 0.8, 20),
        (0.2, 0.99, 17),  # a tenth more at least
        (0.2, 0.21, 64),  # fourfold at most
        (0.3, 0.2, 64),  # it did not grow
        (0.2, math.nan, 32),
    ],
)
def test_no_level_is_tried_beyond_where_the_latencies_of_the_last_two_point(low, high, level):
    assert next_question([pressed(4, low), pressed(16, high)], whole=True).level == level


def test_the_climb_never_asks_for_the_level_that_passed_again():
    """A tenth more than 4 at once would be 4; a search asked for it 38 times after the engine had paused once."""
    paused = pressed(4, 1.49, met=4, of=6)
    passed = [pressed(2, 0.25, met=8, of=8), *[pressed(4, 0.26, met=100, of=100)] * 2]
    assert next_question([paused, *passed], whole=True).level == 16
    assert next_question([pressed(2, 0.5), pressed(4, 0.99)], whole=True).level == 5
    assert next_question([pressed(4, 0.5), pressed(9, 0.99)], whole=True).level == 10


def test_the_climb_goes_by_the_probe_of_a_level_that_was_not_disturbed():
    """All levels rather pass there. A probe that cannot be trusted tells nothing."""
    low, high = pressed(4, 0.2), pressed(16, 0.5, met=300, of=300)
    slow = pressed(16, 1.4, met=299, of=300)
    assert next_question([low, slow, high], whole=True).level == 36
    assert next_question([low, replace(pressed(16, 0.1), trusted=False), high], whole=True).level == 36


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
def test_a_wide_bracket_is_cut_where_the_objectives_should_be_reached(low, high, level):
    probes = [pressed(16, low), pressed(32, high, met=0)]
    question = next_question(probes, whole=True)
    assert (question.level, question.exploring) == (level, True)


@pytest.mark.parametrize(("low", "high", "level"), [(0.99, 9.0, 120), (0.1, 1.01, 180)])
def test_no_level_is_chosen_within_a_fifth_of_a_wide_bracket_from_its_ends(low, high, level):
    probes = [pressed(100, low), pressed(200, high, met=0)]
    assert next_question(probes, whole=True).level == level


def test_the_highest_pressure_of_a_levels_probes_counts():
    probes = [pressed(16, 0.5), pressed(16, 0.9), pressed(32, 1.5, met=0), pressed(32, math.nan, met=0)]
    assert next_question(probes, whole=True).level == 19


def test_within_a_narrow_bracket_the_level_nearest_to_the_capacity_is_measured_until_the_search_can_end():
    probes = [Probe(16, 300, 300), Probe(20, 80, 100)]
    question = next_question(probes, whole=True)
    assert question.exploring is False
    assert 16 <= question.level <= 18


def test_a_level_counts_as_failed_only_if_its_own_requests_missed_the_slo():
    """Not one of which all met it, though those of its neighbours make it unlikely."""
    probes = [Probe(20, 400, 400), Probe(22, 20, 20), Probe(23, 40, 100)]
    assert answer(probes, whole=True).failed == 23
    assert answer([*probes, Probe(22, 9, 20)], whole=True).failed == 22


def test_where_not_even_one_at_a_time_meets_them_the_answer_is_none():
    probes = searched(lambda _: False)
    assert [probe.level for probe in probes] == [4, 2, 1]
    assert answer(probes, whole=True).level == 0
    assert answer(probes, whole=True).failed == 1


def test_a_rate_is_halved_no_further_than_the_lowest():
    probes = searched(lambda _: False, whole=False)
    assert min(probe.level for probe in probes) == LOWEST == 1 / 64
    assert answer(probes, whole=False).level == 0


def test_a_server_without_limit_is_answered_by_the_highest_level():
    found = answer(searched(lambda _: True), whole=True)
    assert (found.level, found.failed) == (HIGHEST, math.inf)
    assert HIGHEST == 8192


def test_before_any_probe_nothing_is_known():
    assert answer([], whole=True).level == 0
    assert answer([], whole=True).high == math.inf


def test_a_short_probe_goes_on_until_its_level_seems_to_pass_or_fails():
    short = Question(2, exploring=True)
    assert short.verdict(0, 3) is None
    assert short.verdict(0, 4) is False
    assert short.verdict(7, 7) is None
    assert short.verdict(8, 8) is True
    assert short.verdict(7, 8) is None
    assert short.verdict(4, 8) is False


def test_a_level_that_passes_when_asked_for_again_takes_as_many_requests_as_one_that_is_named():
    again = Question(2, exploring=True, attempt=1, judged=300)
    assert again.verdict(OWN - 1, OWN - 1) is None
    assert again.verdict(OWN, OWN) is True
    assert again.verdict(0, 4) is False
    assert Question(2, exploring=True, attempt=1).verdict(8, 8) is True  # the first one could not be trusted


def test_a_level_that_may_be_named_is_judged_until_it_hardly_can_fail():
    """One far below the capacity is left as soon as that is told."""
    beyond = Belief.from_counts([(16, 300, 300), (20, 80, 100)], effect=2.0)
    low = Question(10, exploring=False, belief=beyond)
    assert low.verdict(99, 99) is None
    assert low.verdict(100, 100) is True
    close = Question(17, exploring=False, belief=Belief.from_counts([(20, 80, 100)], effect=2.0))
    assert close.verdict(100, 100) is None
    assert close.verdict(500, 500) is True


@pytest.mark.parametrize(("judged", "passes"), [(270, None), (290, True)])
def test_a_level_passes_once_it_fails_with_a_probability_of_four_fifths_of_2_percent(judged, passes):
    """0.0172 after 270 requests without a miss, 0.0148 after 290."""
    question = Question(100, exploring=False, belief=Belief.from_counts([(110, 50, 100)], effect=2.0))
    assert question.verdict(judged, judged) is passes


@pytest.mark.parametrize(("failed", "passes"), [(116, True), (117, None)])
def test_a_level_passes_only_if_it_is_close_to_the_capacity_with_a_probability_of_87_percent(failed, passes):
    """0.92 beside a level of 116 that failed, 0.83 beside one of 117."""
    question = Question(100, exploring=False, belief=Belief.from_counts([(failed, 50, 100)], effect=2.0))
    assert question.verdict(300, 300) is passes


def test_a_level_is_measured_a_little_below_where_the_latencies_of_all_probes_reach_the_objectives():
    """Where the requests that missed it leave that open."""
    near = [pressed(16, 0.9, met=300, of=300), pressed(20, 1.1, met=80, of=100)]
    near = [replace(each, spread=0.1) for each in near]
    assert next_question(near, whole=True).level == 17
    apart = [replace(pressed(64, 0.4), spread=0.1), replace(pressed(128, 1.1, met=20, of=100), spread=0.1)]
    assert 110 <= next_question(apart, whole=True).level <= 122


def test_no_level_is_named_whose_own_requests_miss_the_slo():
    """However many met it at the next level below."""
    probes = [Probe(109, 8000, 8000), Probe(110, 390, 400)]
    assert answer(probes, whole=True).level == 109
    assert answer(probes[1:], whole=True).level == 0


def test_a_level_at_a_cliff_is_approached_though_one_below_may_be_named():
    """The share of misses may grow more steeply than is expected."""
    probes = [Probe(100, 800, 800), Probe(110, 40, 100)]
    assert answer(probes, whole=True).level == 100
    assert next_question(probes, whole=True).level == 104
    told = [replace(each, pressure=pressure, spread=0.05) for each, pressure in zip(probes, (0.98, 1.1), strict=True)]
    assert next_question(told, whole=True) is None


@pytest.mark.parametrize(
    ("cliff", "whole", "asked"), [(107, True, None), (108, True, 103), (106, False, None), (107, False, 103)]
)
def test_nothing_is_tried_below_a_cliff_of_which_what_may_be_named_is_94_percent(cliff, whole, asked):
    question = next_question([Probe(100, 800, 800), Probe(cliff, 80, 100)], whole)
    assert (question and question.level) == asked


@pytest.mark.parametrize(("met", "asked"), [(89, 104), (90, None)])
def test_a_level_of_which_fewer_than_90_percent_meet_the_slo_is_a_cliff(met, asked):
    question = next_question([Probe(100, 800, 800), Probe(110, met, 100)], whole=True)
    assert (question and question.level) == asked


def test_a_short_probe_of_a_level_that_may_be_named_judges_two_requests_for_each_place():
    beyond = Belief.from_counts([(200, 80, 100)], effect=2.0)
    short = Question(170, exploring=True, belief=beyond)
    assert short.verdict(170, 170) is None
    assert short.verdict(340, 340) is True
    assert replace(short, level=100).verdict(8, 8) is True


def test_a_deciding_probe_ends_as_soon_as_its_level_has_failed():
    probes = [Probe(16, 300, 300), Probe(20, 80, 100)]
    question = next_question(probes, whole=True)
    assert question.verdict(100, 100) is None
    assert question.verdict(90, 100) is False


def told(level, pressure, met, of, spread=0.15):
    return Probe(level, met, of, pressure=pressure, spread=spread)


@pytest.mark.parametrize(("whole", "step"), [(True, 1), (False, 0.01)])
def test_a_level_that_was_told_to_pass_is_not_asked_again(whole, step):
    """The next one above it is, though the latencies point to it, however often it was asked."""
    probes = [told(4, 0.548, 10, 10), told(16, 1.026, 189, 192, 0.3), *[told(14, 0.93, 796, 801, 0.3)] * MOST_TRIES]
    assert answer(probes, whole).level == 14
    question = next_question(probes, whole)
    assert question is None or 14 + step <= question.level <= 15


def test_a_level_that_its_own_misses_keep_from_being_named_is_not_asked_again():
    """Though its neighbours let expect that it meets the SLO: one a little lower is."""
    bounds = [told(64, 0.55, 70, 70), told(131, 1.1, 63, 134)]
    for missed in (3, 4, 6):
        blocked, above = told(115, 0.99, 120 - missed, 120), told(118, 0.97, 300, 300)
        assert next_question([*bounds, blocked, above], whole=True).level == 113
    below = [*bounds, told(115, 0.99, 117, 120), told(110, 0.9, 800, 800)]
    assert next_question(below, whole=True) is None
    assert answer(below, whole=True).level == 110


def test_a_small_level_that_its_own_misses_keep_from_being_named_is_asked_again():
    """The next one below it would be more than a twentieth lower; in twenties it would not."""
    low, high = ([Probe(8 * n, 600, 600), Probe(9 * n, 117, 120), Probe(12 * n, 60, 100)] for n in (1, 10))
    assert next_question(low, whole=True).level == 9
    assert next_question(high, whole=True) is None or next_question(high, whole=True).level != 90


def test_a_level_is_asked_five_times_at_most_however_close_to_99_percent_it_is():
    probes = [Probe(18, 750, 801), *[Probe(15, 793, 801)] * MOST_LONG]
    question = next_question(probes, whole=True)
    assert question is None or question.level != 15


def test_the_climb_on_a_flat_curve_goes_on_twofold():
    """One level that is far from the limit does not tell how fast the latencies grow."""
    flat = [told(level, pressure, 40, 40, 0.1) for level, pressure in ((4, 0.59), (16, 0.62), (32, 0.66))]
    assert next_question(flat, whole=True).level == 64


def test_a_failure_by_chance_is_taken_back_and_the_search_goes_on_above():
    probes = [Probe(1, 40, 40), Probe(2, 6, 8)]
    assert answer(probes, whole=True).failed == 2
    probes += [Probe(2, 800, 800)]
    assert answer(probes, whole=True).failed == math.inf
    assert next_question(probes, whole=True).level == 4


def test_requests_at_one_level_count_at_its_neighbours():
    """So a level that passes or fails far from its bounds need not be measured again beside it."""
    probes = [Probe(16, 300, 300), Probe(24, 100, 120)]
    alone = Question(18, exploring=False)
    beside = replace(alone, belief=next_question(probes, whole=True).belief)
    above = [*probes, Probe(20, 400, 400)]
    told = replace(alone, belief=next_question(above, whole=True).belief)
    assert told.belief.describe(18).meets > beside.belief.describe(18).meets > 0.3


def test_the_groups_in_which_misses_come_decide_how_many_requests_it_takes():
    """By all probes in which most requests met the SLO; those that failed by far tell nothing about groups."""
    probes = [Probe(10, 100, 100), Probe(20, 190, 200, grouping=Grouping(misses=30.0, excess=0.0))]
    assert next_question(probes, whole=True).effect == DESIGN_EFFECT == 2
    probes[1] = replace(probes[1], grouping=Grouping(misses=30.0, excess=90.0))
    assert next_question(probes, whole=True).effect == pytest.approx(3.5)
    told = probes[1]
    for other in (replace(told, met=179), replace(told, trusted=False)):
        assert next_question([probes[0], other], whole=True).effect == GROUP == 3
    assert next_question([probes[0], replace(told, met=180)], whole=True).effect == pytest.approx(3.5)


def test_the_interval_widens_with_the_groups_of_misses_more_than_the_search_takes_them_into_account():
    """In threes each request counts as 1 / 4.5 of one, where the search counts it as a third; alone as a half."""
    for excess, effect in ((0.0, 2.0), (60.0, 4.5), (150.0, 10.125)):
        probes = [Probe(10, 400, 400), Probe(20, 190, 200, grouping=Grouping(misses=30.0, excess=excess))]
        found, told = answer(probes, whole=True), Belief.from_counts([(10, 400, 400), (20, 190, 200)], effect)
        assert [found.low, found.high] == pytest.approx(told.find_capacities(0.05, 0.95))


def test_a_search_ends_at_its_bounds_however_little_it_knows():
    open_ = [Probe(16, 792, 800), Probe(20, 780, 800), Probe(14, 794, 800)]
    assert next_question(open_, whole=True) is not None
    assert next_question([*open_, Probe(16, MOST, MOST)], whole=True) is None
    assert next_question([Probe(4, 1, 1, trusted=False)] * MOST_PROBES, whole=True) is None
    assert (MOST, MOST_PROBES, MOST_JUDGED) == (8000, 40, 800)


def test_an_invalid_probe_decides_nothing_until_it_was_tried_thrice():
    invalid = Probe(4, 400, 400, trusted=False)
    assert next_question([invalid], whole=True).level == 4
    assert next_question([invalid] * 2, whole=True).level == 4
    assert next_question([invalid] * 3, whole=True).level == 2
    assert next_question([invalid, Probe(4, 300, 300)], whole=True).level == 8
    assert MOST_TRIES == 3


def test_a_saturated_probe_fails_its_level_at_once():
    assert answer([Probe(4, 400, 400, saturated=True)], whole=False).failed == 4


def test_a_level_whose_queue_grows_does_not_end_the_search_until_a_longer_look_shows_otherwise():
    probes = searched(lambda level: level <= 20)
    assert next_question(probes, whole=True) is None
    named = answer(probes, whole=True).level
    last = [replace(probe, growing=probe.level == named) for probe in probes]
    assert next_question(last, whole=True) is not None
    still = Probe(named, 100, 100)
    assert next_question([*last, still], whole=True) is None
    grows = [*probes, *[replace(still, growing=True)] * 3]
    assert answer(grows, whole=True).level < named


def test_levels_given_up_without_a_trusted_probe_are_unproven():
    invalid = Probe(8, 50, 100, trusted=False)
    told = [Probe(4, 100, 100), Probe(16, 0, 9, trusted=False, saturated=True)]
    assert find_unproven([*told, invalid]) == [8]
    assert find_unproven([*told, invalid, Probe(8, 50, 100)]) == []


def test_a_search_may_open_as_many_streams_as_its_highest_probe():
    assert streams(Workload(num_prompts=100, max_concurrency=8)) == 8
    assert streams(Workload(num_prompts=100)) == 100
    assert streams(Workload(num_prompts=100, search=Search.max_concurrency)) == HIGHEST
