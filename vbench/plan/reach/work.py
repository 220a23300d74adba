"""What one step of an engine has to do: bytes to read, FLOPs, bytes to exchange. Pure.

All numbers are of one device: tensor parallelism divides weights, FLOPs and KV heads by its size. Pipeline stages are
taken one after the other, as one request sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

from vbench.metrics.model_cost import ModelCost, compute_model_cost
from vbench.schema import Model

WIDE = 2.0  # bytes of a bfloat16
EXPERTS_ONLY = ("mxfp4",)  # weight types that leave all but the routed experts in bfloat16


@dataclass(frozen=True)
class Work:
    """The work of a model on one device, by its kinds."""

    layers: int
    routed_layers: int
    dense_bytes: float  # weights that every step reads, without the head
    dense_flops: float  # a token
    head_bytes: float
    head_flops: float  # a sampled token
    expert_bytes: float  # one expert in all layers
    expert_flops: float  # a token, in all layers, of the experts that it is routed to
    experts: int  # that tokens may be routed to
    experts_per_token: int
    kv_bytes: float  # of a token of context in all layers that keep every token
    window_kv_bytes: float  # the same of the layers with a window
    window: int  # tokens
    attention_flops: float  # for one token and each token of its context, all layers
    activation_bytes: float  # read and written for a token between the matrix products, all layers
    all_reduces: int  # a step
    all_reduce_bytes: float  # a token and all-reduce
    dense_dtype: str
    expert_dtype: str


def compute_work(model: Model, tensor_parallel: int, routes_alike: bool = False) -> Work:
    """The work of a model split over `tensor_parallel` devices.

    `routes_alike`: every token goes to the same experts, as with random weights and a router that has a bias.
    Raises ValueError for a quantization method that is not known.
    """
    cost = compute_model_cost(model)
    hidden, layers, routed_layers = cost.hidden_size, cost.num_hidden_layers, cost.routed_layers
    width = (model.moe_intermediate_size if routed_layers else 0) or model.intermediate_size
    routed = cost.experts_per_token if routed_layers else 1
    share = 1 / tensor_parallel
    head_bytes = model.vocab_size * hidden * WIDE
    expert_flops = 2 * 3 * hidden * width * cost.experts_per_token * routed_layers
    windowed = [kind for kind in cost.kv if kind.window is not None]
    return Work(
        layers=layers,
        routed_layers=routed_layers,
        dense_bytes=(cost.dense_bytes - head_bytes) * share,
        dense_flops=(cost.layer_flops_per_token + cost.state_flops_per_token - expert_flops) * share,
        head_bytes=head_bytes * share,
        head_flops=cost.head_flops * share,
        expert_bytes=cost.expert_bytes * routed_layers * share,
        expert_flops=expert_flops * share,
        experts=cost.experts_per_token if routes_alike else cost.experts,
        experts_per_token=cost.experts_per_token,
        kv_bytes=_split_kv_bytes(cost, tensor_parallel, windowed=False),
        window_kv_bytes=_split_kv_bytes(cost, tensor_parallel, windowed=True),
        window=max((kind.window or 0 for kind in windowed), default=0),
        attention_flops=(cost.attention_flops_full + sum(flops for _, flops in cost.attention_flops_windowed)) * share,
        activation_bytes=WIDE * layers * (12 * hidden + routed * (2 * hidden + 5 * width) * share),
        all_reduces=2 * layers if tensor_parallel > 1 else 0,
        all_reduce_bytes=hidden * WIDE,
        dense_dtype="bfloat16" if model.weight_dtype in EXPERTS_ONLY else model.weight_dtype,
        expert_dtype=model.weight_dtype,
    )


def _split_kv_bytes(cost: ModelCost, tensor_parallel: int, windowed: bool) -> float:
    kinds = [kind for kind in cost.kv if (kind.window is not None) is windowed]
    return sum(kind.layers * kind.bytes_per_token / min(tensor_parallel, kind.heads) for kind in kinds)
