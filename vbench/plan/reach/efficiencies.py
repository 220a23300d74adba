"""The few numbers of the step model that are fitted: how close kernels come to the data sheet, and fixed costs. Pure.

Each has a prior: a typical value and how far it may lie from it (a factor, one standard deviation). Few records then
suffice, and what no record tells stays at its prior.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vbench.schema.record import Floats


def _prior(typical: float, factor: float, least: float, most: float) -> Any:
    return field(default=typical, metadata={"factor": factor, "least": least, "most": most})


@dataclass(frozen=True)
class Efficiencies:
    """Shares are of the data sheet's bandwidth or peak; times are in seconds."""

    bandwidth: float = _prior(0.85, 1.15, 0.3, 1.0)  # reading weights
    kv_bandwidth: float = _prior(0.5, 1.5, 0.1, 1.0)  # reading the KV cache
    bf16: float = _prior(0.65, 1.3, 0.1, 1.0)  # dense bfloat16 matrix products
    fp8: float = _prior(0.5, 1.3, 0.1, 1.0)  # dense FP8 matrix products, of the FP8 peak
    experts_bf16: float = _prior(0.4, 1.5, 0.05, 1.0)  # products of routed experts
    experts_4bit: float = _prior(0.25, 1.5, 0.03, 1.0)  # the same with 4-bit weights, of the bfloat16 peak
    experts_bandwidth: float = _prior(0.8, 1.3, 0.2, 1.0)  # reading the weights of routed experts
    layer_s: float = _prior(25e-6, 1.5, 2e-6, 200e-6)  # fixed cost of a layer: kernels that do not fill a GPU
    routing_s: float = _prior(40e-6, 2.0, 2e-6, 400e-6)  # what routing adds to a layer with experts
    activation: float = _prior(2.0, 1.5, 0.5, 10.0)  # time to read and write activations, over that of ideal kernels
    eager_layer_s: float = _prior(1.0e-3, 1.5, 0.1e-3, 5e-3)  # CPU time to launch a layer without a CUDA graph
    eager_routing_s: float = _prior(0.4e-3, 1.7, 0.05e-3, 5e-3)  # the same, for what routing adds
    step_s: float = _prior(0.5e-3, 1.5, 0.05e-3, 5e-3)  # fixed cost of a step: scheduler, sampler, launch
    sequence_s: float = _prior(5e-6, 1.7, 0.2e-6, 50e-6)  # cost of each sequence in a step
    all_reduce_s: float = _prior(10e-6, 1.5, 2e-6, 100e-6)  # latency of one all-reduce
    link: float = _prior(0.6, 1.3, 0.1, 1.0)  # share of the link's bandwidth that all-reduces reach
    request_s: float = _prior(0.8e-3, 1.7, 0.05e-3, 10e-3)  # front end: one request
    wake_s: float = _prior(15e-3, 2.0, 0.5e-3, 100e-3)  # from a request at an idle server to the engine's first step
    token_s: float = _prior(70e-6, 1.3, 5e-6, 500e-6)  # front end: one token of a reply

    def as_vector(self) -> Floats:
        """Natural logarithms of all values, (k,), in the order of the fields."""
        return np.asarray(np.log(dataclasses.astuple(self)))

    @classmethod
    def from_vector(cls, vector: Floats) -> Efficiencies:
        return cls(*np.exp(vector).tolist())


FIELDS = dataclasses.fields(Efficiencies)
TYPICAL = Efficiencies()
SPREAD = np.array([math.log(each.metadata["factor"]) for each in FIELDS])
BOUNDS = (
    np.log([each.metadata["least"] for each in FIELDS]),
    np.log([each.metadata["most"] for each in FIELDS]),
)
