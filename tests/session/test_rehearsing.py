"""What a rehearsal sends, how long it may take, and when a shape counts as warm: no server is started for it."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from builders import requests

from vbench.session import rehearsal
from vbench.session.rehearsal import Pace, choose_budget_s, is_warm, shape
from vbench.session.rehearsal_facts import Rehearsal
from vbench.session.stepwalk import Finding, Step, judge_sample, one_step, sample_sizes, walk_sizes


@pytest.mark.parametrize(("start_s", "budget_s"), [(0.0, 20.0), (49.0, 20.0), (51.0, 20.4), (230.0, 92.0)])
def test_a_rehearsal_may_take_20_s_or_two_fifths_of_the_start(start_s, budget_s):
    assert choose_budget_s(start_s) == pytest.approx(budget_s)


def test_the_replies_of_a_rehearsed_shape_end_one_after_another_down_to_the_last():
    made = shape([200] * 20, at_once=20, context=2000, most_tokens=32768)
    assert made.input_len.tolist() == [200] * 20
    running = [(made.output_len > step).sum() for step in range(made.output_len.max())]
    assert set(running) == set(range(1, 21))
    assert made.at_once == 20
    assert made.output_len.max() == 64


def test_a_shape_that_is_rehearsed_keeps_to_the_context_and_its_prompts_to_a_few_full_steps():
    narrow = shape([30] * 8, at_once=8, context=40, most_tokens=1000)
    assert (narrow.input_len + narrow.output_len).max() <= 40
    assert narrow.input_len.min() >= 1
    wide = shape([1000] * 640, at_once=640, context=2000, most_tokens=4 * 8192)
    assert 4 * 8192 - 1000 <= wide.input_len[wide.input_len == 1000].sum() <= 4 * 8192
    assert set(wide.input_len) == {1000, 16}
    closed = shape([200] * 100, at_once=10, context=2000, most_tokens=32768)
    assert (len(closed.input_len), closed.at_once) == (10 + 64, 10)


@pytest.mark.parametrize(
    ("now", "settled"),
    [
        (Pace(1.80, 0.45), True),
        (Pace(1.79, 0.45), False),
        (Pace(1.80, 0.449), False),
        (Pace(1.80, 0.0199), True),  # of so short a TTFT a tenth is nothing
        (Pace(1.80, 0.0201), False),
        (Pace(3.00, 0.90), True),
    ],
)
def test_a_shape_is_warm_once_neither_its_time_nor_its_ttft_falls_by_a_tenth(now, settled):
    assert now.has_settled(Pace(2.0, 0.5)) is settled


@pytest.mark.parametrize(
    ("complete", "settled_before", "compiled", "ttft_s", "warm"),
    [
        (True, True, ["k"], 0.5, True),  # the log would tell of a compilation, and the front ends are warm
        (True, False, [], 0.5, False),  # the first shape warms the front ends up
        (False, True, [], 0.5, False),  # a log that tells of some compilations only
        (False, True, [], 0.0199, True),
        (True, False, ["k"], 0.0199, False),
    ],
)
def test_after_the_first_shape_one_round_is_enough_where_the_log_has_every_compilation(
    complete, settled_before, compiled, ttft_s, warm
):
    done = Rehearsal(0.0, 60.0, compiled=compiled, front_ends_warm=settled_before)
    assert is_warm(Pace(2.0, ttft_s), None, done, complete) is warm


def test_a_shape_that_has_got_faster_is_not_warm_whatever_the_log_tells():
    done = Rehearsal(0.0, 60.0, front_ends_warm=True)
    assert not is_warm(Pace(1.0, 0.2), Pace(2.0, 0.5), done, complete=True)


def test_the_sample_goes_down_evenly_and_has_each_size_divisible_by_16_and_not():
    sizes = sample_sizes(8192, 1024)
    assert sizes[:4] == [8185, 8192, 6521, 6528]
    assert {size % 16 == 0 for size in sizes[1::2]} == {True}
    assert {size % 16 == 0 for size in sizes[::2]} == {False}
    assert 1024 < sizes[-2] < 1024 * 1.5
    assert len(sizes) == len(set(sizes)) == 20
    assert sample_sizes(1024, 1024) == []
    assert sample_sizes(8192, 0)[-1] == 32


def test_a_walk_has_every_multiple_of_32_beyond_the_graphs_and_the_divisible_ones_last():
    both = walk_sizes(8192, 1024, Finding(odd=True, divisible=True, tokens_per_s=1.0))
    assert both[0] == 8185
    assert both[224] == 8192
    assert (min(both), len(both)) == (1049, 448)
    assert {-(-size // 32) for size in both} == set(range(33, 257))
    assert walk_sizes(8192, 1024, Finding(odd=False, divisible=True, tokens_per_s=1.0)) == both[224:]
    assert walk_sizes(8192, 1024, Finding(odd=False, divisible=False, tokens_per_s=1.0)) == []


def sent(*steps):
    return [Step(tokens, seconds, ("_topk",) * lines) for tokens, seconds, lines in steps]


@pytest.mark.parametrize(("lines", "seconds", "exact", "follows"), [
    ((1, 1, 0), 0.1, True, True),
    ((1, 0, 0), 0.1, True, False),
    ((0, 0, 0), 0.4, True, False),
    ((0, 0, 0), 0.301, False, True),
    ((1, 1, 1), 0.299, False, False),
])  # fmt: skip
def test_more_than_half_of_the_sampled_sizes_must_compile(lines, seconds, exact, follows):
    tokens = (505, 377, 313)
    first = sent(*((size, seconds, line) for size, line in zip(tokens, lines, strict=True)))
    finding = judge_sample(first, sent(*((size, 0.1, 0) for size in tokens)), exact)
    assert (finding.odd, finding.divisible) == (follows, False)
    assert finding.tokens_per_s == pytest.approx(5050)


@pytest.mark.parametrize(("compiled", "follows"), [(5, False), (6, True)])
def test_half_of_ten_sampled_sizes_are_not_more_than_half(compiled, follows):
    first = sent(*((505 + 32 * place, 0.1, int(place < compiled)) for place in range(10)))
    again = sent(*((505 + 32 * place, 0.1, 0) for place in range(10)))
    assert judge_sample(first, again, exact=True).odd is follows


@pytest.mark.parametrize(("extra_s", "cold_s"), [(0.2, 0.2), (0.199, 0.0)])
def test_a_step_that_took_as_much_longer_as_a_compilation_at_least_extends_the_budget(extra_s, cold_s):
    done = Rehearsal(began=0.0, budget_s=20.0)
    assert done.add_cold(extra_s, 0.2) is bool(cold_s)
    assert (done.cold_s, done.budget_s) == (cold_s, 20.0 + cold_s)


def test_a_step_beyond_the_context_is_several_prompts_behind_one_that_is_a_step_of_its_own():
    assert one_step(1600, context=2000) == (1, 1600)
    assert one_step(8192, context=2000) == (6, 1638)


def longest_replies(monkeypatch, counts, *, monitor="verbose", kernels=(), paused=(), ttft_s=0.5):
    """The longest reply of each round in which shapes of so many requests at once are rehearsed, one after another.

    Of round K kernels are compiled if `kernels` has K, and a pause is unexplained if `paused` has it.
    """
    sent = []

    async def round_of(context, servers, shape, done):
        sent.append(shape.output_len.tolist())
        answered = requests(*([(ttft_s, 1), (ttft_s + 0.01 * reply, 1)] for reply in shape.output_len))
        return answered, done.count(["k"] if len(sent) in kernels else [])

    monkeypatch.setattr(rehearsal, "_round", round_of)
    monkeypatch.setattr(rehearsal, "_has_unexplained_pause", lambda *_: len(sent) in paused)
    servers, done = SimpleNamespace(facts={"kernel_monitor": monitor}), Rehearsal(time.monotonic(), 600.0)
    for count in counts:
        made = shape([200] * count, at_once=count, context=2000, most_tokens=32768)
        asyncio.run(rehearsal._load_until_warm(None, servers, made, done))
    assert all(sorted(reply, reverse=True) == reply and reply[-1] == 1 for reply in sent)
    return [max(reply) for reply in sent]


def test_once_the_largest_shape_was_met_in_full_the_other_rounds_of_an_engine_that_compiles_nothing_are_short(
    monkeypatch,
):
    assert longest_replies(monkeypatch, [100, 50, 20]) == [64, 8, 8, 8]


@pytest.mark.parametrize(
    ("engine", "rounds"),
    [
        ({"monitor": "on"}, [64, 64, 64, 64]),  # a log that does not tell of each compilation
        ({"kernels": {1}}, [64, 64, 64]),  # an engine that compiles on demand: a smaller shape may need other kernels
        ({"kernels": {3}}, [64, 8, 8, 64]),  # as the smaller shape showed: it is met in full
        ({"paused": {1}}, [64, 64, 8]),  # nothing was seen in full without a pause
    ],
)
def test_where_an_engine_may_compile_unseen_or_on_demand_each_shape_is_met_in_full(monkeypatch, engine, rounds):
    assert longest_replies(monkeypatch, [100, 50], **engine) == rounds


def test_a_short_round_is_no_faster_than_a_full_one_for_its_fewer_seconds():
    assert Pace(0.5, 0.46, short=True).has_settled(Pace(2.0, 0.5))
    assert not Pace(0.5, 0.44, short=True).has_settled(Pace(2.0, 0.5))
    assert not Pace(0.5, 0.5, short=True).has_settled(Pace(0.6, 0.5, short=True))
