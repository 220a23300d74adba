import dataclasses

import numpy as np
import pytest
from builders import requests, run_config
from published import walk_published

from vbench.metrics.bounds import NOT_TOLD, find_bound
from vbench.metrics.model_cost import compute_model_cost
from vbench.metrics.reach import count_steps, reach
from vbench.schema import RunConfig, from_plain

GPU = {"name": "h100", "product": "H100", "memory_mib": 81559, "memory_bandwidth_gb_s": 1000.0, "bf16_tflops": 100.0}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2}


def config(**parts):
    return run_config(**{"hardware": {"gpus": 1, "gpu": GPU}} | parts)


def reply(*times):
    return [(time, 1) for time in times]


def published():
    """Every published run under load, and how far it reached."""
    for record, sent in walk_published():
        yield record, reach(sent, from_plain(RunConfig, record.config))


def test_steps_are_counted_by_the_tokens_of_the_requests_under_way():
    # Two replies share the steps at 2 and 3 s, the longer one has that at 4 s to itself.
    running, steps = count_steps(requests(reply(1.0, 2.0, 3.0), reply(1.0, 2.0, 3.0, 4.0)))
    assert steps.sum() == pytest.approx(3.0)
    assert running.tolist() == [2, 2, 2, 2, 1]


def test_a_chunk_of_several_tokens_stands_for_as_many_steps():
    running, steps = count_steps(requests([(1.0, 1), (3.0, 2)], reply(1.0, 2.0, 3.0)))
    assert steps.sum() == pytest.approx(2.0)
    assert set(running) == {2.0}


def test_mbu_is_the_weights_of_each_step_and_the_kv_cache_over_what_the_memory_could_read():
    run, cost = requests(reply(1.0, 2.0, 3.0), reply(1.0, 2.0, 3.0)), compute_model_cost(config().model)
    found = reach(run, config())
    assert found["mbu_weights"] == pytest.approx(2 * cost.dense_bytes / (3.0 * 1e12))
    # the second and the third token read themselves, the 8 of the prompt and those between
    assert found["mbu_kv"] == pytest.approx(2 * (9 + 10) * cost.kv_bytes_per_token / 3e12)
    assert found["mbu"] == pytest.approx(found["mbu_weights"] + found["mbu_kv"])


CHUNKS = {"model_type": "llama4_text", "config_json": {"attention_chunk_size": 10, "no_rope_layers": [1] * 99}}


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ({}, [9, 10, 11, 12]),
        ({"sliding_window": 10}, [9, 10, 10, 10]),
        (CHUNKS, [9, 10, 1, 2]),
    ],
)
def test_a_step_reads_of_the_cache_what_its_tokens_attend_to(model, kept):
    """A prompt of 8 tokens and a reply of five; what a window or a chunk leaves out is not read."""
    shape = config(model=model)
    (kind,) = compute_model_cost(shape.model).kv
    found = reach(requests(reply(1.0, 2.0, 3.0, 4.0, 5.0)), shape)
    assert found["mbu_kv"] == pytest.approx(sum(kept) * kind.layers * kind.bytes_per_token / 5e12)


@pytest.mark.parametrize(
    ("model", "gpu", "peak"),  # of the layers' products, in that of bfloat16
    [
        ({"weight_dtype": "int8"}, {}, 2.0),
        ({"weight_dtype": "int8"}, {"fp8_tflops": 210.0}, 2.1),
        ({"weight_dtype": "nvfp4"}, {"fp8_tflops": 210.0}, 2.1),
        ({"weight_dtype": "int4"}, {"fp8_tflops": 210.0}, 1.0),
    ],
)
def test_products_run_at_the_peak_of_their_type(model, gpu, peak):
    """Layers alone: with a prompt of 1,000 tokens the head and attention are a small part."""
    run = requests(reply(1.0, 2.0), input_tokens=np.full(1, 1000))
    wide = reach(run, config(model={"vocab_size": 320}))["mfu"]
    found = reach(run, config(model=model | {"vocab_size": 320}, hardware={"gpus": 1, "gpu": GPU | gpu}))
    rest = compute_model_cost(config(model={"vocab_size": 320}).model)
    other = (rest.flops(1001, 0, sampled=2) - 1001 * rest.layer_flops_per_token) / 2e14
    assert found["mfu"] - other == pytest.approx((wide - other) / peak, rel=1e-3)


def test_products_of_four_bits_on_gpus_that_have_such_units_have_no_known_peak():
    run, four = requests(reply(1.0, 2.0), input_tokens=np.full(1, 1000)), {"weight_dtype": "nvfp4"}
    gpus = [GPU | {"product": product, "fp8_tflops": 200.0} for product in ("^NVIDIA B200$", "^NVIDIA H200$")]
    blackwell, hopper = (reach(run, config(model=four, hardware={"gpus": 1, "gpu": gpu})) for gpu in gpus)
    assert "mfu" not in blackwell
    assert 0 < blackwell["pct_of_roofline"] < hopper["pct_of_roofline"]
    assert blackwell["mbu"] == hopper["mbu"]


def test_attention_over_a_cache_in_fp8_may_run_at_the_peak_of_fp8():
    run, gpu = requests(reply(1.0, 2.0), input_tokens=np.full(1, 4000)), GPU | {"fp8_tflops": 200.0}
    wide, narrow = (
        reach(run, config(model={"kv_cache_dtype": kind}, hardware={"gpus": 1, "gpu": gpu}))["mfu"]
        for kind in ("bfloat16", "fp8")
    )
    attention = compute_model_cost(config().model).attention_flops(4001)
    assert wide - narrow == pytest.approx(attention / 2 / 2e14, rel=1e-6)


@pytest.mark.parametrize("model", [{}, {"sliding_window": 300}])
def test_mfu_is_what_a_forward_pass_of_each_part_takes_without_what_the_cache_had(model):
    """Prompts of 4,000 tokens, of which 0 and 3,600 were cached; the last token of a reply is not computed."""
    run = requests(reply(1.0, 2.0, 3.0), reply(1.0, 2.0, 3.0), input_tokens=np.full(2, 4000))
    kind = config(model=model)
    cost = compute_model_cost(kind.model)
    whole, rest = cost.flops(4002, 0, sampled=3), cost.flops(402, 3600, sampled=3)
    assert cost.attention_flops(402, 3600) > 0.01 * rest
    found = reach(run, kind, np.array([0.0, 3600.0]))
    assert found["mfu"] == pytest.approx((whole + rest) / (3.0 * 100e12), rel=1e-3)
    more = reach(run, kind, np.array([4000.0, 4001.0]))["mfu"]  # counters may be a little off
    assert more == reach(run, kind, np.array([4000.0, 4000.0]))["mfu"] > 0
    assert reach(run, kind)["mfu"] == pytest.approx(2 * whole / (3.0 * 100e12), rel=1e-3)


def test_two_gpus_have_twice_the_bandwidth_and_replicas_each_read_the_weights():
    pair = {"hardware": {"gpus": 2, "gpu": GPU | {"link_gb_s": 900.0}}}
    run = requests(reply(1.0, 2.0, 3.0), reply(1.0, 2.0, 3.0), replica=np.array([0, 1]))
    one = reach(run.select(run.replica == 0), config())
    split = reach(run.select(run.replica == 0), config(**pair, parallelism={"tensor_parallel_size": 2}))
    apart = reach(run, config(**pair, parallelism={"data_parallel_size": 2}))
    assert split["mbu"] == pytest.approx(one["mbu"] / 2)
    assert split["link_share"] > 0
    assert "link_share" not in apart
    assert apart["mbu"] == pytest.approx(one["mbu"])
    assert apart["mfu"] == pytest.approx(one["mfu"])
    assert reach(run, config(**pair, parallelism={"attention_data_parallel_size": 2})) == {}  # which engine had which?


@pytest.mark.parametrize(("gpus", "sent_by_each"), [(2, 1.0), (4, 1.5)])
def test_a_link_of_900_gb_s_sends_450_and_an_all_reduce_sends_twice_what_a_gpu_has_less_its_own_part(
    gpus, sent_by_each
):
    split = {
        "hardware": {"gpus": gpus, "gpu": GPU | {"link_gb_s": 900.0}},
        "parallelism": {"tensor_parallel_size": gpus},
    }
    run, cost = requests(reply(1.0, 2.0, 3.0)), compute_model_cost(config().model)
    share = cost.all_reduce_bytes(8 + 3) * sent_by_each / 450e9 / 3.0
    assert reach(run, config(**split))["link_share"] == pytest.approx(share)


def test_with_random_weights_a_router_with_a_bias_reads_only_the_experts_of_one_token():
    run = requests(*[reply(1.0, 2.0)] * 50)
    spread = reach(run, config(model=EXPERTS, engine={"weights": "dummy"}))
    alike = reach(run, config(model=EXPERTS | {"model_type": "gpt_oss"}, engine={"weights": "dummy"}))
    real = reach(run, config(model=EXPERTS | {"model_type": "gpt_oss"}, engine={"weights": "hub"}))
    assert alike["mbu_weights"] < spread["mbu_weights"] / 2
    assert real["mbu_weights"] > 2 * alike["mbu_weights"]


@pytest.mark.parametrize(
    "unknown",
    [
        {"hardware": {}},
        {"engine": {"base_url": "http://host:8000"}},
        {"engine": {"extra_args": ["--quantization", "fp8"]}},
        {"hardware": {"gpus": 1, "gpu": GPU | {"memory_bandwidth_gb_s": None}}},
        {"model": {"config_json": {"quantization_config": {"quant_method": "odd"}}}},
    ],
)
def test_nothing_is_told_where_the_work_or_the_hardware_is_unknown(unknown):
    assert reach(requests(reply(1.0, 2.0)), config(**unknown)) == {}


def test_several_front_ends_leave_the_work_of_a_step_as_it_is():
    assert reach(requests(reply(1.0, 2.0)), config(engine={"extra_args": ["--api-server-count", "4"]}))


@pytest.mark.slow
def test_no_published_run_is_beyond_the_roofline_and_each_is_told_what_bounds_it():
    told = []
    for record, found in published():
        if record.config["workload"]["lengths"] == "conversations":
            assert found == {}  # engine options that the model of a step does not know
            continue
        assert 0 < found["pct_of_roofline"] < 100, record.name
        assert found["mbu"] < 1, record.name
        assert found["mfu"] < 1, record.name
        told.append((record, find_bound(dataclasses.replace(record, metrics=record.metrics | found))))
    assert len(told) >= 104
    assert all(bound and bound.grounds for _, bound in told)
    named = {record.name: bound.what for record, bound in told}
    assert named["llama8b · 1xh200 · tp1 · n20"] == "weights bandwidth"
    assert named["llama8b · 1xh200 · tp1 · n1280"] == "front end"
    assert named["llama70b · 1xh200 · tp1 · n1280"] == "prefill compute"
    assert sum(bound.what == NOT_TOLD for _, bound in told) < len(told) / 10


def test_a_failed_run_and_a_start_have_no_bound():
    record = next(record for record, _ in published())
    assert find_bound(dataclasses.replace(record, metrics={})) is None
