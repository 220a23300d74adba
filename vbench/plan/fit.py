"""Whether the weights alone exceed the memory of the GPUs that hold them. Pure.

Everything else that an engine needs is left out, so that no session is called infeasible that might have run.
"""

from __future__ import annotations

from vbench.plan.sessions import Session
from vbench.schema import Model
from vbench.schema.record import Failure

BYTES = {"bfloat16": 2.0, "fp8": 1.0, "mxfp4": 0.5}  # per weight, without block scales
GIB = 2**30


def parameters(model: Model) -> int:
    """The number of weights of embedding, head, attention and every expert; norms, biases and routers are left out."""
    attention = 2 * model.hidden_size * model.head_dim * (model.num_attention_heads + model.num_key_value_heads)
    width = model.moe_intermediate_size or model.intermediate_size
    experts = max(model.num_experts, 1) * 3 * model.hidden_size * width
    ends = 1 if model.config_json.get("tie_word_embeddings", True) else 2
    return ends * model.vocab_size * model.hidden_size + model.num_hidden_layers * (attention + experts)


def find_infeasibility(session: Session) -> Failure | None:
    """The failure to record instead of a start, if the weights alone exceed the memory of all GPUs of a replica.

    None if they fit, or if it is unknown: with `engine.extra_args`, which may keep weights elsewhere, an external
    server, or a weight type that is not in BYTES.
    """
    gpu, model = session.hardware.gpu, session.model
    if gpu is None or session.is_external or session.engine.extra_args or model.weight_dtype not in BYTES:
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
