"""Hits in a prefix cache, by hand: what blocks are, who can hit them, and what a small cache loses."""

import numpy as np
import pytest
from builders import requests

from vbench.metrics.prefix_cache import Timeline, chain_blocks, infinite_hits, simulate, timeline

BLOCK = 4


def content(*prompts, replies=None, output=1):
    ids = [np.array(each) for each in prompts]
    known = None if replies is None else [np.array(each) for each in replies]
    return chain_blocks(ids, known, BLOCK, np.full(len(ids), output))


def one_after_another(count):
    at = np.arange(float(count))
    return Timeline(at, at + 0.3, at + 0.6, np.arange(count))


def test_blocks_are_equal_only_behind_equal_beginnings():
    found = content([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 9], [9, 2, 3, 4, 5, 6, 7, 8])
    assert found.offsets.tolist() == [0, 2, 4, 6]  # full blocks only
    first, second, third = np.split(found.ids, 3)
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert not set(first) & set(third)


def test_the_last_token_of_a_prompt_is_never_a_hit():
    prompts = content([1] * 8, [1] * 8, [1] * 9)
    assert infinite_hits(prompts, one_after_another(3)).tolist() == [0, 4, 8]
    assert simulate(prompts, one_after_another(3), [100]).tolist() == [0, 4, 8]


def test_a_reply_is_hit_by_the_turn_that_carries_it_but_not_its_last_token():
    turns = content([1] * 4, [1] * 4 + [2] * 4 + [3], [1] * 4 + [2] * 4 + [3], replies=[[2] * 4, [], []], output=4)
    # Of the first turn 4 + 3 tokens were computed: its second block was never full.
    assert infinite_hits(turns, one_after_another(3)).tolist() == [0, 4, 8]
    assert simulate(turns, one_after_another(3), [100]).tolist() == [0, 4, 8]
    longer = content([1] * 4, [1] * 4 + [2] * 5, replies=[[2] * 5, []], output=5)
    assert infinite_hits(longer, one_after_another(2)).tolist() == [0, 8]
    assert simulate(longer, one_after_another(2), [100]).tolist() == [0, 8]


def test_a_prompt_can_be_hit_as_soon_as_it_is_admitted_and_a_reply_once_it_has_ended():
    turns = content([1] * 8, [1] * 8 + [5], [1] * 12 + [5], replies=[[1] * 8, [], []], output=8)
    at = np.array([0.0, 0.0, 1.0])
    during = Timeline(at, at + 0.1, np.array([2.0, 0.5, 1.5]), np.arange(3))
    assert infinite_hits(turns, during).tolist() == [0, 8, 8]
    afterwards = Timeline(at, at + 0.1, np.array([0.9, 0.5, 1.5]), np.arange(3))
    assert infinite_hits(turns, afterwards).tolist() == [0, 8, 12]


def test_at_one_instant_a_reply_ends_before_the_turn_that_carries_it_is_admitted():
    turns = content([1] * 8, [1] * 12 + [5], replies=[[1] * 5, []], output=5)  # its third block is full at its end
    times = Timeline(np.array([0.0, 2.0]), np.array([0.5, 2.5]), np.array([2.0, 3.0]), np.arange(2))
    assert simulate(turns, times, [100]).tolist() == infinite_hits(turns, times).tolist() == [0, 12]


def test_replicas_do_not_share_their_caches():
    prompts, times = content([1] * 9, [1] * 9, [1] * 9), one_after_another(3)
    caches = np.array([0, 1, 0])
    assert infinite_hits(prompts, times, caches).tolist() == [0, 0, 8]
    assert simulate(prompts, times, [100, 100], caches).tolist() == [0, 0, 8]


def test_a_small_cache_loses_what_was_used_least_recently_and_the_ends_first():
    a, b = [1] * 9, [2] * 9  # three blocks each, two of them cached
    prompts, times = content(a, b, a, b), one_after_another(4)
    assert infinite_hits(prompts, times).tolist() == [0, 0, 8, 8]
    assert simulate(prompts, times, [1 + 6]).tolist() == [0, 0, 8, 8]
    assert simulate(prompts, times, [1 + 4]).tolist() == [0, 0, 4, 4]  # the ends are evicted before the beginnings
    assert simulate(prompts, times, [1 + 3]).tolist() == [0, 0, 0, 0]


def test_blocks_in_use_are_not_evicted_and_who_finds_no_room_waits():
    long, other = [1] * 8 + [3], [2] * 9
    prompts = content(long, other, long)
    held = Timeline(np.array([0.0, 1.0, 5.0]), np.array([0.1, 4.1, 5.1]), np.array([4.0, 4.5, 6.0]), np.arange(3))
    assert simulate(prompts, held, [1 + 3]).tolist() == [
        0,
        0,
        0,
    ]  # the second waits until the first has ended, evicts it
    assert simulate(prompts, held, [1 + 5]).tolist() == [0, 0, 8]


def test_decoding_takes_blocks_and_preempts_who_came_last_where_none_is_left():
    prompts = content([1] * 8, [2] * 8, [2] * 8 + [7], output=17)
    at = np.array([0.0, 0.5, 40.0])
    times = Timeline(at, at + 1, np.array([20.0, 30.0, 50.0]), np.arange(3))
    # 2 + 4 blocks of the first and 2 of the second: it is preempted, and admitted again as the first has ended.
    assert simulate(prompts, times, [1 + 7]).tolist() == [0, 0, 8]


def test_admission_is_the_step_before_the_first_token_in_the_order_of_sending():
    steps = [1.0, 2.0, 3.0, 4.0]
    made = requests(
        [(at, 1) for at in steps],  # decodes all the time
        [(3.0, 1)],  # sent at 0.5: waits until the step that begins at 2
        [(3.0, 1)],  # sent at 2.5, in the middle of that step: admitted as it was sent
        [],
        sent=[0.0, 0.5, 2.5, 2.6],
        finished=np.array([4.0, 3.0, 3.0, 2.7]),
    )
    found = timeline(made)
    assert found.admitted.tolist() == [0.0, 2.0, 2.5, 2.6]
    assert found.first.tolist() == [1.0, 3.0, 3.0, 2.7]
    assert found.order.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(("before_s", "admitted"), [(0.0019, 2.0), (0.0021, 2.9979), (0.01, 2.99)])
def test_tokens_of_one_step_come_within_2_ms(before_s, admitted):
    """The first token of a request that was sent at 0.5 comes at 3 s, and one of another so shortly before it."""
    made = requests([(1.0, 1), (2.0, 1), (3.0 - before_s, 1)], [(3.0, 1)], sent=[0.0, 0.5])
    assert timeline(made).admitted.tolist() == pytest.approx([0.0, admitted])


def test_a_load_without_requests_has_no_hits():
    nothing = Timeline(*(np.empty(0) for _ in range(3)), np.empty(0, np.int64))
    empty = chain_blocks([], None, BLOCK, np.empty(0, np.int64))
    assert infinite_hits(empty, nothing).tolist() == simulate(empty, nothing, [10]).tolist() == []


def test_a_small_cache_never_hits_more_than_an_infinite_one_and_a_large_one_hits_as_much():
    rng = np.random.default_rng(3)
    prompts = [
        np.concatenate([np.full(rng.integers(1, 60), rng.integers(5)), rng.integers(9, 99, 9)]) for _ in range(80)
    ]
    made, times = content(*prompts, output=6), one_after_another(80)
    most = infinite_hits(made, times)
    assert simulate(made, times, [10_000]).tolist() == most.tolist()
    shares = [simulate(made, times, [blocks]).sum() / most.sum() for blocks in (25, 40, 60, 120)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.8
    assert shares[-1] > 0.9


@pytest.mark.parametrize("blocks", [2, 3])
def test_a_prompt_that_never_fits_hits_nothing_and_holds_nobody_up_forever(blocks):
    made = content([1] * 40, [2] * 5, [2] * 5)
    assert simulate(made, one_after_another(3), [1 + blocks]).tolist()[0] == 0
