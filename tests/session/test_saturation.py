"""Loads under way, of a server that serves so many at a time: does it show that they have outgrown it?"""

import numpy as np
import pytest

from vbench.loadgen import Progress
from vbench.session.saturation import OverloadDetector


def readings(rate, places, first_token_s, whole_s, seconds=60.0):
    """Glimpses twice a second of Poisson arrivals at a server with so many places; others wait for one."""
    rng = np.random.default_rng(0)
    sent = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    free = np.zeros(places)
    begun = []
    for at in sent:
        place = int(np.argmin(free))
        begun.append(max(at, free[place]))
        free[place] = begun[-1] + whole_s
    first, ended = np.array(begun) + first_token_s, np.array(begun) + whole_s
    for now in np.arange(0.5, seconds, 0.5):
        new = (first > now - 0.5) & (first <= now)
        yield Progress(
            elapsed_s=now,
            completed=int((ended <= now).sum()),
            reads=0,
            in_flight=int(((sent <= now) & (ended > now)).sum()),
            answered=tuple(zip(sent[new], (first - sent)[new], strict=True)),
        )


def shown_at(load, limit_s=None):
    """Seconds until it shows, None where it never does."""
    overload = OverloadDetector(limit_s)
    return next((overload.at_s for progress in load if overload(progress)), None)


@pytest.mark.parametrize("rate", [15, 20, 40, 200])
def test_a_rate_beyond_the_servers_shows_early(rate):
    at = shown_at(readings(rate, places=10, first_token_s=0.1, whole_s=1.0), limit_s=0.5)
    assert at is not None
    assert at < 10


@pytest.mark.parametrize("whole_s", [0.5, 5.0, 40.0])
def test_a_load_that_builds_up_or_has_built_up_does_not(whole_s):
    assert shown_at(readings(10, places=10_000, first_token_s=0.1, whole_s=whole_s)) is None


def test_a_busy_server_that_keeps_up_does_not():
    assert shown_at(readings(16, places=20, first_token_s=0.1, whole_s=1.0), limit_s=0.5) is None


def test_a_load_that_still_meets_its_objective_goes_on():
    assert shown_at(readings(12, places=10, first_token_s=0.1, whole_s=1.0), limit_s=60.0) is None


def shows(answers=40, in_flight=16, completed=16, recent_s=4.0, elapsed_s=100.0, limit_s=None):
    """One reading of a load whose TTFT grew from a quarter of `recent_s` to it, and in flight from 0."""
    waits = np.linspace(recent_s / 4, recent_s, answers)
    waits[len(waits) * 3 // 4 :] = recent_s
    answered = tuple(zip(np.linspace(0, elapsed_s, answers), waits, strict=True))
    return OverloadDetector(limit_s)(
        Progress(elapsed_s=elapsed_s, completed=completed, reads=0, in_flight=in_flight, answered=answered)
    )


def test_too_few_answers_or_requests_in_flight_say_nothing():
    assert shows()
    assert not shows(answers=39)
    assert not shows(in_flight=15)


def test_what_meets_its_objective_to_the_millisecond_goes_on():
    assert not shows(recent_s=4.0, limit_s=4.0)
    assert shows(recent_s=4.001, limit_s=4.0)


def test_a_load_is_built_up_once_as_many_have_ended_as_are_under_way():
    assert shows(completed=16, in_flight=16)
    assert not shows(completed=15, in_flight=16)


def test_a_load_that_never_builds_up_shows_by_waiting_a_quarter_of_its_time():
    assert shows(completed=0, recent_s=25.0)
    assert not shows(completed=0, recent_s=24.9)
