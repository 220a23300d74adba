"""Each rule between the values of a run: one value that it allows, and the nearest that it refuses."""

import dataclasses
import re

import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.schema import RunConfig, keys
from vbench.schema.errors import Refused

SHAPE = {"lengths": "random", "num_prompts": 1, "input_len": 1000, "output_len": 100}


def parts(key, value):
    """A run that sets one dotted key, and what it needs besides."""
    part, _, name = key.partition(".")
    given = {"engine": {"weights": "dummy"}, "workload": SHAPE}
    if name.startswith("ramp_up"):
        given["workload"] = SHAPE | {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1.0, "ramp_up_end_rps": 1.0}
    return given | {part: given.get(part, {}) | {name: value}}


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("engine.gpu_memory_utilization", 1.0, 1.01),
        ("engine.gpu_memory_utilization", 0.01, 0.0),
        ("engine.max_model_len", 4096, 4097),
        ("engine.max_model_len", 1100, 1099),
        ("engine.max_model_len", "auto", "automatic"),
        ("parallelism.tensor_parallel_size", 1, 0),
        ("workload.input_len", 1, 0),
        ("workload.input_len", [1, 1], [0, 1]),
        ("workload.output_len", [1, 2], [2, 1]),
        ("workload.num_prompts", 1, 0),
        ("workload.num_prompts", 1_000_000, 1_000_001),
        ("workload.repeats", 1, 0),
        ("engine.restarts", 1, 0),
        ("workload.max_concurrency", 1, 0),
        ("workload.client_processes", 1, 0),
        ("workload.request_rate", 0.001, 0.0),
        ("workload.burstiness", 0.001, 0.0),
        ("workload.ramp_up_start_rps", 0.001, 0.0),
        ("workload.ramp_up_end_rps", 0.001, 0.0),
        ("workload.slo", {"tpot_ms": 0.001}, {"tpot_ms": 0.0}),
        ("launcher.retries", 0, -1),
        ("launcher.max_parallel", 1, 0),
    ],
)
def test_a_rule_holds_up_to_its_edge_and_its_refusal_names_the_key(key, allowed, refused):
    check_run(run_config(**parts(key, allowed)))
    with pytest.raises(Refused, match=key if key != "workload.slo" else "workload.slo.tpot_ms") as refusal:
        check_run(run_config(**parts(key, refused)))
    assert "\n" not in str(refusal.value)


def of_dotted(name, value):
    """A run on a GPU whose dotted key has this value."""
    given = {"hardware": {"gpus": 1}}
    run = run_config(**given)
    *path, last = name.split(".")
    owners = [run]
    for part in path:
        owners.append(getattr(owners[-1], part))
    for owner, part in zip(reversed(owners), [last, *reversed(path)], strict=True):
        value = dataclasses.replace(owner, **{part: value})
    return value


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("key", [key.name for key in keys(RunConfig) if str in key.kinds])
def test_a_text_that_is_blank_is_refused_by_its_key(key, blank):
    assert check_run(run_config(hardware={"gpus": 1})).model.name == "tiny"
    with pytest.raises(Refused, match=f"^{re.escape(key)}={blank!r}: must not be blank") as refusal:
        check_run(of_dotted(key, blank))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("words", [[], [""], ["python", " "]])
def test_a_command_without_a_program_and_a_variable_without_a_name_are_refused(words):
    with pytest.raises(Refused, match=r"^engine\.command(=\[\])?: "):
        check_run(run_config(engine={"weights": "dummy", "command": words}))
    if words:
        with pytest.raises(Refused, match=r"^engine\.env_from: one of its words is blank"):
            check_run(run_config(engine={"weights": "dummy", "env_from": words}))


@pytest.mark.parametrize(
    ("lengths", "key", "value", "instead"),
    [
        ("sharegpt", "input_len", 512, "random"),
        ("sharegpt", "output_len", 64, "random or prefix or conversations or agents"),
        ("sharegpt", "path", "mine.json", "sharegpt_file or trace or agent_trace"),
        ("random", "path", "mine.json", "sharegpt_file or trace or agent_trace"),
        ("prefix", "input_len", 512, "random"),
    ],
)
def test_lengths_that_a_load_does_not_read_are_refused_as_another_load_would_be_measured(lengths, key, value, instead):
    load = {"lengths": lengths, "num_prompts": 1, key: value}
    with pytest.raises(Refused) as refusal:
        check_run(run_config(engine={"weights": "dummy"}, workload=load))
    assert str(refusal.value) == (
        f"workload.{key}={value}: workload={lengths} does not read it; leave it out, or choose workload={instead}"
    )


@pytest.mark.parametrize(("size", "allowed"), [(8, True), (4, True), (3, False), (16, False)])
def test_tensor_parallelism_divides_the_attention_heads(size, allowed):
    run = run_config(hardware={"gpus": size}, parallelism={"tensor_parallel_size": size})
    if allowed:
        assert check_run(run).parallelism.tensor_parallel_size == size
    else:
        with pytest.raises(
            Refused, match=f"parallelism.tensor_parallel_size={size}: must divide the 8 attention heads"
        ):
            check_run(run)


@pytest.mark.parametrize("key", ["duration_s", "warmup_s"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf")])
def test_a_span_of_time_is_above_0_and_finite(key, seconds):
    with pytest.raises(Refused, match=f"workload.{key}={seconds}: must be above 0"):
        check_run(run_config(workload={key: seconds}))


def test_a_search_and_a_start_have_no_duration():
    with pytest.raises(Refused, match=r"workload\.duration_s=9.0: a search chooses"):
        check_run(run_config(workload={"duration_s": 9, "search": "max_concurrency", "slo": {"ttft_ms": 9}}))
    with pytest.raises(Refused, match=r"workload\.warmup_s=9.0: workload=none sends nothing"):
        check_run(run_config(workload={"warmup_s": 9, "lengths": "none", "num_prompts": 0}))


@pytest.mark.parametrize(("prompts", "fits"), [(140, True), (139, False)])
def test_a_rate_needs_prompts_for_its_whole_duration_and_warm_up(prompts, fits):
    load = {"request_rate": 2.0, "duration_s": 60.0, "warmup_s": 10.0, "num_prompts": prompts}
    if fits:
        check_run(run_config(workload=load))
    else:
        with pytest.raises(Refused, match="set at least 140"):
            check_run(run_config(workload=load))
    check_run(run_config(workload={**load, "max_concurrency": 4}))  # it may wait for places


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("workload", "repeats", 10**30),
        ("workload", "num_prompts", 10**30),
        ("workload", "input_len", 10**30),
        ("workload", "output_len", [1, 2**63]),
        ("workload", "prefix.groups", 2**63),
        ("workload", "conversations.system_groups", 2**63),
        ("engine", "restarts", 2**63),
    ],
)
def test_a_number_beyond_all_bounds_is_refused_at_once(part, key, value):
    outer, _, inner = key.partition(".")
    given = {outer: {inner: value} if inner else value}
    if part == "workload":
        given["lengths"] = outer if inner else "random"
    with pytest.raises(Refused, match=f"{part}.{key}="):
        check_run(run_config(**{part: given}))


FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
FP8_CACHE = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}


@pytest.mark.parametrize(
    ("key", "facts", "args", "allowed", "refused"),
    [
        ("num_hidden_layers", {"config_json": {"num_hidden_layers": 4}}, [], 4, 2),
        ("hidden_size", {"config_json": {"text_config": {"hidden_size": 128}}}, [], 128, 256),
        ("weight_dtype", {"config_json": FP8}, [], "fp8", "bfloat16"),
        ("kv_cache_dtype", {}, [], "float16", "fp8"),
        ("kv_cache_dtype", {"config_json": FP8_CACHE, "weight_dtype": "fp8"}, [], "fp8", "bfloat16"),
    ],
)
def test_a_fact_of_the_model_is_what_its_server_reads(key, facts, args, allowed, refused):
    """A record and its labels show the fact: the server is started with what config_json says."""
    check_run(run_config(model=facts | {key: allowed}))
    with pytest.raises(Refused, match=rf"^model\.{key}={refused}: ") as refusal:
        check_run(run_config(model=facts | {key: refused}))
    assert "\n" not in str(refusal.value)


def test_a_cache_of_another_type_is_one_that_the_server_is_told():
    told = {"extra_args": ["--kv-cache-dtype", "fp8"]}
    check_run(run_config(model={"kv_cache_dtype": "fp8"}, engine=told))
    with pytest.raises(Refused, match=r"add engine.extra_args=\[--kv-cache-dtype,fp8\]"):
        check_run(run_config(model={"kv_cache_dtype": "fp8"}, engine={"extra_args": ["--kv-cache-dtype=auto"]}))


def test_dummy_weights_have_the_precision_that_the_server_is_told():
    narrow = {"model": {"weight_dtype": "fp8"}, "engine": {"weights": "dummy"}}
    with pytest.raises(Refused, match=r"^model\.weight_dtype=fp8: vLLM serves dummy weights of model=\S+ in bfloat16"):
        check_run(run_config(**narrow))
    check_run(
        run_config(model=narrow["model"] | {"name": "small"}, engine={"weights": "hub"})
    )  # the checkpoint has a config of its own
    check_run(run_config(model=narrow["model"], engine=narrow["engine"] | {"extra_args": ["--quantization=fp8"]}))
    check_run(run_config(model=narrow["model"] | {"config_json": FP8}, engine=narrow["engine"]))
