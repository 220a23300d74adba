"""How busy servers and GPUs were during a run, and the energy it took: from the sampled series. Pure.

A run lasts from its start to the end of its last reply; samples outside it are used only to interpolate at its ends.
GPU metrics cover all GPUs of the session, CPU metrics of a part (front end, engine core, worker) all its processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vbench.metrics.contention import contention_metrics
from vbench.metrics.definitions import is_success
from vbench.metrics.energy import energy
from vbench.schema.record import Floats, Requests
from vbench.schema.series import Series, growth

PARTS = ("frontend", "engine_core", "worker")
LOOP_LIMIT = 0.9  # cores: an event loop this busy delays its streams


def summaries(series: Series, requests: Requests) -> dict[str, float]:
    """The metrics of a run's series; a metric is absent if not sampled during the run, or not on every GPU."""
    end = float(np.max(requests.finished, initial=0.0, where=~np.isnan(requests.finished)))
    tokens = int(requests.output_tokens[is_success(requests)].sum())
    found = {"telemetry_missed": float(series.missed)}
    of_host = _cpu(series, end) | contention_metrics(series, end)
    return found | _server(series, end) | of_host | energy(series, end, tokens) | _gpus(series, end)


def _server(series: Series, end: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("requests_running", "requests_waiting", "kv_cache_usage"):
        values = _during(series, f"server/{name}", end)
        if len(values):
            found |= {f"server_mean_{name}": float(values.mean()), f"server_max_{name}": float(values.max())}
    fullest = _during(series, "server/kv_cache_fullest", end)  # of several engines; earlier series have only their mean
    return found | ({"server_max_kv_cache_usage": float(fullest.max())} if len(fullest) else {})


def _cpu(series: Series, end: float) -> dict[str, float]:
    """Cores that each part of the servers used, and the fraction of the run with a front end's loop at its limit.

    A mean is over the run, a maximum over the time between two samples.
    """
    found: dict[str, float] = {}
    for part in PARTS:
        names = [name for name in series.columns if name.startswith(f"cpu/{part}") and not name.endswith("_loop_s")]
        totals = [growth(*series.samples(name), end) for name in names]
        _, cores = _rates(series, names, end)
        if cores.size:
            found[f"server_mean_{part}_cpu_cores"] = float(np.sum(totals)) / end
            found[f"server_max_{part}_cpu_cores"] = float(cores.sum(axis=0).max())
    loops = [name for name in series.columns if name.endswith("_loop_s")]
    seconds, shares = _rates(series, loops, end)
    if shares.size:
        busiest = shares.max(axis=0)
        found["server_max_frontend_loop"] = float(busiest.max())
        found["server_frontend_limited"] = float(seconds[busiest >= LOOP_LIMIT].sum() / seconds.sum())
    return found


def _rates(series: Series, names: Sequence[str], end: float) -> tuple[Floats, Floats]:
    """How fast columns of running totals grew: (seconds of the run between two samples (k,), rates (columns, k)).

    Empty if the columns were not sampled together, or the samples do not enclose the run.
    """
    sampled = [series.samples(name) for name in names]
    times = sampled[0][0] if sampled else np.empty(0)
    alike = all(len(each) == len(times) for each, _ in sampled)
    if not alike or len(times) < 2 or times[0] > 0 or times[-1] < end:
        return np.empty(0), np.empty((len(names), 0))
    within = np.diff(np.clip(times, 0.0, end))
    rates = np.array([np.diff(values) / np.diff(times) for _, values in sampled])
    return within[within > 0], rates[:, within > 0]


def _gpus(series: Series, end: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, column in (("gpu_mean_utilization", "utilization_pct"), ("gpu_mean_sm_clock_mhz", "sm_clock_mhz")):
        by_gpu = _by_gpu(series, column, end)
        if by_gpu:
            found[name] = float(np.mean([values.mean() for values in by_gpu]))
    by_gpu = _by_gpu(series, "memory_mib", end)
    if by_gpu:
        found["gpu_max_memory_mib"] = float(max(values.max() for values in by_gpu))
    return found


def _by_gpu(series: Series, column: str, end: float) -> Sequence[Floats]:
    """A column's samples during the run, one array for each GPU; empty unless every GPU has samples."""
    found = [_during(series, f"{gpu}/{column}", end) for gpu in series.gpus()]
    return found if all(len(values) for values in found) else []


def _during(series: Series, name: str, end: float) -> Floats:
    times, values = series.samples(name)
    return values[(times >= 0) & (times <= end)]
