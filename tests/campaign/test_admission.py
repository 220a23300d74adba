"""How many sessions are admitted, at and beside each bound."""

import pytest

from vbench.campaign.admission import Limits, count_admitted


@pytest.mark.parametrize(
    ("waiting", "in_flight", "others", "limits", "expected"),
    [
        # A scheduler takes everything; a batch of its own carries max_parallel with it.
        ([1, 1, 1], [], 0, Limits(None, None), 3),
        ([1, 1, 1], [1], 5, Limits(None, None), 3),
        ([1, 1, 1], [], 0, Limits(2, None), 3),
        ([1, 1, 1], [1], 0, Limits(2, None), 1),
        ([1, 1, 1], [], 1, Limits(2, None), 1),
        ([1, 1, 1], [1], 1, Limits(2, None), 0),
        ([1, 1, 1], [1, 1], 1, Limits(2, None), 0),
        # On this host the bound is counted by the driver from the first job on.
        ([1, 1, 1], [], 0, Limits(2, 8), 2),
        ([1, 1, 1], [1], 0, Limits(2, 0), 1),
        # Two GPUs: sessions are admitted until four are asked for; the last may ask for more.
        ([1] * 9, [], 0, Limits(None, 2), 4),
        ([1] * 9, [1, 1, 1], 0, Limits(None, 2), 1),
        ([1] * 9, [1, 1, 1, 1], 0, Limits(None, 2), 0),
        ([2, 2, 2], [], 0, Limits(None, 2), 2),
        ([2, 2], [1, 1, 1], 0, Limits(None, 2), 1),
        # One at a time: exclusive sessions, and servers on the CPU.
        ([1, 1], [], 0, Limits(None, 2, exclusive=True), 1),
        ([1, 1], [1], 0, Limits(None, 2, exclusive=True), 0),
        ([0, 0], [], 0, Limits(None, 0), 1),
        ([0, 0], [0], 0, Limits(None, 0), 0),
        # A server on the CPU of a host with GPUs counts as all of them.
        ([0, 1], [], 0, Limits(None, 2), 1),
        ([], [], 0, Limits(None, 2), 0),
    ],
)
def test_sessions_are_admitted_up_to_the_bound(waiting, in_flight, others, limits, expected):
    assert count_admitted(waiting, in_flight, others, limits) == expected
