"""The weight tensors of a model, from its facts: names as in its checkpoint, shapes, how vLLM splits each.

It knows neither bytes (model_quantization.py) nor devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from vbench.metrics.model_facts import Facts, Latent, Layer


class Split(Enum):
    """How tensor parallelism divides a tensor."""

    tensor = "evenly"
    kv_heads = "by KV heads; where there are more GPUs than heads, each keeps a copy of one"
    vocabulary = "by the vocabulary, padded to a multiple of 64"
    whole = "a copy on each GPU"


@dataclass(frozen=True)
class Weight:
    """One weight tensor, or equal ones (the experts of a layer)."""

    name: str
    inputs: int
    outputs: int
    split: Split
    layer: int | None = None  # None: embedding, head and final norm
    copies: int = 1  # experts
    active: int = 1  # copies that one token passes
    is_linear: bool = True  # a linear layer's matrix, which a quantization may apply to
    is_looked_up: bool = False  # the embedding table: a token reads one row

    @property
    def is_expert(self) -> bool:
        return ".experts." in self.name

    @property
    def parameters(self) -> int:
        """Parameters of all copies."""
        return self.inputs * self.outputs * self.copies


def list_weights(facts: Facts) -> list[Weight]:
    """All weight tensors of the model, layer by layer."""
    hidden, vocabulary = facts.hidden_size, facts.vocab_size
    ends = [
        Weight(
            "model.embed_tokens", hidden, vocabulary, Split.vocabulary, is_linear=False, is_looked_up=not facts.tied
        ),
        *([] if facts.tied else [Weight("lm_head", hidden, vocabulary, Split.vocabulary)]),
        Weight("model.norm", 1, hidden, Split.whole, is_linear=False),
    ]
    return ends + [
        each for index, layer in enumerate(facts.layers) for each in _list_layer_weights(facts, layer, index)
    ]


def _list_layer_weights(facts: Facts, layer: Layer, index: int) -> Iterator[Weight]:
    prefix = f"model.layers.{index}"
    if layer.kind == "linear":
        yield from _list_linear_attention(facts, index, f"{prefix}.linear_attn")
    elif facts.latent:
        yield from _list_latent_attention(facts, facts.latent, index, f"{prefix}.self_attn")
    else:
        yield from _list_attention(facts, index, f"{prefix}.self_attn")
    yield from _list_feed_forward(facts, layer, index, f"{prefix}.{facts.ffn}")
    yield Weight(f"{prefix}.norms", facts.norms_per_layer, facts.hidden_size, Split.whole, index, is_linear=False)


def _list_attention(facts: Facts, index: int, prefix: str) -> Iterator[Weight]:
    hidden, width, kv = facts.hidden_size, facts.heads * facts.head_dim, facts.kv_heads * facts.head_dim
    queries = 2 * width if facts.gated_attention else width
    yield Weight(f"{prefix}.q_proj", hidden, queries, Split.tensor, index)
    yield Weight(f"{prefix}.k_proj", hidden, kv, Split.kv_heads, index)
    yield Weight(f"{prefix}.v_proj", hidden, kv, Split.kv_heads, index)
    yield Weight(f"{prefix}.o_proj", width, hidden, Split.tensor, index)
    if facts.qkv_bias:
        yield Weight(f"{prefix}.bias", 1, queries + 2 * kv, Split.tensor, index, is_linear=False)
    if facts.output_bias:
        yield Weight(f"{prefix}.o_bias", 1, hidden, Split.whole, index, is_linear=False)


def _list_latent_attention(facts: Facts, latent: Latent, index: int, prefix: str) -> Iterator[Weight]:
    hidden, head = facts.hidden_size, latent.nope_dim + latent.rope_dim
    if latent.query_rank:
        yield Weight(f"{prefix}.q_a_proj", hidden, latent.query_rank, Split.whole, index)
        yield Weight(f"{prefix}.q_b_proj", latent.query_rank, facts.heads * head, Split.tensor, index)
    else:
        yield Weight(f"{prefix}.q_proj", hidden, facts.heads * head, Split.tensor, index)
    yield Weight(f"{prefix}.kv_a_proj_with_mqa", hidden, latent.rank + latent.rope_dim, Split.whole, index)
    yield Weight(
        f"{prefix}.kv_b_proj", latent.rank, facts.heads * (latent.nope_dim + latent.value_dim), Split.tensor, index
    )
    yield Weight(f"{prefix}.o_proj", facts.heads * latent.value_dim, hidden, Split.tensor, index)


def _list_linear_attention(facts: Facts, index: int, prefix: str) -> Iterator[Weight]:
    assert facts.linear is not None
    linear, hidden = facts.linear, facts.hidden_size
    keys, values = linear.key_heads * linear.key_dim, linear.value_heads * linear.value_dim
    yield Weight(f"{prefix}.in_proj_qkvz", hidden, 2 * keys + 2 * values, Split.tensor, index)
    yield Weight(f"{prefix}.in_proj_ba", hidden, 2 * linear.value_heads, Split.tensor, index)
    yield Weight(f"{prefix}.conv1d", linear.kernel, 2 * keys + values, Split.tensor, index, is_linear=False)
    yield Weight(f"{prefix}.out_proj", values, hidden, Split.tensor, index)


def _list_feed_forward(facts: Facts, layer: Layer, index: int, prefix: str) -> Iterator[Weight]:
    hidden = facts.hidden_size
    if not layer.routed:
        yield from _list_gated(prefix, hidden, layer.dense_width, index)
        return
    yield Weight(f"{prefix}.gate", hidden, facts.experts, Split.whole, index, is_linear=False)
    counts = (facts.experts, facts.experts_per_token)
    yield from _list_gated(f"{prefix}.experts.0", hidden, facts.expert_width, index, *counts)
    if facts.expert_bias:
        width = 2 * facts.expert_width + hidden
        yield Weight(f"{prefix}.experts.0.bias", 1, width, Split.tensor, index, *counts, is_linear=False)
    if layer.shared_width:
        name = "shared_expert" if layer.gated_shared or facts.ffn == "feed_forward" else "shared_experts"
        yield from _list_gated(f"{prefix}.{name}", hidden, layer.shared_width, index)
    if layer.gated_shared:
        yield Weight(f"{prefix}.shared_expert_gate", hidden, 1, Split.whole, index, is_linear=False)


def _list_gated(prefix: str, hidden: int, width: int, index: int, copies: int = 1, active: int = 1) -> Iterator[Weight]:
    for name in ("gate_proj", "up_proj"):
        yield Weight(f"{prefix}.{name}", hidden, width, Split.tensor, index, copies, active)
    yield Weight(f"{prefix}.down_proj", width, hidden, Split.tensor, index, copies, active)
