"""The metrics of a simulated point, and what its time went into. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.metrics.bounds import FRONT_END, KV_CAPACITY, SCHEDULER, TOO_FEW
from vbench.plan.reach.efficiencies import Efficiencies
from vbench.plan.reach.points import Point
from vbench.plan.reach.simulation import FrontEnd, Timeline, simulate
from vbench.plan.reach.steps import StepCosts, compute_costs

HELD = 0.2  # of the run


@dataclass(frozen=True)
class Outcome:
    """Metrics as vbench.metrics defines them, of all replicas together."""

    output_throughput: float  # tokens/s
    median_ttft_ms: float
    median_tpot_ms: float
    duration_s: float
    bound: str
    seconds: dict[str, float]  # by part, the mean over replicas


def compute_outcome(point: Point, found: Efficiencies) -> Outcome:
    """The outcome of a point with these efficiencies."""
    return simulate_point(point, *describe_server(point, found))


def describe_server(point: Point, found: Efficiencies) -> tuple[StepCosts, FrontEnd]:
    """The engine and the front end of a replica: all that an outcome takes from the efficiencies."""
    costs = compute_costs(point.work, point.gpu, point.tensor_parallel, point.graph_tokens, found)
    return costs, describe_front_end(point, found)


def simulate_point(point: Point, costs: StepCosts, front: FrontEnd) -> Outcome:
    """Simulates each replica with its share of the requests, in turns."""
    lines = [simulate_replica(point, costs, front, replica) for replica in range(point.replicas)]
    first = np.concatenate([line.first for line in lines])
    last = np.concatenate([line.last for line in lines])
    sent = np.concatenate([line.sent for line in lines])
    output = np.concatenate([line.output for line in lines])
    several = output > 1
    tpot = (last - first)[several] / (output[several] - 1)
    duration = float(last.max() - sent.min())
    seconds = {part: sum(line.seconds[part] for line in lines) / len(lines) for part in lines[0].seconds}
    seconds[FRONT_END] = sum(line.loop_s for line in lines) / len(lines)
    seconds[TOO_FEW] = max(duration - sum(seconds.values()), 0.0)
    return Outcome(
        output_throughput=float(output.sum()) / duration,
        median_ttft_ms=float(np.median(first - sent)) * 1e3,
        median_tpot_ms=float(np.median(tpot)) * 1e3 if several.any() else 0.0,
        duration_s=duration,
        bound=_find_bound(lines, seconds, duration),
        seconds=seconds,
    )


def _find_bound(lines: list[Timeline], seconds: dict[str, float], duration: float) -> str:
    """What holds requests back for a fifth of the run, else what most of the time goes into."""
    waits = {
        FRONT_END: seconds[FRONT_END],
        KV_CAPACITY: sum(line.kv_blocked_s for line in lines) / len(lines),
        SCHEDULER: sum(line.sequence_blocked_s for line in lines) / len(lines),
    }
    longest = max(waits, key=lambda what: waits[what])
    return longest if waits[longest] > HELD * duration else max(seconds, key=lambda part: seconds[part])


def describe_front_end(point: Point, found: Efficiencies) -> FrontEnd:
    """The front end of one replica."""
    return FrontEnd(found.request_s, found.token_s, point.api_servers, found.wake_s)


def simulate_replica(point: Point, costs: StepCosts, front: FrontEnd, replica: int) -> Timeline:
    """The timeline of one replica with its share of the requests."""
    load, step = point.load, point.replicas
    most = load.max_concurrency
    if most is not None and step > 1:
        most = max(1, most // step)
    return simulate(costs, point.limits, front, load.lengths[replica::step], load.arrivals[replica::step], most)
