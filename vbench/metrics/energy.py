"""The energy that a run's GPUs used. Pure.

It is the difference of the GPUs' own energy counters if every GPU has one, else the integral of the sampled power
(trapezoids); `gpu_energy_is_counter` says which. Where a GPU was not sampled for longer than GAP_S, its power meanwhile
is unknown, and a counter tells only what it grew across the gap.
"""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Floats
from vbench.schema.series import Series, growth

GAP_S = 5.0  # between two samples, which are a second apart unless NVML does not answer


def energy(series: Series, end: float, tokens: int) -> dict[str, float]:
    """Energy metrics of all GPUs together from 0 to `end` s, for `tokens` generated; empty if a GPU lacks data."""
    by_counter = [_by_counter(series, gpu, end) for gpu in series.gpus()]
    is_counter = bool(np.isfinite(by_counter).all())
    by_gpu = by_counter if is_counter else [_by_power(series, gpu, end) for gpu in series.gpus()]
    joules = float(sum(by_gpu))
    if not by_gpu or not np.isfinite(joules) or joules <= 0 or end <= 0:
        return {}
    return {
        "gpu_energy_j": joules,
        "gpu_energy_is_counter": float(is_counter),
        "gpu_mean_power_w": joules / end,
        "output_tokens_per_joule": tokens / joules,
    }


def integrate(times: Floats, power: Floats) -> Floats:
    """The cumulative energy (k,) in joules from sampled power (k,) in watts, by trapezoids from the first sample."""
    steps = np.diff(times) * (power[1:] + power[:-1]) / 2
    return np.concatenate([np.zeros(min(1, len(times))), np.cumsum(steps)])


def _by_counter(series: Series, gpu: str, end: float) -> float:
    """NaN also if the counter began anew, or is unknown near an end of the run."""
    times, total = series.samples(f"{gpu}/energy_j")
    at_ends = any(_has_gap(times, instant, instant) for instant in (0.0, end))
    return np.nan if at_ends or (np.diff(total) < 0).any() else growth(times, total, end)


def _by_power(series: Series, gpu: str, end: float) -> float:
    times, power = series.samples(f"{gpu}/power_w")
    return np.nan if _has_gap(times, 0.0, end) else growth(times, integrate(times, power), end)


def _has_gap(times: Floats, start: float, end: float) -> bool:
    """Whether samples that lie too far apart enclose a moment from `start` to `end`."""
    return bool(((np.diff(times) > GAP_S) & (times[:-1] < end) & (times[1:] > start)).any())
