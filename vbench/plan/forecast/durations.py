"""How long a run will take on a ready server. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vbench.plan.forecast.estimate import Basis, Estimate, weakest
from vbench.plan.forecast.performance import Performance
from vbench.plan.reach.points import NO_SESSIONS
from vbench.plan.resources import SLOW, point_s
from vbench.plan.sessions import Run
from vbench.schema import Lengths, Workload
from vbench.schema.record import Ints
from vbench.workload.prompts import lengths
from vbench.workload.sharing import send_times, waits_s

CLOSE_S = 0.3  # from a run's last reply to the next run's first request: 0.1 to 1.0 s in docs/results
START_ONLY_S = (1.5, 1.0, 3.0)  # value, low, high

# Of a search: probes that explore, each of so many replies' time, requests that decide, and requests at once meanwhile.
PROBES, PROBE_REPLIES, DECIDING, PLACES = 10, 4.0, 1000, 64
SEARCH_SPREAD = 3.0

Pick = Callable[[Estimate], float]
PICKS: tuple[Pick, ...] = (lambda each: each.value, lambda each: each.low, lambda each: each.high)


def estimate_seconds(run: Run, expected: Performance | None) -> Estimate:
    """Seconds of this run; `expected` is what it will show, None if nothing is known of it."""
    load = run.config.workload
    if load.start_only:
        return Estimate(*START_ONLY_S, Basis.assumed, "nothing is sent")
    if expected is None:
        most = point_s(run)
        why = NO_SESSIONS if load.in_sessions else "nothing is known of this system"
        source = f"{why}: a quarter of what its time limit allows, {most:,.0f} s"
        return Estimate(most / SLOW, 0.0, most, Basis.assumed, source)
    if load.search:
        return _search_seconds(load, expected)
    seconds = [_load_s(load, expected, pick) + CLOSE_S for pick in PICKS]
    used = [expected.ttft_ms, expected.tpot_ms] if load.paced else [expected.output_throughput]
    basis = weakest(each.basis for each in used) or Basis.assumed
    return Estimate(seconds[0], min(seconds), max(seconds), basis, used[-1].source)


def _load_s(load: Workload, expected: Performance, pick: Pick) -> float:
    replies = _lengths(load)[:, 1]
    if load.paced:
        last = float(send_times(load).max()) + waits_s(load)
        span = last + (pick(expected.ttft_ms) + pick(expected.tpot_ms) * float(replies.mean())) / 1e3
    else:
        span = float(replies.sum()) / pick(expected.output_throughput)
    if load.sending_s is None:
        return span
    return min(span, load.sending_s + pick(expected.tpot_ms) * float(replies.max()) / 1e3)


def _search_seconds(load: Workload, expected: Performance) -> Estimate:
    reply_s = (expected.ttft_ms.value + expected.tpot_ms.value * float(_lengths(load)[:, 1].mean())) / 1e3
    value = PROBES * (CLOSE_S + PROBE_REPLIES * reply_s) + DECIDING * reply_s / PLACES
    source = f"{PROBES} probes and {DECIDING:,} deciding requests at {reply_s:.1f} s a reply"
    return Estimate(value, value / SEARCH_SPREAD, value * SEARCH_SPREAD, Basis.assumed, source)


def _lengths(load: Workload) -> Ints:
    # A ShareGPT file's lengths are known only once it is tokenized: the built-in pairs stand in for them.
    return lengths(replace(load, lengths=Lengths.sharegpt) if load.lengths is Lengths.sharegpt_file else load)
