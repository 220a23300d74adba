"""Rules of `metrics.validity` about how much a run measured: few requests, or fewer than its load asks for. Pure."""

from __future__ import annotations

import math

import numpy as np

from vbench.metrics.definitions import is_measured, is_success
from vbench.metrics.quantiles import needed
from vbench.metrics.stalls import SAME_STEP_S, ends_of_replies
from vbench.schema import Workload
from vbench.schema.record import Ints, Reason, Requests

EMPTY_SHARE = 0.01  # of replies: above it, percentiles over the others say little of all
SENDING_SHARE = 0.95  # of the time asked by duration_s: num_prompts sent before it make a shorter run
NO_SESSIONS = np.empty(0, np.int64)


def nothing_measured(requests: Requests, load: Workload) -> Reason | None:
    if load.warmup_s is None or is_measured(requests, load.warmup_s).any():
        return None
    sentence = f"all {len(requests)} requests were sent in the {load.warmup_s:g} s of the warm-up: none was measured"
    return Reason("nothing_measured", sentence)


def out_of_prompts(requests: Requests, load: Workload, incomplete: Ints = NO_SESSIONS) -> Reason | None:
    """`incomplete`: the sessions of which requests were not sent."""
    if load.sending_s is None:
        return None
    last, least = float(np.nanmax(requests.sent, initial=0.0)), SENDING_SHARE * load.sending_s
    left = _count_sessions_left(requests, incomplete, least) if load.sessions else 0
    if len(requests) >= load.request_count and last < least:
        sentence = f"all {load.request_count} requests were sent after {last:.1f} of {load.sending_s:g} s: the run is "
        sentence += "shorter than workload.duration_s asks for"
    elif load.sessions and left < load.sessions:
        sentence = f"only {left} of {load.sessions} sessions were left after {least:.1f} of {load.sending_s:g} s: the "
        sentence += "load is smaller than workload.sessions asks for"
    else:
        return None
    return Reason("out_of_prompts", f"{sentence}; raise workload.num_prompts")


def _count_sessions_left(requests: Requests, incomplete: Ints, at: float) -> int:
    """How many sessions of the load had not ended then; as many as are asked at once, if none lacked a successor."""
    under_way = requests.session[~(requests.finished <= at)]
    return len(np.union1d(under_way, incomplete))


def long_replies(requests: Requests) -> Reason | None:
    """Another load than the record says: its replies are longer, and so are throughput and E2EL."""
    long = int((is_success(requests) & (requests.output_tokens > requests.asked_tokens)).sum())
    if not long:
        return None
    return Reason(
        "long_replies", f"{long} replies have more tokens than were asked: the server does not heed max_tokens"
    )


def empty_replies(requests: Requests, load: Workload) -> Reason | None:
    ok = is_success(requests) & is_measured(requests, load.warmup_s)
    empty = ok & (np.diff(requests.offsets) == 0)
    if not EMPTY_SHARE * ok.sum() < empty.sum() < ok.sum():  # that none brought a token is told by no_tokens
        return None
    sentence = f"{int(empty.sum())} of {int(ok.sum())} replies brought no token: request_throughput counts them"
    return Reason("empty_replies", f"{sentence}, latencies are of the others")


def few_samples(requests: Requests, load: Workload) -> Reason | None:
    measured = is_measured(requests, load.warmup_s) & (np.diff(requests.offsets) > 0)  # an empty reply has no latency
    answered = int(is_success(requests)[measured].sum())
    if answered >= needed(99):
        return None
    sentence = f"p99 needs {needed(99)} replies for a bound with 95 % confidence: the slowest of {answered} is none"
    return Reason("few_samples", sentence + _few_moments(requests))


def _few_moments(requests: Requests) -> str:
    """What to add where the first tokens of one burst came in so few moments that their median has no bound.

    Requests that are sent together share the engine's steps: 19 first tokens from one step are one sample of TTFT.
    """
    first, _ = ends_of_replies(requests)
    waiting = np.sort(first[~np.isnan(first)])
    replies, moments = len(waiting), 0
    if not replies or np.nanmax(requests.sent, initial=0.0) > waiting[0]:  # the load is no single burst
        return ""
    while len(waiting):
        moments, waiting = moments + 1, waiting[waiting > waiting[0] + SAME_STEP_S]
    if moments >= min(replies, needed(50)):
        return ""
    count = "one moment" if moments == 1 else f"{moments} moments"
    return (
        f"; all first tokens came in {count} after one burst, so TTFT has {moments} of the {needed(50)} samples that a "
        f"median needs: set workload.repeats={math.ceil(needed(50) / moments)} before comparing TTFT"
    )
