"""Which words of engine.extra_args say again what a key of the config says."""

import re

import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.schema.errors import Refused

DATA_PARALLEL = "parallelism.attention_data_parallel_size, or for whole servers parallelism.data_parallel_size"


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["--tensor-parallel-size", "2"], "parallelism.tensor_parallel_size"),
        (["--tensor-parallel-size=2"], "parallelism.tensor_parallel_size"),
        (["--tensor_parallel_size", "2"], "parallelism.tensor_parallel_size"),
        (["--tensor_parallel-size=2"], "parallelism.tensor_parallel_size"),
        (["--tensor", "2"], "parallelism.tensor_parallel_size"),
        (["-tp", "2"], "parallelism.tensor_parallel_size"),
        (["-tp=2"], "parallelism.tensor_parallel_size"),
        (["-t", "2"], "parallelism.tensor_parallel_size"),
        (["--pipeline-parallel-size", "2"], "parallelism.pipeline_parallel_size"),
        (["-pp", "2"], "parallelism.pipeline_parallel_size"),
        (["--data-parallel-size=2"], DATA_PARALLEL),
        (["-dp=2"], DATA_PARALLEL),
        (["--enable-expert-parallel"], "parallelism.enable_expert_parallel"),
        (["--no-enable-expert-parallel"], "parallelism.enable_expert_parallel"),
        (["--disable-expert-parallel"], "parallelism.enable_expert_parallel"),
        (["-ep"], "parallelism.enable_expert_parallel"),
        (["--seed", "1", "--max-model-len", "4096"], "engine.max_model_len"),
        (["--max-model=4096"], "engine.max_model_len"),
        (["--gpu-memory-utilization", "0.5"], "engine.gpu_memory_utilization"),
        (["--device-memory-utilization", "0.5"], "engine.gpu_memory_utilization"),
        (["--gpu_mem=0.5"], "engine.gpu_memory_utilization"),
        (["--max-num-seqs", "4"], "engine.max_num_seqs"),
        (["--max_num_batched_tokens=512"], "engine.max_num_batched_tokens"),
        (["--enforce-eager"], "engine.enforce_eager"),
        (["--no-enforce-eager"], "engine.enforce_eager"),
        (["--enable-prefix-caching"], "engine.enable_prefix_caching"),
        (["--no-enable-prefix-caching"], "engine.enable_prefix_caching"),
        (["--no_enable_prefix"], "engine.enable_prefix_caching"),
        (["--disable-prefix-caching"], "engine.enable_prefix_caching"),
        (["--disable_prefix"], "engine.enable_prefix_caching"),
        (["--model", "other/model"], "model"),
    ],
)
def test_an_argument_that_repeats_a_key_is_refused_and_the_key_is_named(words, key):
    line = rf"engine.extra_args: {re.escape(words[-2] if len(words) > 2 else words[0])} repeats .* set {key}$"
    with pytest.raises(Refused, match=line):
        check_run(run_config(engine={"weights": "dummy", "extra_args": words}))


@pytest.mark.parametrize("word", ["--port", "--port=8000", "--host", "--served-model-name", "--served_model_name=x"])
def test_what_vbench_chooses_for_each_server_is_refused(word):
    with pytest.raises(Refused, match=f"engine.extra_args: {word} is chosen by vbench"):
        check_run(run_config(engine={"weights": "dummy", "extra_args": [word]}))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--seed", "1"],
        ["--model-impl", "transformers"],
        ["--model_loader_extra_config={}"],
        ["--data-parallel-size-local", "1"],
        ["--load-format=runai_streamer", "--download-dir", "/scratch"],
        ["--kv-cache-dtype", "fp8"],
        ["--speculative-config", '{"model": "--max-model-len"}'],
        ["-dcp", "2"],
        ["-O3"],
        ["--max-logprobs", "-1"],
        ["--", "-"],
        ["max-model-len"],
    ],
)
def test_other_arguments_are_passed_on(words):
    run = check_run(run_config(engine={"weights": "dummy", "extra_args": words}))
    assert run.engine.extra_args == words


@pytest.mark.parametrize("word", ["--api-server-count=4", "--api_server_count", "-asc", "--api-server"])
def test_several_api_servers_need_a_command_that_starts_them(word):
    with pytest.raises(Refused, match="ignores --api-server-count; add engine=vllm_serve"):
        check_run(run_config(engine={"weights": "dummy", "extra_args": [word]}))
