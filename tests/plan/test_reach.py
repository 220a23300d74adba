import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from builders import run_config
from omegaconf import OmegaConf
from published import read_published

from vbench.metrics import bounds
from vbench.plan.reach.efficiencies import TYPICAL, Efficiencies
from vbench.plan.reach.observations import observe
from vbench.plan.reach.points import make_point
from vbench.plan.reach.predictor import (
    Predictor,
    compute_errors,
    compute_tail_errors,
    estimate_left_out_fits,
    fit_efficiencies,
    take_medians,
)
from vbench.plan.reach.simulation import FrontEnd, Limits, simulate
from vbench.plan.reach.steps import StepCosts, compute_costs
from vbench.workload.prompts import lengths

ROOT = Path(__file__).parents[2]
MODELS, GPUS = ROOT / "conf" / "model", ROOT / "conf" / "gpu"
FREE = FrontEnd(0.0, 0.0)


def config(model="llama8b", gpu="h100", gpus=1, tp=1, engine=None, **workload):
    facts = OmegaConf.to_container(OmegaConf.load(MODELS / f"{model}.yaml"))
    return run_config(
        model=facts,
        hardware={"gpus": gpus, "gpu": OmegaConf.to_container(OmegaConf.load(GPUS / f"{gpu}.yaml"))},
        parallelism={"tensor_parallel_size": tp},
        engine=engine or {},
        workload={"lengths": "sharegpt", "num_prompts": 160} | workload,
    )


def costs(**changes):
    point = make_point(config(**changes))
    return compute_costs(point.work, point.gpu, point.tensor_parallel, point.graph_tokens, TYPICAL)


def run(lengths, arrivals=None, most=None, front=FREE, **limits):
    pairs = np.array(lengths)
    at = np.zeros(len(pairs)) if arrivals is None else np.array(arrivals)
    given = {"batched_tokens": 8192, "sequences": 1024, "kv_tokens": 1e9} | limits
    return simulate(costs(), Limits(**given), front, pairs, at, most)


def test_a_system_is_named_with_its_split():
    whole = config("qwen3_30b_a3b", "h200", gpus=2, tp=2)
    spread = dataclasses.replace(whole, parallelism=dataclasses.replace(whole.parallelism, enable_expert_parallel=True))
    assert make_point(whole).system.endswith(" · tp2")
    assert make_point(spread).system.endswith(" · tp2ep")  # else each would be left out with the other


def test_one_request_takes_a_prefill_and_a_decode_step_for_each_further_token():
    step, line = costs(), run([(100, 50)])
    first = step.seconds(100.0, 1.0, 0.0, 100 * 50.0)
    later = [step.seconds(0.0, 1.0, 101.0 + place, 0.0) for place in range(49)]
    assert line.first[0] == pytest.approx(first)
    assert line.last[0] == pytest.approx(first + sum(later))


def test_a_span_that_is_advanced_at_once_takes_as_long_as_its_steps():
    # Where requests wait for others (max_concurrency), steps are advanced singly.
    pairs = [(50, 40 + 3 * place) for place in range(20)]
    at_once, singly = run(pairs), run(pairs, most=20)
    assert at_once.last == pytest.approx(singly.last)
    assert at_once.first == pytest.approx(singly.first)


def test_prompts_beyond_max_num_batched_tokens_take_another_step():
    line = run([(600, 1), (600, 1)], batched_tokens=1000)
    assert line.first[1] > line.first[0]
    assert len(set(run([(600, 1), (600, 1)]).first)) == 1


@pytest.mark.parametrize("limit", [{"sequences": 1}, {"kv_tokens": 150}, {}])
def test_a_request_beyond_a_limit_waits_until_another_is_done(limit):
    line = run([(64, 32), (64, 32)], most=None if limit else 1, **limit)
    assert line.first[1] > line.last[0]
    assert (line.sequence_blocked_s > 0) is ("sequences" in limit)
    assert (line.kv_blocked_s > 0) is ("kv_tokens" in limit)


def test_a_request_larger_than_the_cache_is_served_alone():
    assert run([(640, 32)], kv_tokens=100).last[0] > 0


def test_arrivals_are_waited_for():
    line = run([(64, 8), (64, 8)], arrivals=[0.0, 5.0])
    assert line.first[0] < 1.0
    assert 5.0 < line.first[1] < 6.0


def test_a_busy_front_end_delays_tokens_but_not_the_engine():
    pairs = [(64, 200)] * 64
    free, busy = run(pairs), run(pairs, front=FrontEnd(0.0, 1e-3))
    assert busy.engine_s == pytest.approx(free.engine_s)
    assert busy.last.max() == pytest.approx(64 * 200e-3, rel=0.05)
    assert run(pairs, front=FrontEnd(0.0, 1e-3, servers=4)).last.max() < busy.last.max() / 3


def test_random_weights_and_a_router_with_a_bias_send_all_tokens_to_the_same_experts():
    assert make_point(config("gpt_oss_120b", "h200", engine={"weights": "dummy"})).work.experts == 4
    assert make_point(config("gpt_oss_120b", "h200", engine={"weights": "hub"})).work.experts == 128
    assert make_point(config("qwen3_30b_a3b", "h200", engine={"weights": "dummy"})).work.experts == 128


def test_efficiencies_are_read_back_from_their_logarithms():
    assert dataclasses.astuple(Efficiencies.from_vector(TYPICAL.as_vector())) == pytest.approx(
        dataclasses.astuple(TYPICAL)
    )


def test_nothing_is_predicted_without_a_gpu_or_where_the_weights_do_not_fit():
    with pytest.raises(ValueError, match="known GPU"):
        Predictor.default().predict(run_config())
    with pytest.raises(ValueError, match="no memory"):
        Predictor.default().predict(config("llama405b", "h100"))


def test_a_prediction_says_that_it_is_one_with_its_error_and_basis():
    said = Predictor.default().predict(config())
    assert said.source == "predicted"
    assert "fitted to" in said.basis
    assert 0 < said.output_throughput.error < 0.1
    assert said.bound in {value for value in vars(bounds).values() if isinstance(value, str)}
    assert sum(said.seconds.values()) == pytest.approx(said.duration_s, rel=0.05)


@pytest.mark.parametrize("change", [{"tp": 2, "gpus": 2}, {"gpu": "h200"}])
def test_a_larger_system_is_not_slower(change):
    small, large = Predictor.default().predict(config()), Predictor.default().predict(config(**change))
    assert large.output_throughput.value > small.output_throughput.value


def test_the_defaults_predict_the_records_that_they_rest_on_as_well_as_they_say():
    seen = observe(read_published())
    assert f" {len(seen)} points of " in Predictor.default().basis  # else: benchmarks/reach.py --save
    assert not [each for each in seen if each.system.startswith("mixtral8x7b · 2xh100") and each.prompts <= 20]  # cold
    default = Predictor.default()
    errors = np.median(np.abs(compute_errors(seen, default.efficiencies)), axis=0)
    assert (errors <= np.array(default.errors) * 1.01).all()
    assert (np.array(default.errors) <= [0.10, 0.12, 0.25]).all()


def test_at_the_data_sheets_speed_no_published_point_was_faster():
    """The bound of the step model: every byte and FLOP at the data sheet's speed, and no fixed cost."""
    shares = {"bandwidth", "kv_bandwidth", "bf16", "fp8", "experts_bf16", "experts_4bit", "experts_bandwidth", "link"}
    ideal = Efficiencies(**{each.name: float(each.name in shares) for each in dataclasses.fields(Efficiencies)})
    seen = observe(read_published())
    throughput, tpot, ttft = compute_errors(seen, ideal).T
    assert (throughput >= 0).all()
    assert (tpot <= 0).all()
    assert (ttft <= 0).all()


def test_each_replica_has_the_kv_cache_that_its_server_told_of():
    seen = {each.system: each.point.limits.kv_tokens for each in observe(read_published())}
    assert seen["llama8b · 2xh100 · dp2"] == pytest.approx(seen["llama8b · 1xh100 · tp1"], rel=0.02)


def test_efficiencies_that_do_not_concern_a_system_do_not_change_its_prediction():
    seen = [each for each in observe(read_published()) if each.system == "llama8b · 1xh100 · tp1"][:3]
    other = dataclasses.replace(TYPICAL, experts_4bit=0.9, all_reduce_s=90e-6, eager_routing_s=4e-3)
    assert (compute_errors(seen, other) == compute_errors(seen, TYPICAL)).all()


def test_a_fit_to_the_users_records_replaces_the_defaults():
    # A world in which token costs of the front end are tenfold is learned from a few of its points.
    true = dataclasses.replace(TYPICAL, token_s=4e-4, bandwidth=0.7)
    seen = [each for each in observe(read_published()) if each.prompts in (20, 320)][:8]
    world = [
        dataclasses.replace(each, measured=each.measured * (1 + error))
        for each, error in zip(seen, compute_errors(seen, true), strict=True)
    ]
    found = fit_efficiencies(world, rounds=6)
    assert found.token_s == pytest.approx(4e-4, rel=0.15)
    assert np.median(np.abs(compute_errors(world, found))) < 0.02
    assert estimate_left_out_fits(world, found).keys() == {each.system for each in world}


def test_steps_without_prompts_are_computed_in_spans_so_that_a_plan_can_predict_thousands_of_points(monkeypatch):
    asked, seconds = [], StepCosts.seconds
    monkeypatch.setattr(StepCosts, "seconds", lambda costs, *work: asked.append(work) or seconds(costs, *work))
    for prompts in (10, 160, 640, 1280):
        asked.clear()
        point = config("llama70b", "h200", num_prompts=prompts)
        Predictor.default().predict(point)
        steps = int(lengths(point.workload)[:, 1].max())  # one for each token of the longest reply, or more
        assert len(asked) < steps / 2, prompts


def test_tails_are_predicted_beside_medians_and_only_where_a_load_tells_a_99th_percentile():
    default = Predictor.default()
    seen = [each for each in observe(read_published()) if each.system.startswith("llama8b · 1xh200")]
    errors = compute_tail_errors(seen, default.efficiencies)
    assert [bool(np.isfinite(row).all()) for row in errors] == [each.prompts >= 299 for each in seen]
    assert 0 < take_medians(errors)[0] < 0.3
    assert default.tail_errors > (default.errors[1], default.errors[2])  # which no median tells


def test_an_error_that_no_point_tells_is_not_taken_for_small():
    assert take_medians(np.array([[np.nan, -0.1], [np.nan, 0.3]])) == (math.inf, 0.2)
