"""The energy that a run's GPUs used. Pure.

It is the difference of the GPUs' own energy counters if every GPU has one, else the integral of the sampled power
(trapezoids); `gpu_energy_is_counter` says which.
"""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Floats
from vbench.schema.series import Series, growth


def energy(series: Series, end: float, tokens: int) -> dict[str, float]:
    """Energy metrics of all GPUs together from 0 to `end` s, for `tokens` generated; empty if a GPU lacks data."""
    by_counter = [growth(*series.samples(f"{gpu}/energy_j"), end) for gpu in series.gpus()]
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


def _by_power(series: Series, gpu: str, end: float) -> float:
    times, power = series.samples(f"{gpu}/power_w")
    return growth(times, integrate(times, power), end)
