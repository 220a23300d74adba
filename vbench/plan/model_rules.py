"""What the facts of a model say must be what its server is started with: records and labels show the facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vbench.metrics.model_cost import DTYPE_BYTES
from vbench.metrics.model_facts import read_config
from vbench.metrics.model_quantization import read_stated, state_kv_cache_dtype, state_weight_dtype
from vbench.plan.cache_dtype import is_told
from vbench.plan.extra_args import find_word
from vbench.schema import Model, RunConfig, Weights
from vbench.schema.errors import Refused
from vbench.schema.model import DTYPES

QUANTIZATION = ("--quantization", "-q")
NARROW = frozenset(DTYPES) - {"bfloat16"}
SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size", "max_position_embeddings", "num_experts_per_tok", "moe_intermediate_size"),
)


def check_model(run: RunConfig) -> None:
    """Raises Refused if a fact of the model is another than vLLM reads in `model.config_json`."""
    for wrong in (*_find_sizes(run.model), *_find_precisions(run)):
        raise Refused(wrong)


def _find_sizes(model: Model) -> Iterator[str]:
    config = read_config(model)
    for key in SIZES:
        said, fact = config.get(key), getattr(model, key)
        if said and fact and said != fact:
            inner = "text_config." if key in (model.config_json.get("text_config") or {}) else ""
            yield (
                f"model.{key}={fact}: model.config_json says {said}, which is what vLLM serves; leave it out, or for "
                f"dummy weights set model.config_json.{inner}{key} too"
            )


def _find_precisions(run: RunConfig) -> Iterator[str]:
    model, config = run.model, read_config(run.model)
    if read_stated(config) and (said := state_weight_dtype(config)) != model.weight_dtype:
        yield (
            f"model.weight_dtype={model.weight_dtype}: the quantization_config of model.config_json says {said}, which "
            "is what vLLM serves; leave it out, or choose a model that is stored so"
        )
    elif _is_served_wider(run):
        yield (
            f"model.weight_dtype={model.weight_dtype}: vLLM serves dummy weights of model={model.name} in bfloat16, "
            "as its model.config_json has no quantization_config; leave it out, or choose a model that is stored so"
        )
    if model.is_unknown or run.engine.base_url is not None or is_told(run):
        return
    kept = state_kv_cache_dtype(config)
    if _count_bytes(model.kv_cache_dtype) != _count_bytes(kept):
        yield (
            f"model.kv_cache_dtype={model.kv_cache_dtype}: vLLM keeps the cache of model={model.name} in {kept} unless "
            f"it is told; leave it out, or add engine.extra_args=[--kv-cache-dtype,{model.kv_cache_dtype}]"
        )


def _is_served_wider(run: RunConfig) -> bool:
    """Whether dummy weights get 16 bits in place of fewer: nothing tells the server of a quantization."""
    if run.engine.weights is not Weights.dummy or run.engine.base_url is not None:
        return False
    named = find_word(run.engine.extra_args, QUANTIZATION) is not None or read_stated(read_config(run.model))
    return run.model.weight_dtype in NARROW and not named


def _count_bytes(dtype: str) -> float | None:
    return DTYPE_BYTES.get(dtype)
