"""Predicted latencies of every request of a load, where medians do not tell enough: an SLO asks for a share of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vbench.plan.reach.efficiencies import Efficiencies
from vbench.plan.reach.outcome import describe_front_end, simulate_replica
from vbench.plan.reach.points import Point
from vbench.plan.reach.steps import compute_costs
from vbench.schema.record import Floats

WARM_UP = 0.1  # of the requests: the server fills up meanwhile


@dataclass(frozen=True)
class Latencies:
    """Of n requests behind the warm-up, in ms, each (n,)."""

    ttft_ms: Floats
    tpot_ms: Floats
    e2el_ms: Floats

    def share_within(self, limits: Mapping[str, float]) -> float:
        """The share of requests that meet every objective: keys of workload.slo, in ms."""
        met = np.ones(len(self.ttft_ms), dtype=bool)
        for name, limit in limits.items():
            met &= getattr(self, name) <= limit
        return float(met.mean())


def predict_latencies(point: Point, found: Efficiencies) -> Latencies:
    """The latencies on one replica, which gets all the requests."""
    costs = compute_costs(point.work, point.gpu, point.tensor_parallel, point.graph_tokens, found)
    line = simulate_replica(point, costs, describe_front_end(point, found), 0)
    first = line.first - line.sent
    per_token = (line.last - line.first) / np.maximum(line.output - 1, 1)
    kept = slice(int(len(first) * WARM_UP), None)
    return Latencies(first[kept] * 1e3, per_token[kept] * 1e3, (line.last - line.sent)[kept] * 1e3)
