"""How many GPUs of its kind hold a model that does not fit on those of a point. Pure."""

from __future__ import annotations

from dataclasses import replace

from vbench.compose.choices import SIZES
from vbench.plan.memory.estimate import Verdict, estimate_fit
from vbench.plan.naming import split_name
from vbench.plan.rules import check_run
from vbench.schema import RunConfig
from vbench.schema.errors import Refused


def say_what_fits(composed: RunConfig, engine_version: str) -> str:
    """The fewest of these GPUs that fit, by the point's own split; `composed` has its sizes still open."""
    gpu = composed.hardware.gpu
    assert gpu is not None
    near = ""
    for gpus in (size for size in SIZES if size > composed.hardware.gpus):
        try:
            config = check_run(replace(composed, hardware=replace(composed.hardware, gpus=gpus)))
        except Refused:  # the split does not divide the model, or is fixed to other GPUs
            continue
        verdict = estimate_fit(config, engine_version).verdict
        told = f"hardware={config.hardware.name} ({split_name(config.parallelism)})"
        if verdict is Verdict.fits:
            return f"Of 1, 2, 4 and 8 {gpu.name} the fewest that fit: {told}{near}."
        if verdict is Verdict.near and not near:
            near = f"; {told} is near the edge"
    if near:
        return f"No number of {gpu.name} up to {SIZES[-1]} surely fits{near}."
    return f"No number of {gpu.name} up to {SIZES[-1]} fits with this split: try another GPU, split or weight_dtype."
