"""The load of a probe, and which of its requests are judged."""

from dataclasses import replace

import numpy as np
import pytest
from builders import run_config
from simulated_engine import SimulatedEngine
from simulated_search import search, serve

from vbench.metrics.goodput import meets_slo, ttft
from vbench.workload.probe import is_growing, is_steady, probe_plan
from vbench.workload.prompts import draw_lengths, draw_prompts, lengths
from vbench.workload.search import Question

ENGINE = SimulatedEngine(base_s=0.02, per_sequence_s=0.001, per_prompt_token_s=4e-5)
SLO = {"ttft_ms": 300.0, "tpot_ms": 60.0}


def config(kind="max_concurrency", **workload):
    return run_config(workload={"search": kind, "slo": SLO, **workload})


def question(level, requests=343, exploring=False, attempt=0):
    return Question(level, requests, exploring, attempt)


# ------------------------------------------------------------------------------------------------------- a closed loop


def test_a_closed_loop_is_filled_at_twice_the_rate_at_which_the_level_below_was_served():
    load = probe_plan(config(), question(16), duration_s=4.0).config.workload
    assert (load.max_concurrency, load.request_rate, load.search) == (16, 8.0, None)
    assert load.num_prompts == 3 * 16 + 343
    assert probe_plan(config(), question(16), None).config.workload.request_rate == np.inf
    assert probe_plan(config(), question(1), 4.0).config.workload.request_rate == np.inf
    assert probe_plan(config(request_rate=3.0), question(16), 4.0).config.workload.request_rate == 3.0


def test_a_closed_loop_judges_two_requests_for_each_place_and_one_where_it_explores():
    assert probe_plan(config(), question(512), 4.0).config.workload.num_prompts == (3 + 2) * 512
    assert probe_plan(config(), question(512, 8, exploring=True), 4.0).config.workload.num_prompts == (3 + 1) * 512


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
    plan = probe_plan(config("request_rate"), question(2.0, 500), duration_s=5.0)
    load = plan.config.workload
    assert (load.request_rate, load.max_concurrency) == (2.0, None)
    assert load.num_prompts == 120 + 500 + 10
    judged = is_steady(plan, serve(ENGINE, plan.config, np.random.default_rng(0)))
    assert np.flatnonzero(judged).tolist() == list(range(120, 120 + 500))


def test_an_open_loop_is_judged_for_forty_durations_and_four_where_it_explores():
    assert probe_plan(config("request_rate"), question(4.0), 5.0).config.workload.num_prompts == 240 + 800 + 20
    short = probe_plan(config("request_rate"), question(4.0, 8, exploring=True), 5.0)
    assert short.config.workload.num_prompts == 240 + 80 + 20
    assert probe_plan(config("request_rate"), question(1.0, 8, exploring=True), None).config.workload.num_prompts == 21


def test_a_queue_that_grows_shows_and_one_that_does_not_grow_does_not():
    plan = probe_plan(config("request_rate"), question(1.5), 7.0)
    assert is_growing(plan, serve(ENGINE, plan.config, np.random.default_rng(0))) is False
    places = replace(ENGINE, places=8)  # serves about 1.2 a second
    assert is_growing(plan, serve(places, plan.config, np.random.default_rng(0))) is True


@pytest.mark.parametrize(("count", "grows"), [(40, True), (39, False)])
def test_fewer_than_forty_requests_show_no_trend(count, grows):
    plan = probe_plan(config("request_rate"), question(1.0, 8, exploring=True), 1.0)
    plan = replace(plan, building=0, holding=0)
    requests = serve(ENGINE, replace(plan.config, workload=replace(plan.config.workload, num_prompts=count)),
                     np.random.default_rng(0))  # fmt: skip
    waits = np.linspace(1, 3, count)
    slower = replace(requests, chunk_times=np.stack([requests.sent + waits, requests.sent + waits + 1], 1).ravel())
    assert np.allclose(ttft(slower), waits)
    assert is_growing(plan, slower) is grows


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


def true_share(engine, slo, kind, level):
    """Of a load so long that chance and its ends are nothing to it."""
    count = int(100 * level) + 6000 if kind == "max_concurrency" else int(600 * level) + 6000
    load = {"max_concurrency": int(level)} if kind == "max_concurrency" else {"request_rate": level}
    sent = run_config(workload={"num_prompts": count, **load})
    met = []
    for seed in range(100, 106):
        requests = serve(engine, sent, np.random.default_rng(seed))
        skipped = 4 * int(level) if kind == "max_concurrency" else int(120 * level)
        met.append(meets_slo(requests, slo)[skipped : -max(2 * int(level), 1)].mean())
    return np.mean(met)


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
