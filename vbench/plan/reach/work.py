"""What one step of an engine has to do: bytes to read, FLOPs, bytes to exchange. Pure.

All numbers are of one device: tensor parallelism divides weights, FLOPs and KV heads by its size.
"""

from __future__ import annotations

from dataclasses import dataclass

from vbench.schema import Gpu, Model

BYTES = {"bfloat16": 2.0, "fp8": 1.0, "mxfp4": 4.25 / 8}  # a weight, with MXFP4's scale for each 32
WIDE = 2.0  # bytes of a bfloat16


@dataclass(frozen=True)
class Work:
    """The work of a model on one device, by its kinds."""

    layers: int
    expert_layers: int
    dense_bytes: float  # weights that every step reads, without the head
    dense_flops: float  # a token
    head_bytes: float
    head_flops: float  # a sampled token
    expert_bytes: float  # one expert in all layers
    expert_flops: float  # a token, in all layers, of the experts that it is routed to
    experts: int
    experts_per_token: int
    kv_bytes: float  # written or read for a token of context in all layers without a window
    window_kv_bytes: float  # the same of the layers with a window
    window: int  # tokens
    attention_flops: float  # for one token and each token of its context, all layers
    activation_bytes: float  # read and written for a token between the matrix products, all layers
    all_reduces: int  # a step
    all_reduce_bytes: float  # a token and all-reduce
    resident_bytes: float  # all weights
    precision: str
    dense_precision: str


ROUTER_BIAS = ("gpt_oss", "deepseek_v3", "glm4_moe", "kimi_k2")  # model types whose router adds a bias to each expert


def compute_work(model: Model, tensor_parallel: int, routes_alike: bool = False) -> Work:
    """The work of a model split over `tensor_parallel` devices.

    `routes_alike`: every token goes to the same experts, as with random weights and a router that has a bias.
    """
    hidden, layers = model.hidden_size, model.num_hidden_layers
    head_dim, kv_heads = model.head_dim, model.num_key_value_heads
    attention = 2 * hidden * head_dim * (model.num_attention_heads + kv_heads) * layers
    width = model.moe_intermediate_size or model.intermediate_size
    has_experts = model.num_experts > 0
    expert = 3 * hidden * width * layers if has_experts else 0
    dense = attention + (0 if has_experts else 3 * hidden * model.intermediate_size * layers)
    dense_precision = "bfloat16" if model.weight_dtype == "mxfp4" else model.weight_dtype
    windowed = _windowed_layers(model)
    kv = 2 * kv_heads * head_dim * (1.0 if model.kv_cache_dtype == "fp8" else WIDE)
    share = 1 / tensor_parallel
    kv_share = 1 / min(tensor_parallel, kv_heads)
    head = model.vocab_size * hidden
    routed = model.num_experts_per_tok if has_experts else 1
    width = width if has_experts else model.intermediate_size
    return Work(
        layers=layers,
        expert_layers=layers if has_experts else 0,
        dense_bytes=dense * BYTES[dense_precision] * share,
        dense_flops=2 * dense * share,
        head_bytes=head * WIDE * share,
        head_flops=2 * head * share,
        expert_bytes=expert * BYTES[model.weight_dtype] * share,
        expert_flops=2 * expert * model.num_experts_per_tok * share,
        experts=model.num_experts_per_tok if routes_alike else model.num_experts,
        experts_per_token=model.num_experts_per_tok,
        kv_bytes=kv * (layers - windowed) * kv_share,
        window_kv_bytes=kv * windowed * kv_share,
        window=model.sliding_window or 0,
        attention_flops=4 * model.num_attention_heads * head_dim * layers * share,
        activation_bytes=WIDE * layers * (12 * hidden + routed * (2 * hidden + 5 * width) * share),
        all_reduces=2 * layers if tensor_parallel > 1 else 0,
        all_reduce_bytes=hidden * WIDE,
        resident_bytes=share * (dense * BYTES[dense_precision] + 2 * head * WIDE)
        + share * expert * BYTES[model.weight_dtype] * model.num_experts,
        precision=model.weight_dtype,
        dense_precision=dense_precision,
    )


def _windowed_layers(model: Model) -> int:
    if not model.sliding_window:
        return 0
    kinds = model.config_json.get("layer_types")
    return sum(kind == "sliding_attention" for kind in kinds) if kinds else model.num_hidden_layers
