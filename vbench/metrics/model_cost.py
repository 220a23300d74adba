"""What a model costs an engine: parameters, bytes of weights and KV cache, FLOPs a token, whatever the hardware.

Pure arithmetic over the facts of config.json; how the parts are split over GPUs is vbench.plan.memory's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vbench.metrics.model_facts import ByContent, Facts, Kind, read_facts
from vbench.metrics.model_sizes import size_weights
from vbench.metrics.model_weights import Weight

if TYPE_CHECKING:
    from vbench.schema import Model

DTYPE_BYTES = {  # of an element; NVFP4: a scale of a byte for each 16 elements
    **dict.fromkeys(("bfloat16", "float16", "auto"), 2.0),
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"), 1.0),
    "float32": 4.0,
    "nvfp4": 0.5 + 1 / 16,
}
STATE_BYTES = {"float32": 4.0}  # of an element of a linear layer's state by mamba_ssm_dtype; others: the model's, 2


@dataclass(frozen=True)
class KvLayers:
    """Layers whose cache is alike. A linear layer keeps one state a request, the others bytes for each token."""

    kind: Kind
    layers: int
    bytes_per_token: float  # of one layer; 0 for linear
    heads: int  # KV heads that tensor parallelism splits; 1 for latent, which each GPU keeps whole
    window: int | None = None  # tokens at most, of sliding and chunked layers
    state_bytes: float = 0.0  # of one layer and request

    def request_bytes(self, tokens: int) -> float:
        """Bytes that all these layers hold for one request of so many tokens."""
        kept = tokens if self.window is None else min(tokens, self.window)
        return self.layers * (kept * self.bytes_per_token + self.state_bytes)


@dataclass(frozen=True)
class ModelCost:
    """The sizes of a model, over all GPUs of a replica together. Bytes and FLOPs, never GiB or TFLOPs."""

    hidden_size: int
    num_hidden_layers: int
    parameters: int
    active_parameters: int  # that one token passes, embedding and head included
    weight_bytes: float
    dense_bytes: float  # weights that every step reads: all but the routed experts and the embedding table
    expert_bytes: float  # one routed expert of one layer; 0 for a dense model
    experts: int  # routed experts of a layer
    experts_per_token: int
    routed_layers: int
    kv: tuple[KvLayers, ...]
    layer_flops_per_token: float  # matrix products of the layers: 2 a parameter that the token passes
    head_flops: float  # the output head, for each token that is sampled
    attention_flops_full: float  # for each pair of query and key, over the layers of full attention
    attention_flops_windowed: tuple[tuple[int, float], ...]  # (window, FLOPs a pair over its layers)
    state_flops_per_token: float  # linear attention

    def count_touched_experts(self, tokens: int) -> float:
        """Experts of a layer that a step of so many tokens reads, if every expert is equally likely."""
        if not self.experts:
            return 0.0
        missed = (1 - self.experts_per_token / self.experts) ** tokens
        return self.experts * (1 - missed)

    def step_weight_bytes(self, tokens: int) -> float:
        """Weight bytes that one step of so many tokens reads."""
        return self.dense_bytes + self.routed_layers * self.count_touched_experts(tokens) * self.expert_bytes

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes that one more token adds to a request shorter than every window."""
        return sum(each.layers * each.bytes_per_token for each in self.kv)

    def request_kv_bytes(self, tokens: int) -> float:
        """Bytes of KV cache (and states) that a request of so many tokens holds."""
        return sum(each.request_bytes(tokens) for each in self.kv)

    def read_kv_bytes(self, context: int) -> float:
        """Bytes of KV cache that one decode step reads for a request of this context: what it holds."""
        return self.request_kv_bytes(context)

    def flops(self, tokens: int, context: int = 0, sampled: int = 1) -> float:
        """FLOPs of a forward pass of `tokens` new tokens of one request that has `context` tokens in its cache."""
        return (
            tokens * (self.layer_flops_per_token + self.state_flops_per_token)
            + sampled * self.head_flops
            + self.attention_flops(tokens, context)
        )

    def attention_flops(self, tokens: int, context: int = 0) -> float:
        """The part of `flops` that grows with the context: scores and weighted sums over causal pairs."""
        full = self.attention_flops_full * _count_pairs(tokens, context, None)
        return full + sum(
            flops * _count_pairs(tokens, context, window) for window, flops in self.attention_flops_windowed
        )

    def all_reduce_bytes(self, tokens: int) -> float:
        """Bytes of activations that tensor parallelism reduces in one step: twice a layer, in bfloat16."""
        return 2.0 * self.num_hidden_layers * tokens * self.hidden_size * DTYPE_BYTES["bfloat16"]


def compute_model_cost(model: Model) -> ModelCost:
    """The sizes of a model. Raises ValueError for a quantization or a kind of layers that is not known here."""
    return _compute_model_cost(ByContent(model))


@lru_cache(maxsize=256)
def _compute_model_cost(key: ByContent) -> ModelCost:
    model = key.model
    facts = read_facts(model)
    sizes = size_weights(model, facts)
    weights = list(sizes)
    routed = sum(layer.routed for layer in facts.layers)
    experts = sum(size for weight, size in sizes.items() if weight.is_expert)
    table = sum(size for weight, size in sizes.items() if weight.is_looked_up)
    pairs, windowed = _compute_attention_flops(facts)
    head = 2.0 * facts.vocab_size * facts.hidden_size
    return ModelCost(
        hidden_size=facts.hidden_size,
        num_hidden_layers=len(facts.layers),
        parameters=sum(each.parameters for each in weights),
        active_parameters=sum(_count_active(each) for each in weights),
        weight_bytes=sum(sizes.values()),
        dense_bytes=sum(sizes.values()) - experts - table,
        expert_bytes=experts / (routed * facts.experts) if routed else 0.0,
        experts=facts.experts,
        experts_per_token=facts.experts_per_token,
        routed_layers=routed,
        kv=group_kv_layers(facts, model.kv_cache_dtype),
        layer_flops_per_token=2.0 * sum(_count_active(each) for each in weights if each.layer is not None),
        head_flops=head,
        attention_flops_full=pairs,
        attention_flops_windowed=windowed,
        state_flops_per_token=_compute_state_flops(facts),
    )


def group_kv_layers(facts: Facts, kv_cache_dtype: str) -> tuple[KvLayers, ...]:
    """The layers by kind of cache, in the order in which the kinds first occur. Raises ValueError for other types."""
    size = DTYPE_BYTES.get(kv_cache_dtype)
    if size is None:
        raise ValueError(f"its size is not known here: a KV cache in {kv_cache_dtype}")
    counted: dict[tuple[Kind, int | None], int] = {}
    for layer in facts.layers:
        counted[layer.kind, layer.window] = counted.get((layer.kind, layer.window), 0) + 1
    return tuple(_make_kv_layers(facts, kind, window, count, size) for (kind, window), count in counted.items())


def _make_kv_layers(facts: Facts, kind: Kind, window: int | None, layers: int, size: float) -> KvLayers:
    if kind == "latent":
        assert facts.latent is not None
        return KvLayers(kind, layers, (facts.latent.rank + facts.latent.rope_dim) * size, heads=1)
    if kind == "linear":
        assert facts.linear is not None
        linear = facts.linear
        channels = 2 * linear.key_heads * linear.key_dim + linear.value_heads * linear.value_dim
        state = linear.value_heads * linear.key_dim * linear.value_dim
        state_bytes = state * STATE_BYTES.get(str(facts.config.get("mamba_ssm_dtype")), 2.0)
        convolution = channels * (linear.kernel - 1) * 2.0
        return KvLayers(kind, layers, 0.0, heads=linear.key_heads, state_bytes=convolution + state_bytes)
    return KvLayers(kind, layers, 2 * facts.kv_heads * facts.head_dim * size, facts.kv_heads, window)


def _count_active(weight: Weight) -> int:
    return weight.inputs * weight.outputs * weight.active


def _compute_attention_flops(facts: Facts) -> tuple[float, tuple[tuple[int, float], ...]]:
    """FLOPs of scores and weighted sums for each pair of query and key: over full layers, and by window."""
    widths = 2 * facts.head_dim  # of a key and a value
    if facts.latent:
        widths = facts.latent.nope_dim + facts.latent.rope_dim + facts.latent.value_dim
    layer_flops = 2.0 * facts.heads * widths
    full = sum(layer.kind in ("full", "latent") for layer in facts.layers)
    windows = Counter(layer.window for layer in facts.layers if layer.window is not None)
    return full * layer_flops, tuple((window, count * layer_flops) for window, count in sorted(windows.items()))


def _compute_state_flops(facts: Facts) -> float:
    """A linear layer decays, updates and reads its state for each token: three products over all its elements."""
    if facts.linear is None:
        return 0.0
    state = facts.linear.value_heads * facts.linear.key_dim * facts.linear.value_dim
    return 6.0 * state * sum(layer.kind == "linear" for layer in facts.layers)


def _count_pairs(tokens: int, context: int, window: int | None) -> float:
    """Pairs of query and key of a causal pass, each query seeing at most `window` keys."""
    if window is None:
        return tokens * context + tokens * (tokens + 1) / 2
    growing = min(tokens, max(window - context, 0))  # queries that still see everything
    return growing * context + growing * (growing + 1) / 2 + (tokens - growing) * float(window)
