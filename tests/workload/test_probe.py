"""The load of a probe, and which of its requests are judged."""

from dataclasses import replace

import numpy as np
import pytest
from builders import requests, run_config
from simulated_engine import SimulatedEngine
from simulated_search import broken_off, search, serve, true_share

from vbench.metrics.goodput import meets_slo, ttft
from vbench.workload.capacity import Belief
from vbench.workload.probe import (
    compute_pressure,
    ended_enough,
    is_growing,
    is_negligible,
    is_steady,
    missed_in_one_moment,
    probe_plan,
)
from vbench.workload.prompts import draw_lengths, draw_prompts, lengths
from vbench.workload.question import Question
from vbench.workload.search import MOST_JUDGED

ENGINE = SimulatedEngine(base_s=0.02, per_sequence_s=0.001, per_prompt_token_s=4e-5)
SLO = {"ttft_ms": 300.0, "tpot_ms": 60.0}


def config(kind="max_concurrency", **workload):
    return run_config(workload={"search": kind, "slo": SLO, **workload})


def question(level, exploring=False, attempt=0):
    """Beside a level that failed, so that a deciding probe takes some hundred requests without a miss."""
    return Question(level, exploring, attempt, belief=Belief.from_counts([(1.2 * level, 50, 100)], effect=2.0))


# ------------------------------------------------------------------------------------------------------- a closed loop


def test_a_closed_loop_is_filled_at_twice_the_rate_at_which_the_level_below_was_served():
    load = probe_plan(config(), question(16), duration_s=4.0).config.workload
    assert (load.max_concurrency, load.request_rate, load.search) == (16, 8.0, None)
    assert load.num_prompts == 3 * 16 + MOST_JUDGED
    assert probe_plan(config(), question(16), None).config.workload.request_rate == np.inf
    assert probe_plan(config(), question(1), 4.0).config.workload.request_rate == np.inf
    assert probe_plan(config(request_rate=3.0), question(16), 4.0).config.workload.request_rate == 3.0


@pytest.mark.parametrize(("level", "exploring"), [(512, False), (512, True), (1024, False)])
def test_a_closed_loop_judges_a_request_for_each_place(level, exploring):
    beyond = Belief.from_counts([(4 * level, 50, 100)], effect=2.0)
    plan = probe_plan(config(), replace(question(level, exploring), belief=beyond), 4.0)
    assert plan.least == level
    assert plan.config.workload.num_prompts == 3 * level + max(MOST_JUDGED, level)
    assert not plan.has_told_enough(level - 1, level - 1)
    assert plan.has_told_enough(level, level)


@pytest.mark.parametrize("kind", ["max_concurrency", "sessions"])
def test_a_level_fails_before_that_only_if_hardly_a_request_meets_the_slo(kind):
    """A moment's pause lets all requests miss that are in flight together."""
    plan = probe_plan(config(kind, **({"lengths": "conversations"} if kind == "sessions" else {})), question(64), 4.0)
    assert plan.has_told_enough(0, 8)
    assert plan.has_told_enough(3, 40)
    assert not plan.has_told_enough(4, 40)
    assert not plan.has_told_enough(32, 63)
    assert plan.has_told_enough(32, 64)
    assert probe_plan(config("request_rate"), question(64.0), 4.0).has_told_enough(4, 40)


def test_a_probe_judges_no_more_than_a_bound_and_what_is_asked_for_where_it_decides():
    assert probe_plan(config(), question(16), 4.0).config.workload.num_prompts == 3 * 16 + 800
    assert MOST_JUDGED == 800
    asked = config(num_prompts=1500)
    assert probe_plan(asked, question(16), 4.0).config.workload.num_prompts == 3 * 16 + 1500
    assert probe_plan(asked, question(16), 4.0).least == 1500
    assert probe_plan(asked, question(16, exploring=True), 4.0).least == 16
    assert probe_plan(config("request_rate", num_prompts=1500), question(1.0), 4.0).least == 1500


def test_the_requests_between_the_first_replies_and_the_last_sends_are_judged():
    plan = probe_plan(config(), question(16), duration_s=6.0)
    requests = serve(ENGINE, plan.config, np.random.default_rng(0))
    judged = is_steady(plan, requests)
    began = np.sort(requests.finished)[16 - 1]
    assert judged.sum() >= 343
    assert requests.sent[judged].min() >= began
    assert not judged[-16:].any()
    assert judged[-17]
    assert judged.sum() == ((requests.sent >= began)[:-16]).sum()


def test_a_closed_loop_that_starts_in_one_burst_would_be_judged_by_it():
    """The first requests of a burst wait for each other's prefill; those of the steady state do not."""
    engine = replace(ENGINE, per_prompt_token_s=1e-4)
    plan = probe_plan(config(), question(24), None)
    requests = serve(engine, plan.config, np.random.default_rng(0))
    assert meets_slo(requests, SLO)[:24].mean() < 0.8
    assert meets_slo(requests, SLO)[is_steady(plan, requests)].mean() > 0.95


def test_no_request_is_judged_where_fewer_replies_ended_than_there_are_places():
    plan = probe_plan(config(), question(16), 6.0)
    requests = serve(ENGINE, plan.config, np.random.default_rng(0))
    never = replace(requests, finished=np.where(np.arange(len(requests)) < 15, requests.finished, np.nan))
    assert not is_steady(plan, never).any()
    assert not is_growing(plan, requests)


# -------------------------------------------------------------------------------------------------------- an open loop


def test_an_open_loop_is_judged_once_its_queue_has_built_up():
    plan = probe_plan(config("request_rate"), question(2.0), duration_s=5.0)
    load = plan.config.workload
    assert (load.request_rate, load.max_concurrency) == (2.0, None)
    assert load.num_prompts == 120 + 800 + 10
    judged = is_steady(plan, serve(ENGINE, plan.config, np.random.default_rng(0)))
    assert np.flatnonzero(judged).tolist() == list(range(120, 120 + 800))


def test_an_open_loop_is_judged_for_forty_durations_and_four_where_it_explores():
    longer = probe_plan(config("request_rate"), question(8.0), 5.0)
    assert (longer.building, longer.least, longer.holding) == (480, 1600, 40)
    assert longer.config.workload.num_prompts == 480 + 1600 + 40
    short = probe_plan(config("request_rate"), question(8.0, exploring=True), 5.0)
    assert (short.building, short.least, short.holding) == (480, 160, 40)
    assert probe_plan(config("request_rate"), question(1.0, exploring=True), None).least == 4


def test_a_queue_that_grows_shows_and_one_that_does_not_grow_does_not():
    plan = probe_plan(config("request_rate"), question(1.5), 7.0)
    assert is_growing(plan, serve(ENGINE, plan.config, np.random.default_rng(0))) is False
    places = replace(ENGINE, places=8)  # serves about 1.2 a second
    assert is_growing(plan, serve(places, plan.config, np.random.default_rng(0))) is True


@pytest.mark.parametrize(("count", "grows"), [(40, True), (39, False)])
def test_fewer_than_forty_requests_show_no_trend(count, grows):
    plan = probe_plan(config("request_rate"), question(1.0, exploring=True), 1.0)
    plan = replace(plan, building=0, holding=0)
    requests = serve(ENGINE, replace(plan.config, workload=replace(plan.config.workload, num_prompts=count)),
                     np.random.default_rng(0))  # fmt: skip
    waits = np.linspace(1, 3, count)
    slower = replace(requests, chunk_times=np.stack([requests.sent + waits, requests.sent + waits + 1], 1).ravel())
    assert np.allclose(ttft(slower), waits)
    assert is_growing(plan, slower) is grows


# -------------------------------------------------------------------------------------------------- a probe under way


def ended_by(requests, now):
    """What a report of a load under way says: sent, finished and met of the requests that have ended, and the bound."""
    ended = requests.finished <= now
    open_ = requests.sent[(requests.sent <= now) & ~ended]
    return requests.sent[ended], requests.finished[ended], meets_slo(requests, SLO)[ended], open_.min(initial=now)


@pytest.mark.parametrize(
    ("kind", "level"), [("max_concurrency", 16), ("max_concurrency", 96), ("request_rate", 1.5), ("request_rate", 9.0)]
)
def test_what_is_judged_of_a_probe_under_way_is_what_is_judged_of_its_record(kind, level):
    plan = probe_plan(config(kind), question(level), 6.0)
    requests = serve(ENGINE, plan.config, np.random.default_rng(0))
    seen = set()
    for now in np.linspace(1, requests.finished.max(), 60):
        cut = broken_off(requests, now)
        judged = is_steady(plan, cut)
        enough = plan.has_told_enough(int((meets_slo(requests, SLO) & judged).sum()), int(judged.sum()))
        assert ended_enough(plan, *ended_by(requests, now)) is enough
        seen.add(enough)
    assert seen == {False, True}


def test_a_request_behind_one_that_is_still_open_is_not_judged():
    plan = probe_plan(config(), question(2), 1.0)
    sent, finished = np.arange(40.0), np.arange(40.0) + 0.5
    met = np.zeros(40, bool)
    assert ended_enough(plan, sent, finished, met, oldest_open_s=6.0)
    assert ended_enough(plan, sent[::-1], finished[::-1], met, oldest_open_s=6.0)
    assert not ended_enough(plan, sent, finished, met, oldest_open_s=5.0)  # three misses: the first two fill the places


@pytest.mark.parametrize(
    ("lag_s", "slo", "negligible"),
    [
        (0.015, {"ttft_ms": 300.0}, True),
        (0.0151, {"ttft_ms": 300.0}, False),
        (0.0151, {"e2el_ms": 300.0}, False),
        (0.030, {"tpot_ms": 60.0}, True),
        (0.0301, {"tpot_ms": 60.0}, False),
        (0.0301, {"ttft_ms": 3000.0, "tpot_ms": 60.0}, False),
    ],
)
def test_a_lag_matters_that_is_more_than_a_twentieth_of_an_objective(lag_s, slo, negligible):
    plan = probe_plan(config(lengths="random", input_len=8, output_len=11), question(2), 1.0)
    requests = serve(ENGINE, plan.config, np.random.default_rng(0))
    assert is_negligible(lag_s, requests, slo) is negligible


# -------------------------------------------------------------------------------------------------------- what is sent


def test_each_probe_of_each_repeat_has_fresh_prompts():
    seeds = [
        probe_plan(config(seed=seed), question(4, attempt=attempt), 1.0).config.workload.seed
        for seed in (0, 1, 2)
        for attempt in (0, 1, 2)
    ]
    assert len(set(seeds)) == 9
    assert not {0, 1, 2} & set(seeds)
    loads = [probe_plan(config(seed=seed), question(4), 1.0).config.workload for seed in (0, 1)]
    first, second = (draw_prompts(load, 32000, "", 0) for load in loads)
    assert len(first.ids[0]) != len(second.ids[0])


def test_sharegpts_pairs_are_drawn_each_once_before_any_comes_again():
    load = replace(config().workload, num_prompts=1280 + 10)
    drawn = draw_lengths(load, np.random.default_rng(0))
    assert sorted(map(tuple, drawn[:1280])) == sorted(map(tuple, lengths(replace(load, num_prompts=1280))))
    assert len(drawn) == 1290
    assert (drawn[:100] != lengths(load)[:100]).any()


def test_lengths_that_follow_from_the_seed_are_not_drawn_again():
    load = replace(config(lengths="random", input_len=[1, 99]).workload, num_prompts=10)
    assert (draw_lengths(load, np.random.default_rng(0)) == lengths(load)).all()
    assert draw_prompts(load, 32000, "", 0).output_len.tolist() == lengths(load)[:, 1].tolist()


# ------------------------------------------------------------------------------------------------------ whole searches

ENGINES = {  # an engine and its objectives, of the shapes that searches meet
    "steps that grow with the batch": (ENGINE, SLO),
    "places": (SimulatedEngine(0.01, 0, 1e-6, places=48), {"ttft_ms": 500.0}),
    "jitter and stalls": (
        SimulatedEngine(0.01, 0.0004, 5e-5, jitter=0.4, stall_s=0.3, stall_every_s=60),
        {"ttft_ms": 600.0, "tpot_ms": 40.0},
    ),
    "fast": (SimulatedEngine(0.007, 0.00008, 1 / 25000), {"ttft_ms": 500.0, "tpot_ms": 50.0}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["max_concurrency", "request_rate"])
@pytest.mark.parametrize("name", ENGINES)
def test_answers_are_within_a_tenth_of_the_true_capacity(name, kind):
    """At 10 % less than the answer 99 % of the requests of a long load meet the SLO, at 10 % more they do not."""
    engine, slo = ENGINES[name]
    answers = [search(engine, slo, kind, seed).answer for seed in range(3)]
    right = [
        true_share(engine, slo, kind, found / 1.1) >= 0.99 > true_share(engine, slo, kind, found / 0.9)
        for found in answers
    ]
    assert sum(right) >= 2, answers


def test_a_pause_of_the_engine_in_the_first_probe_does_not_hold_a_search_at_its_level():
    """It was answered by 4 at once after 40 probes; without the pause by 185."""
    steady = SimulatedEngine(0.012, 0.00018, 1e-5)
    paused = replace(steady, slow=lambda second: 60.0 if 0.3 <= second < 0.33 else 1.0)
    load = {"lengths": "random", "input_len": [16, 64], "output_len": [8, 24]}
    slo = {"ttft_ms": 500.0, "tpot_ms": 50.0}
    undisturbed, found = (search(engine, slo, "max_concurrency", 0, **load) for engine in (steady, paused))
    assert found.probes[0].met < found.probes[0].of
    assert found.answer == pytest.approx(undisturbed.answer, rel=0.1)
    assert len(found.probes) <= len(undisturbed.probes) + 4


def test_the_pressure_is_that_of_the_objective_nearest_to_its_limit_and_so_is_the_spread():
    made = requests(*([(0.1 + 0.01 * n, 1), (5.0, 10)] for n in range(1, 101)), sent=[0.0] * 100)
    judged = np.ones(100, bool)
    p99, p90 = (np.percentile(ttft(made), each) for each in (99, 90))
    pressure, spread = compute_pressure(made, judged, {"ttft_ms": 500.0, "e2el_ms": 100_000.0})
    assert pressure == pytest.approx(p99 / 0.5)
    assert spread == pytest.approx(np.log(p99 / p90))
    assert compute_pressure(made, judged, {"ttft_ms": 500_000.0, "e2el_ms": 5000.0})[1] == pytest.approx(0, abs=0.01)
    assert np.isnan(compute_pressure(made, ~judged, {"ttft_ms": 500.0})).all()


def test_misses_lie_in_one_moment_if_all_of_these_requests_were_in_flight_together():
    """The third and the fourth, which ended late, miss the SLO; those that are not judged tell nothing."""
    ends, sent = [1.0, 2.0, 9.0, 9.6, 30.0], np.array([0.9, 1.9, 3.0, 8.9, 20.0])
    made = requests(*([(end, 1)] for end in ends), sent=sent)
    slo, judged = {"ttft_ms": 500.0}, np.array([True, True, True, True, False])
    assert missed_in_one_moment(made, judged, slo)
    assert not missed_in_one_moment(replace(made, sent=np.array([0.9, 1.9, 3.0, 9.0, 20.0])), judged, slo)
    assert not missed_in_one_moment(made, np.ones(5, bool), slo)
    assert not missed_in_one_moment(made, np.array([True, True, False, False, False]), slo)
    assert not missed_in_one_moment(made, np.zeros(5, bool), slo)


# ------------------------------------------------------------------------------------------------------------ sessions


@pytest.mark.parametrize(("exploring", "least"), [(False, 20), (True, 20)])
def test_a_probe_of_sessions_leaves_out_the_requests_that_fill_the_cache_and_those_that_keep_the_load_up(
    exploring, least
):
    asked = config("sessions", lengths="conversations", num_prompts=10)
    plan = probe_plan(asked, question(20, exploring), 4.0)
    load = plan.config.workload
    assert (load.sessions, load.max_concurrency, load.search, plan.least) == (20, None, None, least)
    assert load.num_prompts == 40 + MOST_JUDGED + 20
    made = requests(
        *([(n + 0.5, 1)] for n in range(load.num_prompts)), sent=[float(n) for n in range(load.num_prompts)]
    )
    judged = np.flatnonzero(is_steady(plan, made))
    assert (judged[0], judged[-1]) == (40, load.num_prompts - 21)


TALKS = {
    "lengths": "conversations", "output_len": 20, "num_prompts": 320,
    "conversations": {"turns": [4, 12], "first_len": 200, "next_len": 40, "think_time_s": "exponential:1"},
}  # fmt: skip


def test_a_search_for_sessions_is_confirmed_by_runs_of_its_own():
    """99 % of the turns meet the SLO at the answer's nine tenths, and fewer at eleven tenths, with another seed."""
    engine, slo = SimulatedEngine(0.02, 0, 1e-5, places=6), {"ttft_ms": 300.0}
    found = search(engine, slo, "sessions", 0, **TALKS)

    def share(sessions):
        asked = run_config(workload={**TALKS, "slo": slo, "seed": 9, "sessions": sessions, "num_prompts": 6000})
        turns = serve(engine, asked, np.random.default_rng(9))
        return meets_slo(turns, slo)[np.argsort(turns.sent)][2 * sessions : -sessions].mean()

    assert share(int(found.answer / 1.1)) >= 0.99 > share(int(found.answer / 0.9) + 1), found.answer
