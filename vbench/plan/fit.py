"""Whether the weights alone exceed the memory of the GPUs that hold them. Pure.

Everything else that an engine needs is left out, so that no session is called infeasible that might have run.
"""

from __future__ import annotations

from vbench.metrics.model_cost import compute_model_cost
from vbench.plan.sessions import Session
from vbench.schema.record import Failure

GIB = 2**30


def find_infeasibility(session: Session) -> Failure | None:
    """The failure to record instead of a start, if the weights alone exceed the memory of all GPUs of a replica.

    None if they fit, or if it is unknown: with `engine.extra_args`, which may keep weights elsewhere, an external
    server, or a quantization that is not known.
    """
    gpu, model = session.hardware.gpu, session.model
    if gpu is None or session.is_external or session.engine.extra_args:
        return None
    try:
        cost = compute_model_cost(model)
    except ValueError:
        return None
    weights = cost.weight_bytes / GIB
    memory = session.gpus_per_replica * gpu.memory_mib / 1024
    if weights <= memory:
        return None
    line = (
        f"{cost.parameters / 1e9:.1f}e9 parameters in {model.weight_dtype} are at least {weights:,.0f} GiB, "
        f"the {session.gpus_per_replica} {gpu.name} of a replica have {memory:,.0f} GiB"
    )
    return Failure("infeasible", line)
