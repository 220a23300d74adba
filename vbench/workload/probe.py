"""The load of a probe, and which of its requests are judged: those of the steady state. Pure.

A closed loop that sends its first requests all at once measures that burst. A probe therefore sends them at twice the
rate at which the level below was served, until all places are taken; the requests that began after the first
`max_concurrency` replies had ended are judged, but for the last `max_concurrency`, which only keep the load up.

An open loop starts with an empty server, whose queue takes several times a request's duration to build up. The requests
of the first WARM_UP durations only build it, and those of the last one only keep the load up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vbench.metrics.goodput import Bools, has_grown, ttft
from vbench.schema import RunConfig, Search, Workload
from vbench.schema.record import Requests
from vbench.workload.search import Question

FILLING = 2.0  # rate at which the places of a closed loop are filled, over that at which the level below was served
GENERATIONS = 2  # requests that a closed loop judges for each place, at least; one where it only explores
# Of an open loop, in times of a request's duration:
WARM_UP = 12  # until the queue has built up
WINDOW, LOOK = 40, 4  # how long it is judged: where it decides, and where it only explores
UNKNOWN_S = 1.0  # a request's duration before any was measured
TREND = 40  # judged requests: fewer show no trend
SEEDS = 1000  # probes of a level, at most: those of a search with the next seed have seeds of their own


@dataclass(frozen=True)
class Plan:
    """A probe: an ordinary run, and which of its requests only make the steady state."""

    config: RunConfig
    building: int | None  # the first requests; None: those before the first `max_concurrency` replies have ended
    holding: int  # the last requests


def probe_plan(config: RunConfig, question: Question, duration_s: float | None) -> Plan:
    """The probe that answers the question; `duration_s` is a request's, measured at the nearest level below."""
    load = replace(config.workload, search=None, seed=SEEDS * (config.workload.seed + 1) + question.attempt)
    asked = question.requests if question.exploring else max(question.requests, load.num_prompts)
    if config.workload.search is Search.max_concurrency:
        places = int(question.level)
        judged = max(asked, places if question.exploring else GENERATIONS * places)
        filling = _filling_rate(load, places, duration_s)
        load = replace(load, max_concurrency=places, request_rate=filling, num_prompts=3 * places + judged)
        return Plan(replace(config, workload=load), None, places)
    during = question.level * (duration_s or UNKNOWN_S)
    judged = max(asked, math.ceil((LOOK if question.exploring else WINDOW) * during))
    building, holding = math.ceil(WARM_UP * during), math.ceil(during)
    load = replace(load, request_rate=question.level, num_prompts=building + judged + holding)
    return Plan(replace(config, workload=load), building, holding)


def is_steady(plan: Plan, requests: Requests) -> Bools:
    """Which requests are judged, (n,)."""
    place = np.arange(len(requests))
    judged: Bools = place < len(requests) - plan.holding
    if plan.building is not None:
        return judged & (place >= plan.building)
    ended, places = np.sort(requests.finished[~np.isnan(requests.finished)]), plan.config.workload.max_concurrency or 1
    return judged & (requests.sent >= (ended[places - 1] if len(ended) >= places else np.inf))


def is_growing(plan: Plan, requests: Requests) -> bool:
    """Whether the judged requests of an open loop waited longer and longer for their first token."""
    waits = ttft(requests)[is_steady(plan, requests)]
    waits = waits[~np.isnan(waits)]
    return plan.building is not None and len(waits) >= TREND and has_grown(waits)


def _filling_rate(load: Workload, places: int, duration_s: float | None) -> float:
    """Requests a second until the places are taken; a load that has times of its own keeps them."""
    if load.paced or not duration_s or places == 1:
        return load.request_rate
    return float(f"{FILLING * places / duration_s:.3g}")
