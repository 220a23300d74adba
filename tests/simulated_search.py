"""A whole SLO search against a simulated engine, as `vbench.session.probing` runs it against a server."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from builders import run_config
from simulated_engine import SimulatedEngine

from vbench.metrics.goodput import meets_slo
from vbench.schema import RunConfig
from vbench.workload.arrivals import schedule_arrivals
from vbench.workload.probe import is_growing, is_steady, probe_plan
from vbench.workload.prompts import draw_lengths
from vbench.workload.search import Probe, answer, is_whole, next_question


@dataclass
class Found:
    answer: float
    probes: list[Probe]
    seconds: float  # that the probes would have taken
    requests: int


def search(engine: SimulatedEngine, slo: dict[str, float], kind: str, seed: int) -> Found:
    """`kind`: max_concurrency or request_rate."""
    config = run_config(workload={"search": kind, "slo": slo, "seed": seed})
    probes, durations = [], {}
    found = Found(0.0, probes, 0.0, 0)
    while question := next_question(probes, is_whole(config.workload.search)):
        below = [level for level in durations if level <= question.level]
        duration = durations[max(below)] if below else min(durations.values(), default=None)
        plan = probe_plan(config, question, duration)
        requests = serve(
            engine, plan.config, np.random.default_rng([seed, question.attempt, int(question.level * 1e6)])
        )
        judged = is_steady(plan, requests)
        met = meets_slo(requests, slo)[judged]
        probes.append(Probe(question.level, int(met.sum()), len(met), growing=is_growing(plan, requests)))
        durations[question.level] = float((requests.finished - requests.sent).mean())
        found.seconds += float(requests.finished.max())
        found.requests += len(requests)
    return replace(found, answer=answer(probes))


def serve(engine: SimulatedEngine, config: RunConfig, rng: np.random.Generator):
    load = config.workload
    return engine.serve(schedule_arrivals(load, rng), draw_lengths(load, rng), load.max_concurrency, rng)
