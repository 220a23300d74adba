"""The facts in conf/model and conf/gpu: they fit the schema and agree with each other and with what is advertised."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from vbench.engine.dummy import build_config_json
from vbench.metrics.model_cost import compute_model_cost
from vbench.schema import Gpu, Model

CONF = Path(__file__).parents[2] / "conf"
ADVERTISED = {  # parameters, from the model cards
    "llama8b": 8.03e9,
    "llama70b": 70.6e9,
    "llama405b": 405.9e9,
    "mistral7b": 7.25e9,
    "mixtral8x7b": 46.7e9,
    "mixtral8x22b": 140.6e9,
    "nemo12b": 12.2e9,
    "mistral_large": 122.6e9,
    "qwen3_8b": 8.19e9,
    "qwen3_32b": 32.8e9,
    "qwen3_30b_a3b": 30.5e9,
    "gpt_oss_120b": 116.8e9,
    "deepseek_v3": 671e9,  # without its layer that predicts a second token
    "kimi_k2": 1.03e12,
    "glm4_5": 355e9,
    "qwen3_235b_a22b": 235e9,
    "llama4_scout": 107.8e9,  # 109e9 with the tower that reads images
    "llama4_maverick": 400e9,
    "gemma3_27b": 27e9,
}
READ_BACK = [
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "sliding_window",
]
PRODUCTS = {  # as NVML names them
    "a100": "NVIDIA A100-SXM4-80GB",
    "h100": "NVIDIA H100 80GB HBM3",
    "h200": "NVIDIA H200",
    "b200": "NVIDIA B200",
    "l40s": "NVIDIA L40S",
    "b300": "NVIDIA B300 SXM6 AC",
    "gb200": "NVIDIA GB200",
    "rtx_pro_6000": "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    "l4": "NVIDIA L4",
    "mi300x": "AMD Instinct MI300X",
    "mi355x": "AMD Instinct MI355X",
}


@cache
def load(schema: type, path: Path) -> Any:
    facts = OmegaConf.load(path)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), facts.get("model", facts)))


MODELS, GPUS = (sorted(path.stem for path in CONF.glob(f"{group}/*.yaml")) for group in ("model", "gpu"))
each_model = pytest.mark.parametrize("model", MODELS, indirect=True)
each_gpu = pytest.mark.parametrize("gpu", GPUS, indirect=True)


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Model:
    return load(Model, CONF / "model" / f"{request.param}.yaml")


@pytest.fixture
def gpu(request: pytest.FixtureRequest) -> Gpu:
    return load(Gpu, CONF / "gpu" / f"{request.param}.yaml")


def test_every_file_is_here_under_its_own_name() -> None:
    assert [load(Model, CONF / "model" / f"{name}.yaml").name for name in MODELS] == MODELS
    assert [load(Gpu, CONF / "gpu" / f"{name}.yaml").name for name in GPUS] == GPUS
    assert {*MODELS} == {*ADVERTISED, "tiny"}
    assert {*GPUS} == {*PRODUCTS}


def test_every_file_says_first_what_it_is() -> None:
    for path in CONF.glob("[mg]*/*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# ")


@each_model
def test_heads_divide_evenly(model: Model) -> None:
    assert model.num_attention_heads % model.num_key_value_heads == 0
    assert model.num_experts_per_tok <= model.num_experts


@each_model
def test_parameters_are_within_1_percent_of_the_advertised(model: Model) -> None:
    if model.name in ADVERTISED:
        parameters = compute_model_cost(model).parameters
        assert parameters == pytest.approx(ADVERTISED[model.name], rel=0.01)


@each_model
def test_weights_are_quantized_as_the_weight_dtype_says(model: Model) -> None:
    methods = {"bfloat16": {None}, "fp8": {"compressed-tensors", "fp8"}, "mxfp4": {"mxfp4"}}
    assert model.config_json.get("quantization_config", {}).get("quant_method") in methods[model.weight_dtype]


@each_model
def test_a_published_key_is_either_a_fact_or_in_config_json(model: Model) -> None:
    facts = {"num_local_experts", "architectures", *Model.__dataclass_fields__}
    assert not facts & model.config_json.keys()


@each_model
def test_transformers_reads_the_facts_back(model: Model, tmp_path: Path, transformers: ModuleType) -> None:
    (tmp_path / "config.json").write_text(json.dumps(build_config_json(model)), encoding="utf-8")
    read = transformers.AutoConfig.from_pretrained(tmp_path, local_files_only=True)
    assert read.architectures == [model.architecture]
    latent = {"head_dim"} if "kv_lora_rank" in model.config_json else set()  # a head's width is in its own keys there
    for fact in sorted({*READ_BACK} - latent):
        assert getattr(read, fact) == getattr(model, fact), fact
    if model.num_experts:
        assert (read.num_experts if hasattr(read, "num_experts") else read.num_local_experts) == model.num_experts
    rope = getattr(read, "rope_parameters", None) or {"rope_theta": read.rope_theta, **(read.rope_scaling or {})}
    rope = rope.get("full_attention", rope)  # Gemma's sliding layers have a base of their own
    assert rope["rope_theta"] == model.rope_theta
    assert (model.rope_scaling or {}).items() <= rope.items()


@each_gpu
def test_a_gpu_is_known_by_its_product_name_and_by_no_other(gpu: Gpu) -> None:
    known = [name for name, product in PRODUCTS.items() if re.search(gpu.product, product)]
    assert known == [gpu.name]
    assert not re.search(gpu.product, "NVIDIA H200 NVL")


@each_gpu
def test_only_the_price_is_left_open_and_fp8_where_the_chip_has_none(gpu: Gpu) -> None:
    left_open = {key for key, value in vars(gpu).items() if value is None}
    assert left_open == {"price_per_hour"} | ({"fp8_tflops"} if gpu.name == "a100" else set())


@each_gpu
def test_peaks_are_dense(gpu: Gpu) -> None:
    if gpu.fp8_tflops and gpu.bf16_tflops:  # dense FP8 is twice dense bfloat16; a sparse one would be four times it
        assert gpu.fp8_tflops / gpu.bf16_tflops == pytest.approx(2, rel=0.02)
