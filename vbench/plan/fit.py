"""What certainly does not fit: weights that are larger than all the memory they may be spread over. Pure.

Only what is certain: whatever else an engine needs is left out, so that nothing is called infeasible that is not.
"""

from __future__ import annotations

from vbench.plan.sessions import Session
from vbench.schema import Model
from vbench.schema.record import Failure

BYTES = {"bfloat16": 2.0, "fp8": 1.0, "mxfp4": 0.5}  # a weight, without the scales of its block
GIB = 2**30


def parameters(model: Model) -> int:
    """Weights of embedding, head, attention and every expert; norms, biases and routers are too small to matter."""
    attention = 2 * model.hidden_size * model.head_dim * (model.num_attention_heads + model.num_key_value_heads)
    width = model.moe_intermediate_size or model.intermediate_size
    experts = max(model.num_experts, 1) * 3 * model.hidden_size * width
    ends = 1 if model.config_json.get("tie_word_embeddings", True) else 2
    return ends * model.vocab_size * model.hidden_size + model.num_hidden_layers * (attention + experts)


def infeasible(session: Session) -> Failure | None:
    """Why the session cannot be, where its weights alone exceed the memory of all the GPUs of a replica.

    Nothing is said where an option of the user's own may keep weights elsewhere, or store them otherwise.
    """
    gpu, model = session.hardware.gpu, session.model
    if gpu is None or session.attached or session.engine.extra_args or model.weight_dtype not in BYTES:
        return None
    weights = parameters(model) * BYTES[model.weight_dtype] / GIB
    memory = session.gpus_per_replica * gpu.memory_mib / 1024
    if weights <= memory:
        return None
    line = (
        f"{parameters(model) / 1e9:.1f}e9 parameters in {model.weight_dtype} are at least {weights:,.0f} GiB, "
        f"the {session.gpus_per_replica} {gpu.name} of a replica have {memory:,.0f} GiB"
    )
    return Failure("infeasible", line)
