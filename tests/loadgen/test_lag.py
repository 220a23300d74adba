"""How late a stamp may be, by the heartbeats of the loop that made it."""

import numpy as np
import pytest

from vbench.loadgen.lag import lags_at


def beats(*standstills, until=3.0, usual=0.001):
    """How late each heartbeat is handled by a loop that stands still from one instant to another, now and then."""
    due = np.arange(round(until * 100)) / 100
    lags = np.full(len(due), usual)
    for start, end in standstills:
        within = (due + usual > start) & (due < end)
        lags[within] = end - due[within]
    return lags


def test_what_a_loop_stamps_as_a_standstill_ends_may_have_come_as_it_began():
    lags = beats((0.5, 1.5))
    found = lags_at(np.array([0.2, 0.499, 1.5, 1.5001, 1.509, 1.53, 2.9]), lags)
    assert found == pytest.approx([0.001, 0.001, 1.0, 1.0, 1.0, 0.001, 0.001], abs=1e-9)


def test_each_standstill_counts_for_what_came_in_it():
    assert lags_at(np.array([0.7001, 2.0001]), beats((0.5, 0.7), (1.0, 2.0))) == pytest.approx([0.2, 1.0], abs=1e-9)


def test_a_loop_that_keeps_time_stamps_nothing_late_and_none_has_no_stamps():
    assert lags_at(np.array([0.0, 0.014, 2.5]), beats(usual=0.0)).tolist() == [0.0, 0.0, 0.0]
    assert lags_at(np.array([0.0, 9.0]), np.empty(0)).tolist() == [0.0, 0.0]
    assert lags_at(np.empty(0), beats()).tolist() == []
