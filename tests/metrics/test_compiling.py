"""What compilations cost a run, on requests whose every instant is written out, and which cost is accepted."""

import numpy as np
import pytest
from builders import requests, run_config

from vbench.metrics.compiling import compile_share
from vbench.metrics.conversing import spans_of_sessions, spans_of_ttft, ttft_by_turn
from vbench.metrics.definitions import metrics
from vbench.metrics.steady import steady_metrics
from vbench.metrics.validity import judge


def reply(start, tokens, gap=0.01, pauses=None):
    """A reply that begins `gap` after `start`; `pauses` maps a token's place to the seconds that it comes late."""
    late = np.zeros(tokens)
    for place, seconds in (pauses or {}).items():
        late[place:] += seconds
    return [(float(time), 1) for time in start + gap * np.arange(1, tokens + 1) + late]


def test_a_run_that_compiled_nothing_lost_nothing():
    assert compile_share(requests(reply(0.0, 500, pauses={250: 2.0})), np.array([])) == 0.0


def test_a_pause_among_replies_is_a_share_of_the_run_and_less_the_usual_gap():
    made = requests(reply(0.0, 990, pauses={500: 0.1}))  # 10 s, of which 0.1 s at 5.0
    assert compile_share(made, np.array([5.0])) == pytest.approx(0.01, rel=0.01)
    assert compile_share(made, np.array([7.0])) == pytest.approx(0.0, abs=1e-6)  # no pause in that second
    assert compile_share(made, np.array([5.0, 5.0])) == pytest.approx(0.01, rel=0.01)  # two kernels of one step


def test_each_line_explains_one_pause_and_the_longest_are_counted():
    made = requests(reply(0.0, 990, pauses={500: 0.1, 520: 0.3, 540: 0.2}))
    duration = made.finished[0]
    assert compile_share(made, np.array([5.0])) == pytest.approx(0.3 / duration, rel=0.01)
    assert compile_share(made, np.array([5.0, 5.0])) == pytest.approx(0.5 / duration, rel=0.01)
    assert compile_share(made, np.array([5.0, 5.0, 5.0])) == pytest.approx(0.6 / duration, rel=0.01)


def test_a_first_token_that_waited_weighs_by_its_own_ttft():
    early = [reply(0.0, 2000)]
    waited = [*early, reply(10.0, 50, pauses={0: 0.05})]  # TTFT 60 ms, of which 50 ms compiling
    quiet = requests(*waited, sent=[0.0, 10.0])
    assert compile_share(quiet, np.array([10.0])) == pytest.approx(0.0, abs=1e-3)  # the other reply went on meanwhile
    held = requests(reply(0.0, 2000, pauses={1000: 0.05}), reply(10.0, 50, pauses={0: 0.05}), sent=[0.0, 10.0])
    assert compile_share(held, np.array([10.0])) == pytest.approx(0.04 / 0.06, rel=0.3)


def test_a_short_pause_of_a_long_run_moves_no_figure_much():
    starts, pause = (np.arange(600) * 0.05).tolist(), 7.505  # of 20 ms for 4 replies of 600

    def held(start):
        return [(time + 0.02 * (time > pause > start), tokens) for time, tokens in reply(start, 20)]

    replies = [held(start) for start in starts]
    share = compile_share(requests(*replies, sent=starts), np.array([7.0]))
    assert 0.0005 < share < 0.01


def test_a_request_that_came_during_the_pause_lost_only_the_rest_of_it():
    held = reply(0.0, 1000, pauses={500: 1.0})  # nothing from 5.0 to 6.01
    lone = requests(held, [(6.01, 1)], sent=[0.0, 5.91])
    assert compile_share(lone, np.array([5.0])) == pytest.approx(0.1 / 0.11)  # of both TTFT
    assert compile_share(requests(held), np.array([5.0])) == pytest.approx(1.0 / 11.0, rel=0.02)


def test_the_p99_of_itl_counts_that_a_few_steps_decide():
    # Of 200 steps of 20 ms three take 30 ms: the run is 0.75 % longer, and its p99 of ITL half as long again.
    late = dict.fromkeys((30, 90, 150), 0.01)
    made = requests(reply(0.0, 201, gap=0.02, pauses=late))
    second = np.floor(made.chunk_times[list(late)])
    assert second.tolist() == [0.0, 1.0, 3.0]
    assert compile_share(made, second) == pytest.approx(1 / 3, rel=0.01)
    merged = requests([(time, 2) for time, _ in reply(0.0, 201, gap=0.02, pauses=late)])
    assert compile_share(merged, second) == pytest.approx(1 / 3, rel=0.01)


def test_figures_without_the_warm_up_are_not_better_for_the_time_that_it_took():
    # Twenty seconds of warming up, then ten that count, in which 0.15 s of compiling are 1.5 % and not 0.5.
    made = requests(reply(0.0, 999, gap=0.02), reply(20.0, 985, pauses={500: 0.15}), sent=[0.0, 20.0])
    counted = np.array([False, True])
    assert compile_share(made, np.array([25.0])) == pytest.approx(0.005, rel=0.1)
    assert compile_share(made, np.array([25.0]), counted) == pytest.approx(0.015, rel=0.1)
    early = requests(reply(0.0, 900, pauses={500: 0.5}), reply(10.0, 999), sent=[0.0, 10.0])
    assert compile_share(early, np.array([5.0])) > 0.02
    assert compile_share(early, np.array([5.0]), counted) == 0


def lockstep(rng, compiling_s):
    """A closed loop on an engine whose steps give a token to each request: without and with compilations, that take
    these seconds, and the seconds at which its log has them."""
    places, count = int(rng.integers(1, 17)), int(rng.integers(17, 120))
    left, sent, replies = rng.integers(2, 60, count), np.zeros(count), [[] for _ in range(count)]
    now, running, following = 0.0, [], 0
    while running or following < count:
        while len(running) < places and following < count:
            sent[following], following = now, following + 1
            running.append(following - 1)
        now += 0.02
        for each in running:
            replies[each].append(now)
        running = [each for each in running if len(replies[each]) < left[each]]
    steps = np.unique(np.concatenate(replies))
    held = np.sort(rng.choice(steps, len(compiling_s), replace=False))

    def later(time):
        return float(time + compiling_s[held <= time].sum())

    warm, cold = (
        requests(*([(move(time), 1) for time in reply] for reply in replies), sent=[move(time) for time in sent])
        for move in (float, later)
    )
    return warm, cold, np.array([np.floor(later(step) - 1e-6) for step in held])


@pytest.mark.parametrize("seed", range(40))
def test_no_figure_is_more_than_the_share_better_on_the_same_engine_without_the_compilations(seed):
    rng = np.random.default_rng(seed)
    warm, cold, logged = lockstep(rng, rng.choice([0.005, 0.01, 0.02, 0.05], rng.integers(1, 4)))
    fast, slow = metrics(warm), metrics(cold)
    names = [
        f"{of}_{what}_ms" for of in ("mean", "median", "p90", "p95", "p99") for what in ("ttft", "tpot", "itl", "e2el")
    ]
    better = max((slow[name] - fast[name]) / slow[name] for name in (*names, "duration"))
    assert better <= compile_share(cold, logged) + 0.002


def judged(found, compiled=("_topk", "_topk", "_sum")):
    made = requests(*([(1.0, 1), (1.1, 1)] for _ in range(320)))
    judgement = judge(made, run_config().workload, found, compiled)
    return [reason.code for reason in judgement.invalid], [reason.code for reason in judgement.warnings]


@pytest.mark.parametrize(("share", "invalid"), [(0.0, False), (0.01, False), (0.0101, True), (1.0, True)])
def test_compilations_may_have_cost_1_percent_of_any_figure(share, invalid):
    codes = judged({"compile_share": share})
    assert codes == ((["compiled_under_load"], []) if invalid else ([], ["compiled_briefly"]))


def test_a_cost_that_the_log_does_not_tell_is_no_small_cost():
    assert judged({}) == (["compiled_under_load"], [])
    assert judged({"compile_share": 0.0}, compiled=()) == ([], [])


def test_the_warning_names_the_kernels_and_the_share():
    made = requests(*([(1.0, 1), (1.1, 1)] for _ in range(320)))
    (reason,) = judge(made, run_config().workload, {"compile_share": 0.004}, ["_topk", "_topk", "_sum"]).warnings
    assert "3 kernels under load (_topk, _sum)" in reason.sentence
    assert "0.4%" in reason.sentence


@pytest.mark.parametrize(("second", "counted"), [(3.0, False), (3.001, True), (6.0, True), (6.001, False)])
def test_a_line_explains_a_pause_that_its_second_touches(second, counted):
    before, after = np.arange(0.25, 4.25, 0.25), np.arange(6.0, 9.0, 0.25)  # nothing from 4 to 6
    made = requests([(float(time), 1) for time in (*before, *after)])
    assert (compile_share(made, np.array([second])) > 0) is counted


def test_replies_of_one_token_have_no_tpot_that_could_be_better():
    # One reply after another. A long one makes the usual gap 10 ms; then ten of two tokens, a second apart, and eight
    # of one token, which would be the smaller half of all TPOT if they had one. The tenth waited for a compilation.
    replies, sent = [reply(0.0, 1000)], [0.0]
    for number in range(18):
        at = 100.0 * (number + 1)
        sent.append(at)
        replies.append([(at + 0.5, 1), (at + 1.5, 1)] if number < 10 else [(at + 1.5, 1)])
    found = compile_share(requests(*replies, sent=sent), np.array([1000.0]))
    assert found == pytest.approx(0.99 / 10.01, rel=0.01)  # of the mean TPOT; no percentile of it changes


def test_two_tokens_make_a_tpot():
    replies = [reply(0.0, 1000), [(100.01, 1), (101.01, 1)]]
    found = compile_share(requests(*replies, sent=[0.0, 100.0]), np.array([100.0]))
    assert found == pytest.approx(0.99 / 1.01, rel=0.01)


def test_a_p99_that_compilations_moved_counts():
    replies, sent = [reply(0.0, 1000)], [0.0]
    for number in range(299):
        at = 20.0 + 10 * number
        sent.append(at)
        replies.append([(at + (1.0 if number < 4 else 0.1), 1)])  # the four slowest waited for a compilation each
    found = compile_share(requests(*replies, sent=sent), np.array([20.0, 30.0, 40.0, 50.0]))
    assert found == pytest.approx(0.9, abs=0.01)  # of p99; the mean would be 11 % better, p95 no better


@pytest.mark.parametrize(("pause_ms", "verdict"), [(600.0, []), (600.1, ["compiled_under_load"])])
def test_an_engine_that_compiles_on_demand_may_pause_for_ten_median_itl(pause_ms, verdict):
    made = requests(*([(1.0, 1), (1.1, 1)] for _ in range(320)))
    found = {"longest_unexplained_stall_ms": pause_ms, "median_itl_ms": 60.0}
    judgement = judge(made, run_config().workload, found, compiles_on_demand=True)
    assert [reason.code for reason in judgement.invalid] == verdict


def test_a_pause_weighs_by_the_steady_window_where_that_is_a_tenth_of_the_run():
    """One reply of 90 s, then 1,000 of 10 ms one after another, of which one is 0.3 s late."""
    took = np.array([90.0] + [0.01] * 500 + [0.31] + [0.01] * 499)
    ends = np.cumsum(took)
    made = requests(*([(float(end), 1)] for end in ends), sent=(ends - took).tolist())
    assert metrics(made)["duration"] == pytest.approx(100.3)
    assert steady_metrics(made)["steady_window_s"] == pytest.approx(10.3, abs=0.02)
    assert compile_share(made, np.array([95.0])) == pytest.approx(0.31 / 10.3, rel=0.01)  # 0.003 of the whole run


def test_a_run_of_which_only_the_warm_up_could_be_sent_lost_nothing():
    made = requests(reply(0.0, 500, pauses={250: 2.0}), [], sent=[0.0, np.nan], finished=np.array([7.0, np.nan]))
    assert compile_share(made, np.array([2.0])) > 0.0
    assert compile_share(made, np.array([2.0]), np.array([False, True])) == 0.0


def talking():
    """400 sessions of 3 turns, in mid-life; then 5 more, whose first turn waited for a compilation.

    TTFT is 0.1 s in 1,200 requests and 0.2 s in 5: its mean is 0.4 % better without, no percentile is.
    """
    replies, sent, session, turn = [], [], [], []
    for number in range(1205):
        start, begins = 1.0 * number, number >= 1200
        sent.append(start)
        replies.append([(start + 0.1 + 0.1 * begins, 1), (start + 0.11 + 0.1 * begins, 1)])
        session.append(number - 800 if begins else number // 3)
        turn.append(0 if begins else number % 3 + 1)
    made = requests(
        *replies, sent=sent, session=np.array(session), turn=np.array(turn), wait_s=np.full(1205, 0.1),
        extends=np.full(1205, -1),
    )  # fmt: skip
    return made, np.arange(1200.0, 1205.0)


WAITED = 0.19 / 0.2  # less a usual gap


def test_a_pause_weighs_by_the_ttft_of_the_turn_that_it_met():
    made, logged = talking()
    assert compile_share(made, logged) < 0.01
    assert ttft_by_turn(made)["p99_ttft_turn1_ms"] == pytest.approx(200.0)
    spans = spans_of_ttft(made, None, None)
    assert [len(each.begins) for each in spans] == [5, 400, 400]
    assert compile_share(made, logged, None, spans) == pytest.approx(WAITED, rel=0.01)
    assert spans_of_ttft(made, np.arange(1205) < 1200, None)[0].begins.tolist() == made.sent[1:1200:3].tolist()


def test_a_pause_weighs_by_the_ttft_of_those_of_whose_prompts_as_much_was_cached():
    made, logged = talking()
    cached = np.array([8, 8, 0] * 400 + [0] * 5)
    *by_turn, uncached, whole = spans_of_ttft(made, made.sent > 1190, cached)
    assert [len(each.begins) for each in by_turn] == [5, 3, 3]
    assert (len(uncached.begins), len(whole.begins)) == (8, 6)
    assert compile_share(made, logged, None, [whole]) < 0.01
    assert compile_share(made, logged, None, [uncached]) == pytest.approx(WAITED, rel=0.01)


def test_a_pause_weighs_by_the_durations_of_sessions():
    made, logged = talking()
    durations, together = spans_of_sessions(made, np.empty(0, np.int64))
    assert len(durations.begins) == 5
    assert compile_share(made, logged, None, [together]) < 0.01
    assert compile_share(made, logged, None, [durations]) == pytest.approx(0.19 / 0.21, rel=0.01)
