"""A whole SLO search against a simulated engine, as `vbench.session.probing` runs it against a server."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from builders import run_config
from simulated_engine import SimulatedEngine

from vbench.loadgen import Load
from vbench.metrics.goodput import meets_slo
from vbench.schema import RunConfig
from vbench.schema.record import ENDED_EARLY
from vbench.workload.arrivals import schedule_arrivals
from vbench.workload.levels import Probe
from vbench.workload.probe import (
    compute_pressure,
    is_growing,
    is_steady,
    measure_grouping,
    missed_in_one_moment,
    probe_plan,
)
from vbench.workload.prompts import draw_lengths
from vbench.workload.search import answer, is_whole, next_question
from vbench.workload.sharing import find_script

HOUR_S = 3600.0  # between the searches of two seeds: they meet the host at other times
REPORT_S = 0.1  # between two reports of a load's progress


@dataclass
class Found:
    answer: float
    probes: list[Probe]
    seconds: float  # that the probes would have taken
    requests: int


def search(engine: SimulatedEngine, slo: dict[str, float], kind: str, seed: int, **load: object) -> Found:
    """`kind`: max_concurrency, request_rate or sessions; `load`: further keys of the workload."""
    config = run_config(workload={"search": kind, "slo": slo, "seed": seed, **load})
    probes, durations = [], {}
    found = Found(0.0, probes, 0.0, 0)
    while question := next_question(probes, is_whole(config.workload.search)):
        below = [level for level in durations if level <= question.level]
        duration = durations[max(below)] if below else min(durations.values(), default=None)
        plan = probe_plan(config, question, duration)
        rng = np.random.default_rng([seed, question.attempt, int(question.level * 1e6)])
        requests = end_early(plan, serve(replace(engine, since_s=seed * HOUR_S + found.seconds), plan.config, rng), slo)
        judged = is_steady(plan, requests)
        met = meets_slo(requests, slo)[judged]
        pressure, spread = compute_pressure(requests, judged, slo)
        probes.append(
            Probe(
                question.level,
                int(met.sum()),
                len(met),
                growing=is_growing(plan, requests),
                pressure=pressure,
                spread=spread,
                grouping=measure_grouping(requests, judged, slo),
                in_one_moment=missed_in_one_moment(requests, judged, slo),
            )
        )
        took = (requests.finished - requests.sent)[requests.error == ""]
        if len(took):
            durations[question.level] = float(took.mean())
        found.seconds += float(np.nanmax(requests.finished))
        found.requests += int((~np.isnan(requests.sent)).sum())
    return replace(found, answer=answer(probes, is_whole(config.workload.search)).level)


def end_early(plan, requests, slo):
    """The requests as a probe's record holds them: broken off at the first report after which it has told enough."""
    met = meets_slo(requests, slo)
    for now in np.arange(REPORT_S, requests.finished.max(), max(REPORT_S, requests.finished.max() / 400)):
        cut = broken_off(requests, now)
        judged = is_steady(plan, cut)
        if plan.has_told_enough(int((met & judged).sum()), int(judged.sum())):
            return cut
    return requests


def broken_off(requests, now):
    """The requests of a load that was ended at this moment."""
    open_, never = (requests.sent <= now) & (requests.finished > now), requests.sent > now
    return replace(
        requests,
        sent=np.where(never, np.nan, requests.sent),
        finished=np.where(never, np.nan, np.where(open_, now, requests.finished)),
        error=np.where(open_ | never, ENDED_EARLY, requests.error),
    )


def serve(engine: SimulatedEngine, config: RunConfig, rng: np.random.Generator):
    load = config.workload
    if load.in_sessions:
        return serve_sessions(engine, config, rng)
    return engine.serve(schedule_arrivals(load, rng), draw_lengths(load, rng), load.max_concurrency, rng)


def serve_sessions(engine: SimulatedEngine, config: RunConfig, rng: np.random.Generator):
    """With a cache that holds everything, so that of a later turn only what it adds is computed."""
    load, script = config.workload, find_script(config.workload)
    begins, adds = script.structure.extends < 0, load.conversations.next_len
    sent = Load(
        endpoints=(), prompts=[], output_len=script.output_len, scheduled=script.scheduled, max_concurrency=None,
        ignore_eos=True, timeout_s=np.inf, structure=script.structure, sessions=load.sessions,
    )  # fmt: skip
    return engine.serve_sessions(sent, np.where(begins, script.lengths[:, 0], adds), rng)


def true_share(engine, slo, kind, level):
    """Of a load so long that chance and its ends are nothing to it."""
    count = int(100 * level) + 6000 if kind == "max_concurrency" else int(600 * level) + 6000
    load = {"max_concurrency": int(level)} if kind == "max_concurrency" else {"request_rate": level}
    sent = run_config(workload={"num_prompts": count, **load})
    met = []
    for seed in range(100, 106):
        requests = serve(replace(engine, since_s=seed * HOUR_S), sent, np.random.default_rng(seed))
        skipped = 4 * int(level) if kind == "max_concurrency" else int(120 * level)
        met.append(meets_slo(requests, slo)[skipped : -max(2 * int(level), 1)].mean())
    return np.mean(met)
