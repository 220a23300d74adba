"""The model under test: its id on the hub and the architecture facts of its published config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

from vbench.schema.fields import MISSING, key

PLACEHOLDER = "tiny"  # the model of a config that names none
UNKNOWN = "unknown"
STATED_OF_UNKNOWN = (
    "name",
    "hub_id",
    "architecture",
    "weight_dtype",
    "kv_cache_dtype",
)  # the rest is left out of records
NO_LIMIT = 2**31 - 1  # tokens, as the context of a model that does not say
DTYPES = ("bfloat16", "fp8", "mxfp4", "nvfp4", "int8", "int4")


@dataclass(frozen=True)
class Model:
    """One model, under the keys of its config.json."""

    name: str = key(MISSING, "short name, as in model=NAME")
    hub_id: str = key(MISSING, "repository on the Hugging Face hub, or a local folder")
    architecture: str = key(MISSING, "model class that vLLM loads")
    model_type: str = key(MISSING, "model_type of config.json")
    num_hidden_layers: int = key(MISSING, "transformer layers")
    hidden_size: int = key(MISSING, "width of the residual stream")
    intermediate_size: int = key(MISSING, "width of the feed-forward layer")
    num_attention_heads: int = key(MISSING, "query heads", allowed="a multiple of tensor_parallel_size")
    num_key_value_heads: int = key(MISSING, "key and value heads (GQA)")
    head_dim: int = key(MISSING, "width of one head")
    vocab_size: int = key(MISSING, "entries of the vocabulary", unit="tokens")
    max_position_embeddings: int = key(MISSING, "positions of config.json; rope_scaling may add to them", unit="tokens")
    num_experts: int = key(0, "routed experts a layer (MoE)", allowed="0: a dense model")
    num_experts_per_tok: int = key(0, "experts that each token is routed to")
    moe_intermediate_size: int = key(0, "width of one expert", allowed="0: intermediate_size")
    sliding_window: Optional[int] = key(None, "attention window", unit="tokens", allowed="null: full attention")
    weight_dtype: str = key("bfloat16", "data type of the stored weights", choices=DTYPES)
    kv_cache_dtype: str = key("bfloat16", "data type of the KV cache")
    rope_theta: float = key(10000.0, "base of the rotary position embedding")
    rope_scaling: Optional[Dict[str, Any]] = key(None, "rope_scaling of config.json")
    config_json: Dict[str, Any] = key({}, "other keys of config.json; engine.weights=dummy writes them for vLLM")
    revision: Optional[str] = key(None, "revision on the hub", allowed="null: its main branch")
    weight_bytes: Optional[int] = key(None, "bytes of all published tensors", unit="bytes", allowed="null: not known")

    @property
    def is_unknown(self) -> bool:
        """Whether nothing but its names is known: it is what an external server serves."""
        return self.architecture == UNKNOWN


def make_unknown(name: str, hub_id: str, vocab_size: int, max_model_len: Optional[int]) -> Model:
    """A model of which an external server tells only the names, and perhaps the longest context in tokens.

    The load still needs two numbers, which no record states as facts of the model: prompts are drawn from `vocab_size`
    token ids, and their lengths are checked against the context. All other facts are 0 or UNKNOWN.
    """
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    sizes: Dict[str, Any] = dict.fromkeys((*names, "head_dim"), 0)
    return Model(
        name=name,
        hub_id=hub_id,
        architecture=UNKNOWN,
        model_type=UNKNOWN,
        vocab_size=vocab_size,
        max_position_embeddings=max_model_len or NO_LIMIT,
        weight_dtype=UNKNOWN,
        kv_cache_dtype=UNKNOWN,
        **sizes,
    )
