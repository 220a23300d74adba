"""Rules of when the requests of a load are sent. Each refusal names the key and what to do."""

from __future__ import annotations

import math

from vbench.schema import Lengths, Search, Workload
from vbench.schema.errors import Refused
from vbench.workload.arrivals import rates_of_ramp

RAMP_SLACK = 1.05  # times the time of a load that duration_s ends: gaps are drawn, so a ramp's own time varies


def check_arrivals(load: Workload) -> None:
    """Raises Refused if rate, ramp and time of a load contradict each other."""
    ends = {key: getattr(load, key) for key in ("ramp_up_start_rps", "ramp_up_end_rps")}
    for key, rate in ends.items():
        fits = (rate is None) == (load.ramp_up_strategy is None)
        _require(fits, f"workload.{key}={rate}: a ramp needs ramp_up_strategy and both of its ends")
        _require(rate is None or 0 < rate < math.inf, f"workload.{key}={rate}: must be above 0, and finite")
    if load.duration_s and math.isfinite(load.request_rate) and not load.max_concurrency:
        due = math.ceil((load.duration_s + (load.warmup_s or 0.0)) * load.request_rate)
        _require(
            load.request_count >= due,
            f"workload.num_prompts={load.num_prompts}: at request_rate={load.request_rate:g} they are sent before "
            f"duration_s={load.duration_s:g} is over; set at least {due}",
        )
    rated = math.isfinite(load.request_rate) or load.search is Search.request_rate
    asked = "workload.search=request_rate" if load.search else f"workload.request_rate={load.request_rate}"
    _require(not (rated and load.ramp_up_strategy), f"{asked}: workload.ramp_up_strategy sets the rate; choose one")
    if load.lengths is Lengths.trace:
        _require(not rated, f"{asked}: a trace brings its own times; leave it out")
        _require(load.ramp_up_strategy is None, "workload.ramp_up_strategy: a trace brings its own times; leave it out")
    _check_ramp_ends(load)


def _check_ramp_ends(load: Workload) -> None:
    """A ramp is over all requests: one that the time cuts never comes near the rate that the record names."""
    rates, limit_s = rates_of_ramp(load), load.sending_s
    if rates is None or limit_s is None:
        return
    takes_s = float((1 / rates[1:]).sum())  # the first is sent at once
    fitting = len(rates) * limit_s / takes_s
    _require(
        takes_s <= RAMP_SLACK * limit_s,
        f"workload.num_prompts={load.num_prompts}: their ramp takes {takes_s:.0f} s, so duration_s and warmup_s end it "
        f"after {limit_s:g} s, before ramp_up_end_rps={load.ramp_up_end_rps:g}; set {fitting:.0f}",
    )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refused(otherwise)
