"""The arrival process: when each request of a workload is to be sent. Pure: it reads no clock."""

from __future__ import annotations

import math

import numpy as np

from vbench.schema import Lengths, RampUp, Workload
from vbench.schema.record import Floats
from vbench.workload import trace


def schedule_arrivals(workload: Workload, rng: np.random.Generator) -> Floats:
    """Seconds after the start at which each request of a workload is to be sent, shape (num_prompts,), ascending.

    A trace's own times; else arrivals at `request_rate`, or at the rates of the ramp.
    """
    if workload.lengths is Lengths.trace:
        return trace.read(workload).times
    ramped = rates_of_ramp(workload)
    rate = workload.request_rate if ramped is None else ramped
    return arrivals(workload.request_count, rate, workload.burstiness, rng, workload.sending_s)


def rates_of_ramp(workload: Workload) -> Floats | None:
    """The rate at each request of a workload, shape (num_prompts,); None if it has no ramp."""
    start, end = workload.ramp_up_start_rps, workload.ramp_up_end_rps
    if workload.ramp_up_strategy is None or start is None or end is None:
        return None
    return ramp(workload.request_count, workload.ramp_up_strategy, start, end)


def arrivals(
    n: int, request_rate: float | Floats, burstiness: float, rng: np.random.Generator, sending_s: float | None = None
) -> Floats:
    """Seconds after the start at which each of n requests is to be sent, shape (n,), ascending from 0.

    The gaps are gamma distributed with mean 1/request_rate and shape `burstiness`, as in `vllm bench serve`:
    1 is a Poisson process, below 1 burstier, above 1 more even, inf a constant rate. A rate of inf sends all at once.
    With one rate, the gaps are then stretched by one factor so that the n - 1 of them take (n - 1) / request_rate:
    the offered rate is the requested one at every seed. If only those of the first `sending_s` seconds will be sent,
    it is so of them: of many more, those that come in that time scatter. `vllm bench serve` stretches all n, but waits
    one more gap before its first request, so its last comes at n / request_rate.
    With a rate for each request, shape (n,), request i comes at rate i after the one before it, unstretched.
    """
    if np.isinf(request_rate).all():
        return np.zeros(n)
    mean = 1.0 / np.broadcast_to(np.asarray(request_rate, dtype=np.float64), n)
    gaps = mean.copy() if np.isinf(burstiness) else rng.gamma(burstiness, mean / burstiness, n)
    gaps[:1] = 0.0
    times = np.cumsum(gaps)
    if np.ndim(request_rate) == 0 and times.any():
        sent = n - 1 if sending_s is None else min(n - 1, math.ceil(sending_s * float(request_rate)))
        last = sent if times[sent] else n - 1  # very bursty gaps are too small for a float
        times *= last / request_rate / times[last]
    return times


def ramp(n: int, strategy: RampUp, start: float, end: float) -> Floats:
    """The rate at each of n requests, shape (n,), from start to end: in even steps, or by an even factor."""
    progress = np.linspace(0.0, 1.0, n)
    rates: Floats = start + (end - start) * progress if strategy is RampUp.linear else start * (end / start) ** progress
    return rates
