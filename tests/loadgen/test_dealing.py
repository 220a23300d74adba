"""A load divided among processes is the load that was asked: so many in flight to the end, whatever their number."""

from __future__ import annotations

import dataclasses
import heapq

import numpy as np
import pytest
from builders import run_config

from vbench.loadgen import Endpoint, Load
from vbench.loadgen.load import deal
from vbench.workload.prompts import prompts
from vbench.workload.sharing import send_times


def load(lengths, **limits):
    n = len(lengths)
    return Load(
        endpoints=(Endpoint("http://host", "m"),),
        prompts=[np.array([index], np.int32) for index in range(n)],
        output_len=np.array(lengths, np.int64),
        scheduled=np.zeros(n),
        max_concurrency=limits.pop("max_concurrency", None),
        ignore_eos=True,
        timeout_s=1.0,
        **limits,
    )


def take_s(share):
    """Seconds of a closed loop whose replies take a second a token: a place that is free takes the next."""
    free_at = [0.0] * share.max_concurrency
    for tokens in share.output_len.tolist():
        heapq.heapreplace(free_at, free_at[0] + tokens)
    return max(free_at)


@pytest.mark.parametrize(("places", "processes"), [(3, 2), (5, 4), (7, 4), (8, 8), (16, 3), (100, 3)])
@pytest.mark.parametrize("longest", [1, 40])
def test_a_closed_loop_takes_as_long_by_several_processes_as_by_one(places, processes, longest):
    lengths = np.random.default_rng(0).integers(1, longest + 1, 40 * places)
    whole = load(lengths, max_concurrency=places)
    shares = [share for _, share in deal(whole, processes)]
    assert len(shares) == processes
    assert sum(share.max_concurrency for share in shares) == places
    assert max(map(take_s, shares)) == pytest.approx(take_s(whole), abs=2 * longest - 1)


def test_every_request_is_dealt_once_and_keeps_its_order():
    whole = load(np.arange(1, 50), max_concurrency=5)
    places = [own for own, _ in deal(whole, 4)]
    assert sorted(np.concatenate(places)) == list(range(49))
    assert all((np.diff(own) > 0).all() for own in places)


def test_what_is_sent_when_due_is_dealt_in_turn_so_that_a_burst_meets_all_processes():
    assert [own.tolist() for own, _ in deal(load([9, 1, 1, 1, 9, 1]), 2)] == [[0, 2, 4], [1, 3, 5]]


def test_each_process_keeps_its_part_of_the_sessions_busy():
    turns = {"turns": [1, 6], "first_len": 4, "next_len": 4, "think_time_s": 0, "system_len": 0}
    given = {"lengths": "conversations", "num_prompts": 600, "sessions": 3, "output_len": 10, "conversations": turns}
    workload = run_config(workload=given).workload
    asked = prompts(workload, 32000, "", 4096)
    whole = dataclasses.replace(
        load(asked.output_len, structure=asked.structure, sessions=3),
        prompts=asked.ids,
        scheduled=send_times(workload),
    )
    one, other = deal(whole, 2)
    assert (one[1].sessions, other[1].sessions) == (2, 1)
    assert len(one[0]) / len(other[0]) == pytest.approx(2, rel=0.03)
    assert not set(asked.structure.session[one[0]]) & set(asked.structure.session[other[0]])
    first_begun = [set(asked.structure.session[own][: share.sessions].tolist()) for own, share in (one, other)]
    assert 0 in first_begun[0]
    assert 1 in first_begun[1]
