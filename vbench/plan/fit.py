"""Whether the weights alone exceed the memory that they may take, so that no engine could start. Pure.

Everything else that an engine needs is left out, so that no session is called infeasible that might have run; what is
likely is for `vbench.plan.memory` to tell.
"""

from __future__ import annotations

from vbench.metrics.model_cost import compute_model_cost
from vbench.plan.memory.estimate import split_stages
from vbench.plan.sessions import Session
from vbench.schema.record import Failure

GIB = 2**30
TOLERANCE = 0.98  # of the weights on one GPU: their split is counted to within half a percent, MXFP4 to within 1.2


def find_infeasibility(session: Session) -> Failure | None:
    """The failure to record instead of a start: weights beyond all memory of a replica, or beyond the share of one GPU.

    None if they fit, or if it is unknown: with `engine.extra_args`, which may keep weights elsewhere, an external
    server, or layers or a quantization that are not known.
    """
    gpu, model, share = session.hardware.gpu, session.model, session.engine.gpu_memory_utilization
    if gpu is None or session.is_external or session.engine.extra_args:
        return None
    try:
        cost = compute_model_cost(model)
        heaviest = max(stage.bytes for stage in split_stages(session.runs[0].config)) / GIB
    except ValueError:
        return None
    weights = cost.weight_bytes / GIB
    memory = gpu.memory_mib / 1024
    replica = session.gpus_per_replica * memory
    if weights > replica:
        return Failure(
            "infeasible",
            f"{cost.parameters / 1e9:.1f}e9 parameters in {model.weight_dtype} are at least {weights:,.0f} GiB, "
            f"the {session.gpus_per_replica} {gpu.name} of a replica have {replica:,.0f} GiB",
        )
    if TOLERANCE * heaviest > share * memory:
        return Failure(
            "infeasible",
            f"the weights take {heaviest:,.1f} GiB of a GPU, engine.gpu_memory_utilization={share:g} of the {gpu.name} "
            f"is {share * memory:,.1f} GiB",
        )
    return None
