import pytest

from vbench.compose import known_gpus, known_models
from vbench.plan.forecast.estimate import Basis
from vbench.plan.sizing.misfits import find_misfit
from vbench.schema import Engine, Hardware, Parallelism, RunConfig

MODELS = {model.name: model for model in known_models()}
GPUS = {gpu.name: gpu for gpu in known_gpus()}


def config(model, gpus, gpu="h100", **engine):
    split = Parallelism(tensor_parallel_size=gpus)
    return RunConfig(
        model=MODELS[model], hardware=Hardware(gpus=gpus, gpu=GPUS[gpu]), parallelism=split, engine=Engine(**engine)
    )


def test_a_model_that_is_larger_than_its_gpus_bears_nothing_and_says_by_how_much():
    found = find_misfit(config("llama405b", 2))
    assert (found.value, found.high, found.basis) == (0, 0, Basis.assumed)
    weights = float(found.source.split()[3])
    assert found.source.startswith("does not fit: ")
    assert weights == pytest.approx(405 / 2 * 1e9 / 2**30, rel=0.05)  # fp8: a byte each


def test_weights_that_fit_without_room_for_a_request_do_not_fit():
    found = find_misfit(config("llama8b", 1, max_model_len=131_072, gpu_memory_utilization=0.25))
    assert "too small for a request of 131,072 tokens" in found.source


def test_what_fits_or_is_near_the_edge_is_left_to_the_prediction():
    assert find_misfit(config("llama8b", 1)) is None
