"""What a model's layers are, read from the facts of its config.json: the attention, feed-forward and state of each.

Key names follow the published config.json files of the families that vLLM serves; a nested `text_config` (models that
also see images) is read as the model itself. What no key says is taken as a plain Llama's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vbench.schema import Model

Kind = Literal["full", "sliding", "chunked", "latent", "linear"]

KINDS: dict[str, Kind] = {  # of the list layer_types
    "full_attention": "full",
    "attention": "full",
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "linear",
}
# Keys of config.json that give layers other weights or another cache than is counted here.
UNCOUNTED = (
    *("hybrid_override_pattern", "layers_block_type", "block_configs", "hybrid_layer_pattern", "attn_type_list"),
    *("ssm_state_size", "linear_attn_config", "sparse_attention_config", "compress_ratios", "index_topk"),
    *("global_head_dim", "num_kv_shared_layers", "routed_expert_hidden_size", "share_expert_dim"),
    *("shared_intermediate_size", "mamba_d_state", "mamba_d_ssm", "attn_layer_period", "moe_num_experts"),
    *("moe_layer_start_index", "parallel_attn_mlp_res", "ffn_config", "zero_expert_num"),
)
FFN_NAMES = {"mixtral": "block_sparse_moe", "llama4_text": "feed_forward", "llama4": "feed_forward"}


@dataclass(frozen=True)
class Layer:
    """One transformer layer: its attention, and its feed-forward network, dense or routed."""

    kind: Kind
    window: int | None  # tokens that a sliding or chunked layer keeps
    dense_width: int  # width of a dense feed-forward network; 0 where the layer is routed
    routed: bool
    shared_width: int = 0  # width of the experts that every token passes
    gated_shared: bool = False  # a gate of its own scales the shared expert


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: the ranks and head widths of DeepSeek's config.json."""

    query_rank: int  # 0: queries are not compressed
    rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Linear:
    """Gated delta-net layers: heads, head widths and the convolution's kernel of Qwen3-Next's config.json."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int


@dataclass(frozen=True)
class Facts:
    """Everything that the weights, the KV cache and the FLOPs of a model follow from."""

    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    layers: tuple[Layer, ...]
    experts: int
    experts_per_token: int
    expert_width: int
    latent: Latent | None = None
    linear: Linear | None = None
    tied: bool = False  # the output head is the embedding table
    qkv_bias: bool = False
    output_bias: bool = False
    expert_bias: bool = False
    gated_attention: bool = False  # queries come with a gate of the same width
    norms_per_layer: int = 2
    ffn: str = "mlp"  # name of the feed-forward part in the checkpoint
    config: Mapping[str, Any] = field(default_factory=dict)


class ByContent:
    """A model as the key of a cache: a Model holds dicts, so it cannot be one. Grids ask for the same model often."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._text = json.dumps(asdict(model), sort_keys=True, default=str)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByContent) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


def read_config(model: Model) -> dict[str, Any]:
    """The keys of config.json beside the schema's; those of `text_config` count as the model's own."""
    config = model.config_json
    return {**config, **(config.get("text_config") or {})}


def read_facts(model: Model) -> Facts:
    """The facts of a model. Raises ValueError, naming the key, if its layers are of a kind that is not counted here."""
    config = read_config(model)
    latent, linear = _read_latent(config), _read_linear(config)
    uncounted = [key for key in UNCOUNTED if config.get(key)]
    uncounted += [f"layer_types: {each}" for each in config.get("layer_types") or () if each not in KINDS]
    if "linear_attention" in (config.get("layer_types") or ()) and linear is None:
        uncounted.append("layer_types: linear_attention")
    if uncounted:
        raise ValueError(f"its size is not known here: its layers are of a kind of their own ({uncounted[0]})")
    return Facts(
        hidden_size=model.hidden_size,
        heads=model.num_attention_heads,
        kv_heads=model.num_key_value_heads,
        head_dim=model.head_dim,
        vocab_size=model.vocab_size,
        layers=tuple(_read_layer(model, config, index, latent) for index in range(model.num_hidden_layers)),
        experts=model.num_experts,
        experts_per_token=model.num_experts_per_tok,
        expert_width=model.moe_intermediate_size or model.intermediate_size,
        latent=latent,
        linear=linear,
        tied=bool(config.get("tie_word_embeddings", model.model_type.startswith(("gemma", "cohere")))),
        qkv_bias=bool(config.get("attention_bias", model.model_type.startswith("qwen2"))),
        output_bias=bool(config.get("attention_bias")) and model.model_type == "gpt_oss",
        expert_bias=model.model_type == "gpt_oss",
        gated_attention=model.model_type.startswith(("qwen3_next", "qwen3_5")) or bool(config.get("attn_output_gate")),
        norms_per_layer=4 if model.model_type.startswith(("gemma2", "gemma3")) else 2,
        ffn=FFN_NAMES.get(model.model_type, "mlp"),
        config=config,
    )


def _read_layer(model: Model, config: Mapping[str, Any], index: int, latent: Latent | None) -> Layer:
    kind = "latent" if latent else _find_kind(model, config, index)
    window = model.sliding_window if kind == "sliding" else config.get("attention_chunk_size")
    routed = _is_routed(model, config, index)
    expert = model.moe_intermediate_size or model.intermediate_size
    shared = config.get("shared_expert_intermediate_size") or (config.get("n_shared_experts") or 0) * expert
    if model.model_type.startswith("llama4"):
        shared = model.intermediate_size
    dense = config.get("intermediate_size_mlp") or model.intermediate_size
    return Layer(
        kind=kind,
        window=window if kind in ("sliding", "chunked") else None,
        dense_width=0 if routed else dense,
        routed=routed,
        shared_width=shared if routed else 0,
        gated_shared=routed and bool(config.get("shared_expert_intermediate_size")),
    )


def _find_kind(model: Model, config: Mapping[str, Any], index: int) -> Kind:
    types = config.get("layer_types")
    if types and index < len(types):
        kind = KINDS[types[index]]
    elif every := config.get("full_attention_interval"):  # Qwen3-Next
        kind = "full" if (index + 1) % every == 0 else "linear"
    elif pattern := config.get("sliding_window_pattern"):  # Gemma: the last of each group of layers is full
        kind = "full" if (index + 1) % pattern == 0 else "sliding"
    elif model.model_type.startswith("llama4"):
        rope = config.get("no_rope_layers")  # 1: a layer with rotary positions, which is chunked
        kind = "chunked" if (rope[index] if rope else (index + 1) % 4) else "full"
    else:
        kind = "sliding" if model.sliding_window and config.get("use_sliding_window", True) else "full"
    return "full" if kind == "sliding" and not model.sliding_window else kind


def _is_routed(model: Model, config: Mapping[str, Any], index: int) -> bool:
    dense = [place for place, kind in enumerate(config.get("mlp_layer_types") or ()) if kind == "dense"]
    if not model.num_experts or index in (*(config.get("mlp_only_layers") or ()), *dense):
        return False
    if config.get("moe_layers") is not None:
        return index in config["moe_layers"]
    if index < (config.get("first_k_dense_replace") or 0):
        return False
    if step := config.get("interleave_moe_layer_step"):  # Llama 4: the last of each group
        return bool((index + 1) % step == 0)
    if step := config.get("decoder_sparse_step"):  # Qwen
        return bool((index + 1) % step == 0)
    every = config.get("moe_layer_freq") or 1  # DeepSeek; a list has a mark for each layer
    return bool(every[index]) if isinstance(every, list) else index % every == 0


def _read_latent(config: Mapping[str, Any]) -> Latent | None:
    if not config.get("kv_lora_rank"):
        return None
    return Latent(
        query_rank=config.get("q_lora_rank") or 0,
        rank=config["kv_lora_rank"],
        rope_dim=config["qk_rope_head_dim"],
        nope_dim=config["qk_nope_head_dim"],
        value_dim=config["v_head_dim"],
    )


def _read_linear(config: Mapping[str, Any]) -> Linear | None:
    if not config.get("linear_num_value_heads"):
        return None
    return Linear(
        key_heads=config["linear_num_key_heads"],
        value_heads=config["linear_num_value_heads"],
        key_dim=config["linear_key_head_dim"],
        value_dim=config["linear_value_head_dim"],
        kernel=config["linear_conv_kernel_dim"],
    )
