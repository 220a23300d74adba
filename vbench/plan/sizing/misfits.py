"""Systems whose GPUs cannot hold the model. Pure."""

from __future__ import annotations

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.memory.estimate import Fit, Verdict, estimate_fit
from vbench.schema import RunConfig


def find_misfit(config: RunConfig) -> Estimate | None:
    """A capacity of 0 that says why, if the memory estimate rules a start out; None if it does not, or cannot tell."""
    try:
        fit = estimate_fit(config)
    except ValueError:  # a model or a quantization that the estimate does not know
        return None
    if fit.verdict is not Verdict.too_large:
        return None
    return Estimate(0.0, 0.0, 0.0, Basis.assumed, _explain(fit))


def _explain(fit: Fit) -> str:
    told = f"does not fit: {fit.weights_gib:.1f} GiB of weights for each GPU, {fit.usable.gib:.1f} GiB usable"
    if fit.weights_gib >= fit.usable.gib:
        return told
    request = f"a request of {fit.max_model_len:,} tokens" if fit.max_model_len else "any request"
    return f"{told}; what remains is too small for {request}"
