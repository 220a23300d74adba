"""A run's series as points of MLflow metrics, one chart section for each group. Pure; it knows only MLflow's limits.

All samples are in `telemetry.npz`, among the run's artifacts; these points suffice to see what happened.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vbench.schema.series import Series, replace_by_rates
from vbench.tracking.mapping import round_digits

MOST_A_SERIES = 200
MOST_A_RUN = 800  # a point costs the store 150 to 250 µs, so eight GPUs are drawn more coarsely than one
GROWING = ("server/generation_tokens", "server/prompt_tokens", "server/preemptions")  # drawn as growth per second
# Totals whose slope is drawn anyway (power), is constant, or is no number of cores.
NOT_DRAWN = ("/energy_j", "/host_capacity_s", "/host_longest_wait_s")


class Point(NamedTuple):
    """One sample of one series."""

    key: str  # group/name
    value: float
    at_ms: int  # since 1970
    step: int  # the nearest whole second since the run's start; below 0 before it


def points(series: Series) -> list[Point]:
    """Every n-th sample of each series, within the limits."""
    drawn_cpu = [name for name in series.columns if name.startswith("cpu/") and not name.endswith(NOT_DRAWN)]
    processes = {name: f"{name.removesuffix('_s')}_cores" for name in drawn_cpu}
    drawn = replace_by_rates(series, {name: f"{name}_per_s" for name in GROWING} | processes)
    names = [name for name in drawn.columns if not name.endswith(NOT_DRAWN)]
    most = max(2, min(MOST_A_SERIES, MOST_A_RUN // max(1, len(names))))
    return [point for name in names for point in _points(drawn, name, most)]


def _points(series: Series, name: str, most: int) -> list[Point]:
    times, values = series.samples(name)
    chosen = np.unique(np.linspace(0, len(times) - 1, min(most, len(times))).round().astype(int))
    found = [
        Point(name, round_digits(float(values[i])), round((series.started_at + times[i]) * 1e3), round(float(times[i])))
        for i in chosen
    ]
    # MLflow draws over the steps: two values at one are a vertical stroke. Samples are a second apart, about at whole
    # seconds, so that only the one at the run's end shares a step. Of two at one time MLflow shows the larger.
    return list({point.step: point for point in found}.values())
