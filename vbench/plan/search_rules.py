"""Rules of searches. Each refusal names the key and what to do.

A level must decide how many requests the server gets at once. Where another value of the load bounds that, requests
wait in the client, which no latency counts: every level above the bound would seem to meet the SLO.
"""

from __future__ import annotations

import math

from vbench.schema import Lengths, Search, Workload
from vbench.schema.errors import Refused

PACES = ("request_rate", "ramp_up_strategy", "session_rate")  # of arrivals
BOUNDS = ("sessions", "max_concurrency")  # of what is in flight


def check_search(load: Workload) -> None:
    """Raises Refused if the load has no objectives, or sets what its search varies or what would bound its levels."""
    if load.search is None:
        return
    if not load.slo.limits:
        raise Refused("workload.search needs objectives: 'workload.slo={ttft_ms: 500, tpot_ms: 50}'")
    asked = f"workload.search={load.search.name}"
    if load.lengths is Lengths.trace:
        raise Refused(f"{asked}: a trace brings its own times; choose another workload")
    if load.in_sessions and load.search is not Search.sessions:
        raise Refused(f"{asked}: workload={load.lengths.name} comes in sessions; use workload.search=sessions")
    for key in (*PACES, *BOUNDS):
        value = getattr(load, key)
        if value is None or value == math.inf:
            continue
        if key == load.search.name:
            raise Refused(f"workload.{key}={value}: workload.search varies this value; leave it out")
        raise Refused(f"workload.{key}={getattr(value, 'name', value)}: {asked} must be the only limit; leave it out")
