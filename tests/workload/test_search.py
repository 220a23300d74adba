import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbench.schema import Search, Workload
from vbench.workload.search import HIGHEST, MOST_TRIES, Probe, answer, decided, next_level, streams, unproven


def searched(passes, whole=True, of=200, limit=200):
    """Probes until the search ends, of a server on which `passes(level)` holds without noise."""
    probes = []
    while (level := next_level(probes, whole)) is not None:
        probes.append(Probe(level, of if passes(level) else of // 2, of))
        assert len(probes) < limit
    return probes


@given(st.integers(0, 5000))
def test_the_search_finds_the_capacity_to_its_resolution(capacity):
    probes = searched(lambda level: level <= capacity)
    found = answer(probes)
    assert found <= capacity
    assert capacity - found <= max(1, 0.05 * capacity)
    assert len(probes) < 25


@given(st.floats(0.05, 500))
def test_a_rate_is_found_below_one_as_well(capacity):
    found = answer(searched(lambda level: level <= capacity, whole=False))
    assert found <= capacity < found * 1.06


def test_each_probe_doubles_until_one_fails():
    assert [probe.level for probe in searched(lambda level: level <= 8)][:5] == [1, 2, 4, 8, 16]


def test_where_not_even_one_at_a_time_meets_them_the_answer_is_none():
    probes = searched(lambda _: False)
    assert [probe.level for probe in probes] == [1]
    assert answer(probes) == 0


def test_too_few_requests_to_tell_are_probed_again():
    assert decided([Probe(4, 99, 100)]) is None
    assert next_level([Probe(1, 200, 200), Probe(2, 99, 100)], whole=True) == 2


def test_probes_of_a_level_count_together_and_the_third_decides():
    assert decided([Probe(4, 98, 100)] * MOST_TRIES) is False
    assert decided([Probe(4, 199, 200)] * MOST_TRIES) is True


@pytest.mark.parametrize(("met", "verdict"), [(100, True), (90, False)])
def test_clear_cases_are_decided_at_once(met, verdict):
    assert decided([Probe(4, met, 100)]) is verdict


def test_an_invalid_probe_decides_nothing_until_it_was_tried_thrice():
    invalid = Probe(4, 100, 100, trusted=False)
    assert decided([invalid]) is None
    assert decided([invalid, Probe(4, 100, 100)]) is True
    assert decided([invalid] * MOST_TRIES) is False


def test_a_saturated_probe_fails_its_level_at_once():
    assert decided([Probe(4, 100, 100, saturated=True)]) is False


def test_levels_given_up_without_a_trusted_probe_are_unproven():
    invalid = Probe(8, 50, 100, trusted=False)
    told = [Probe(4, 100, 100), Probe(16, 0, 9, trusted=False, saturated=True)]
    assert unproven([*told, invalid]) == [8]
    assert unproven([*told, invalid, Probe(8, 50, 100)]) == []


def test_a_search_may_open_as_many_streams_as_its_highest_probe():
    assert streams(Workload(num_prompts=100, max_concurrency=8)) == 8
    assert streams(Workload(num_prompts=100)) == 100
    assert streams(Workload(num_prompts=100, search=Search.max_concurrency)) == HIGHEST
