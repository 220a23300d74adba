"""The load of a probe, and which of its requests are judged: those of the steady state. Pure.

A closed loop that sends its first requests all at once measures that burst. A probe therefore sends them at twice the
rate at which the level below was served, until all places are taken; the requests that began after the first
`max_concurrency` replies had ended are judged, but for the last `max_concurrency`, which only keep the load up.

An open loop starts with an empty server, whose queue takes several times a request's duration to build up. The requests
of the first WARM_UP durations only build it, and those of the last one only keep the load up.

Sessions begin in mid-life and keep their number, but the cache is empty: their first COLD requests each only fill it,
and as many as there are sessions keep the load up at the end. What is judged are turns.

A probe ends as soon as it has told enough. Requests in flight together may miss together, by a moment's pause; so
unless hardly any meets the SLO, a closed loop judges one for each place before its level fails. A probe's requests are
judged in the order in which they were sent, up to the first that had not ended: which of them are judged does not
depend on how long they took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vbench.metrics.goodput import OBJECTIVES, Bools, has_grown, meets_slo, ttft
from vbench.schema import RunConfig, Search, Workload
from vbench.schema.record import ENDED_EARLY, Floats, Requests
from vbench.workload.grouping import Grouping, find_grouping
from vbench.workload.question import Question
from vbench.workload.search import MOST_JUDGED

FILLING = 2.0  # rate at which the places of a closed loop are filled, over that at which the level below was served
COLD = 2  # requests of each session until its prompt is in the cache, and those of the others have taken their room
# Of an open loop, in times of a request's duration:
WARM_UP = 12  # until the queue has built up
WINDOW, LOOK = 40, 4  # how long it is judged: where it decides, and where it only explores
UNKNOWN_S = 1.0  # a request's duration before any was measured
TREND = 40  # judged requests: fewer show no trend
LAG_SHARE = 0.05  # of each objective: a client's lag that large may decide whether requests meet it
SEEDS = 1000  # probes of a level, at most: those of a search with the next seed have seeds of their own


@dataclass(frozen=True)
class Plan:
    """A probe: an ordinary run, which of its requests only make the steady state, and when it has told enough."""

    config: RunConfig
    question: Question
    building: int | None  # the first requests; None: those before the first `max_concurrency` replies have ended
    holding: int  # the last requests
    least: int  # requests to judge before the level can pass
    fewest: int = 0  # … before it can fail while one in ten meets the SLO: those in flight together may miss together

    def has_told_enough(self, met: int, of: int) -> bool:
        """Whether a probe of which `met` of `of` requests met the SLO so far may end: its level fails, or it passes."""
        verdict = self.question.verdict(met, of)
        clear = of >= self.fewest or met < of / 10
        return (verdict is False and clear) or (verdict is True and of >= self.least)


def probe_plan(config: RunConfig, question: Question, duration_s: float | None) -> Plan:
    """The probe that answers the question; `duration_s` is a request's, measured at the nearest level below."""
    load = replace(config.workload, search=None, seed=SEEDS * (config.workload.seed + 1) + question.attempt)
    asked = 1 if question.exploring else load.request_count
    if config.workload.search is Search.max_concurrency:
        places = int(question.level)
        least = max(asked, places)
        filling = _filling_rate(load, places, duration_s)
        count = 3 * places + max(MOST_JUDGED, least)
        load = replace(load, max_concurrency=places, request_rate=filling, num_prompts=count)
        return Plan(replace(config, workload=load), question, None, places, least, places)
    if config.workload.search is Search.sessions:
        users = int(question.level)
        least = max(asked, users)
        building = COLD * users
        load = replace(load, sessions=users, num_prompts=building + max(MOST_JUDGED, least) + users)
        return Plan(replace(config, workload=load), question, building, users, least, users)
    during = question.level * (duration_s or UNKNOWN_S)
    least = max(asked, math.ceil((LOOK if question.exploring else WINDOW) * during))
    building, holding = math.ceil(WARM_UP * during), math.ceil(during)
    load = replace(load, request_rate=question.level, num_prompts=building + max(MOST_JUDGED, least) + holding)
    return Plan(replace(config, workload=load), question, building, holding, least)


def is_steady(plan: Plan, requests: Requests) -> Bools:
    """Which requests are judged, (n,)."""
    sent = np.where(np.isnan(requests.sent), np.inf, requests.sent)
    place = np.empty(len(requests), np.int64)
    place[np.argsort(sent, kind="stable")] = np.arange(len(requests))
    broken_off = requests.error == ENDED_EARLY
    judged: Bools = (place < len(requests) - plan.holding) & (sent < sent[broken_off].min(initial=np.inf))
    if plan.building is not None:
        return judged & (place >= plan.building)
    return judged & (sent >= steady_start(requests.finished[~broken_off], plan.config.workload.max_concurrency or 1))


def ended_enough(plan: Plan, sent: Floats, finished: Floats, met: Bools, oldest_open_s: float) -> bool:
    """Whether a probe under way has told enough, by the requests that have ended so far, all (k,), in any order.

    All requests that were sent before `oldest_open_s` must be among them.
    """
    place = np.empty(len(sent), np.int64)
    place[np.argsort(sent, kind="stable")] = np.arange(len(sent))
    start = steady_start(finished, plan.config.workload.max_concurrency or 1) if plan.building is None else -np.inf
    judged = (sent < oldest_open_s) & (sent >= start) & (place >= (plan.building or 0))
    judged &= place < plan.config.workload.request_count - plan.holding
    return plan.has_told_enough(int((met & judged).sum()), int(judged.sum()))


def steady_start(finished: Floats, places: int) -> float:
    """When the steady state of a closed loop begins: as its first `places` replies have ended; inf if fewer have."""
    ended = np.sort(finished[~np.isnan(finished)])
    return float(ended[places - 1]) if len(ended) >= places else np.inf


def compute_pressure(requests: Requests, judged: Bools, slo: Mapping[str, float]) -> tuple[float, float]:
    """Of the binding objective over the judged requests: its 99th percentile in times of its limit, and the spread.

    The spread is the logarithm of the 99th over the 90th percentile. NaN without a judged request.
    """
    ratios = [OBJECTIVES[key](requests)[judged] * 1e3 / limit_ms for key, limit_ms in slo.items()]
    whole = [np.percentile(each, [99, 90]) for each in ratios if len(each) and not np.isnan(each).any()]
    most, usual = max(map(tuple, whole), default=(np.nan, np.nan))
    return float(most), math.log(most / usual) if usual > 0 else np.nan


def measure_grouping(requests: Requests, judged: Bools, slo: Mapping[str, float]) -> Grouping:
    """How much the misses among the judged requests, (n,), come in groups."""
    order = np.argsort(requests.sent[judged], kind="stable")
    return find_grouping((~meets_slo(requests, slo))[judged][order].tolist())


def missed_in_one_moment(requests: Requests, judged: Bools, slo: Mapping[str, float]) -> bool:
    """Whether some judged requests, (n,), missed the SLO, and all of these were in flight at one moment."""
    missed = judged & ~meets_slo(requests, slo)
    return bool(missed.any() and requests.sent[missed].max() < requests.finished[missed].min())


def is_negligible(lag_s: float, requests: Requests, slo: Mapping[str, float]) -> bool:
    """Whether stamps that come `lag_s` late leave it open hardly ever whether a request met the SLO.

    A late stamp adds to TTFT and E2EL once, and to TPOT once over all its tokens. It never makes a request look faster.
    """
    tokens = float(np.median(requests.asked_tokens)) if len(requests) else 1.0
    error_s = {key: lag_s / max(tokens - 1, 1.0) if key == "tpot_ms" else lag_s for key in slo}
    return all(error_s[key] * 1e3 <= LAG_SHARE * limit_ms for key, limit_ms in slo.items())


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
