"""Pauses of all requests by cause, on requests whose every instant is written out."""

import numpy as np
import pytest
from builders import requests

from vbench.metrics.definitions import metrics
from vbench.metrics.stalls import EngineFacts, prefill_rate


def ticking(start, end, every=0.1):
    """A reply with a token each tenth of a second."""
    return [(float(t), 1) for t in np.arange(start, end, every)]


def found(made, **known):
    return metrics(made, EngineFacts(**known))


def causes(made, **known):
    """Seconds of the longest pause of each cause, where there is one."""
    keys = {cause: f"longest_{cause}_stall_ms" for cause in ("compile", "front_end", "prefill", "unexplained")}
    measured = found(made, **known)
    return {cause: pytest.approx(measured[key] / 1e3) for cause, key in keys.items() if measured[key]}


def test_a_pause_is_when_no_token_comes_though_something_is_in_flight():
    waits = requests([(1.0, 1), (1.1, 1)], [(5.0, 1), (5.2, 1)])  # the second waits from 1.1 to 5.0
    assert metrics(waits)["longest_stall_ms"] == pytest.approx(3900)
    held = requests([(1.0, 1), (6.0, 1)], [(2.0, 1), (2.1, 1)], [(2.5, 1)])
    assert metrics(held)["longest_stall_ms"] == pytest.approx(3500)
    idle = requests([(0.1, 1), (0.2, 1)], [(9.3, 1), (9.4, 1)], sent=[0.0, 9.0])  # nothing is in flight for 8.8 s
    assert metrics(idle)["longest_stall_ms"] == pytest.approx(300)
    assert metrics(requests([(8.0, 1)]))["longest_stall_ms"] == pytest.approx(8000)  # before the first token of all


def test_a_reply_without_a_token_waits_until_its_end():
    made = requests([(0.1, 1)], [], sent=[0.0, 0.0], finished=np.array([0.1, 4.1]))
    assert metrics(made)["longest_stall_ms"] == pytest.approx(4000)


def test_a_pause_in_which_the_engine_compiled_is_the_compilers():
    made = requests([*ticking(0.1, 2), *ticking(4.0, 5)])  # from 1.9 to 4.0
    assert causes(made, compiled_at=np.array([3.0])) == {"compile": 2.1}
    assert causes(made, compiled_at=np.array([1.0])) == {"compile": 2.1}  # logged as 1 s: up to the end of that second
    assert causes(made, compiled_at=np.array([0.8])) == {"unexplained": 2.1}
    assert causes(made, compiled_at=np.array([4.1])) == {"unexplained": 2.1}
    assert causes(made) == {"unexplained": 2.1}


def held_up(prompt_tokens):
    """One reply that stands still from 1.9 to 4.0, as a prompt comes at 2.0 whose first token ends that."""
    lengths = np.array([8, prompt_tokens])
    return requests([*ticking(0.1, 2), *ticking(4.0, 5)], ticking(4.0, 5), sent=[0.0, 2.0], input_tokens=lengths)


def test_a_pause_is_prefill_where_the_prompts_in_flight_take_that_long_at_the_rate_seen():
    assert causes(held_up(4000), prefill_rate=2000.0) == {"prefill": 2.1}
    assert causes(held_up(4000), prefill_rate=20_000.0) == {"unexplained": 2.1}
    assert causes(held_up(100), prefill_rate=2000.0) == {"unexplained": 2.1}


def test_the_rate_of_a_pause_is_never_its_own():
    alone = requests(ticking(3.0, 4), input_tokens=np.array([3000]))
    assert prefill_rate(alone) == pytest.approx(1000)
    assert causes(alone) == {"unexplained": 3.0}
    assert causes(alone, prefill_rate=prefill_rate(alone)) == {}


def test_pauses_of_one_rate_explain_each_other_and_a_slower_one_stands_out():
    replies = [[*ticking(0.1, 1), *ticking(2.0, 3), *ticking(4.0, 5)], ticking(2.0, 3), ticking(4.0, 5)]
    tokens, sent = [8, 8000, 8000], [0.0, 1.0, 3.0]
    even = requests(*replies, sent=sent, input_tokens=np.array(tokens))
    assert causes(even) == {"prefill": 1.1}
    slow = [[(5.0, 1), (8.0, 1)], [(8.0, 1), (8.1, 1)]]
    made = requests(*replies, *slow, sent=[*sent, 4.9, 5.0], input_tokens=np.array([*tokens, 8, 8000]))
    assert causes(made) == {"prefill": 1.1, "unexplained": 3.0}


def test_no_more_prompts_explain_a_pause_than_one_step_takes():
    waiting = [ticking(4.0 + each, 9) for each in range(4)]
    made = requests([*ticking(0.1, 2), *ticking(4.0, 9)], *waiting, input_tokens=np.array([8, *[8192] * 4]))
    assert causes(made, prefill_rate=7500.0) == {"prefill": 2.1}  # a step takes 1.1 s
    assert causes(made, prefill_rate=16_000.0) == {"unexplained": 2.1}  # all that wait would take 2 s
    long = requests(ticking(4.0, 9), input_tokens=np.array([40_000]))  # no reply is held up by a prompt of five steps
    assert causes(long, prefill_rate=10_000.0) == {}


def test_waiting_for_a_first_token_alone_is_no_prefill_stall():
    alone = requests(ticking(3.0, 4), input_tokens=np.array([3000]))
    assert causes(alone, prefill_rate=1000.0) == {}
    assert causes(alone, prefill_rate=10_000.0) == {"unexplained": 3.0}


def test_the_longest_gap_is_told_reply_by_reply():
    steady = [ticking(0.1, 6) for _ in range(98)]
    still = [[(0.1, 1), (3.1, 1)] for _ in range(2)]
    measured = metrics(requests(*steady, [(0.5, 1)], *still))
    assert measured["longest_stall_ms"] == pytest.approx(100)
    assert measured["longest_reply_gap_ms"] == pytest.approx(3000)
    assert measured["p99_reply_gap_ms"] == pytest.approx(3000, rel=0.01)
    assert measured["paused_replies"] == pytest.approx(0.02)
    assert "longest_reply_gap_ms" not in metrics(requests([(1.0, 1)]))


@pytest.mark.parametrize(("gap_s", "told"), [(0.49, {}), (0.5, {"unexplained": 0.5})])
def test_the_cause_of_a_pause_is_told_from_half_a_second_on(gap_s, told):
    assert causes(requests([(1.0, 1), (1.0 + gap_s, 1)], sent=[0.75])) == told


@pytest.mark.parametrize(("prompt_tokens", "cause"), [(2110, "prefill"), (2090, "unexplained")])
def test_a_prefill_explains_a_pause_of_twice_its_expected_length(prompt_tokens, cause):
    assert causes(held_up(prompt_tokens), prefill_rate=2000.0) == {cause: 2.1}


@pytest.mark.parametrize(("second_at", "cause"), [(4.04, "prefill"), (4.06, "unexplained")])
def test_first_tokens_within_50_ms_left_the_engine_in_one_step(second_at, cause):
    made = requests(
        [*ticking(0.1, 2), *ticking(4.0, 5)], [(4.0, 1)], [(second_at, 1)],
        sent=[0.0, 2.0, 2.0], input_tokens=np.array([8, 1055, 1055]),
    )  # fmt: skip
    assert causes(made, prefill_rate=2000.0, step_tokens=10) == {cause: 2.1}


@pytest.mark.parametrize(("rate", "cause"), [(7800.0, "prefill"), (7810.0, "unexplained")])
def test_a_pause_holds_one_step_of_8192_tokens_where_the_engine_does_not_say(rate, cause):
    made = requests(
        [*ticking(0.1, 2), *ticking(4.0, 7)], [(6.05, 1)], sent=[0.0, 2.0], input_tokens=np.array([8, 10_000])
    )
    assert causes(made, prefill_rate=rate) == {cause: 2.1}


@pytest.mark.parametrize(("gap_s", "share"), [(1.0, 0.0), (1.01, 0.5)])
def test_a_reply_is_paused_by_a_gap_of_over_a_second(gap_s, share):
    made = requests([(1.0, 1), (1.0 + gap_s, 1)], ticking(1.0, 3))
    assert metrics(made)["paused_replies"] == share


@pytest.mark.parametrize(("first", "rate"), [(1.499, 4000 / 0.499), (1.5, 80.0)])
def test_a_first_token_shows_a_rate_if_it_came_within_half_a_second(first, rate):
    made = requests(ticking(0.1, 3), [(first, 1)], sent=[0.0, 1.0], input_tokens=np.array([8, 4000]))
    assert prefill_rate(made) == pytest.approx(rate)


@pytest.mark.parametrize(("n", "rate"), [(999, 1000.0), (1000, 100.0)])
def test_of_1000_first_tokens_every_other_is_looked_at(n, rate):
    sent, took = np.arange(n) * 10.0, np.full(n, 0.1)
    took[1] = 0.01  # the fastest is the second
    made = requests(*([(float(at), 1)] for at in sent + took), sent=sent.tolist(), input_tokens=np.full(n, 10))
    assert prefill_rate(made) == pytest.approx(rate)
