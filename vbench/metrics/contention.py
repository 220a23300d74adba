"""Whether a server got the CPU that it wanted, from the sampled totals of its cores and threads. Pure.

A ready thread that does not run was starved only if another program had the core: the threads of a CPU engine also wait
for one another. So between two samples the server counts as starved for

    min(the longest wait of one of its threads, the time that others used on its cores + the time held by a CPU quota)

and the others' time counts only where the cores were busy: with a core free, a thread that waits is merely waking up.
Time that the hypervisor gave to other machines is no wait that the kernel sees, and is added. The load client may have
to share the server's cores: what the server waited for it is told apart.
"""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Floats
from vbench.schema.series import Series

NAMES = ("capacity", "busy", "steal", "server", "client", "throttled", "longest_wait")
UNCERTAIN_S = 0.02  # of others' time between two samples: a difference of several totals, each in steps of 10 ms
BUSY_SHARE = 0.9  # of the server's cores: below it a thread finds a free one


def contention_metrics(series: Series, end: float) -> dict[str, float]:
    """Shares of the run, from 0 to `end` seconds; empty if the samples do not enclose it or tell nothing."""
    times, totals = _sample_totals(series)
    if len(times) < 2 or times[0] > 0 or times[-1] < end:
        return {}
    within = np.diff(np.clip(times, 0.0, end)) / np.diff(times)  # of each interval, its part in the run
    grown = {name: np.diff(values) * within for name, values in totals.items()}
    capacity = grown["capacity"].sum()
    if not capacity:
        return {}
    others = np.maximum(grown["busy"] - grown["steal"] - grown["server"] - grown["client"], 0.0)
    certain = np.maximum(others - UNCERTAIN_S * within, 0.0)
    full = grown["busy"] >= BUSY_SHARE * grown["capacity"]
    starved = np.minimum(grown["longest_wait"], np.where(full, certain, 0.0) + grown["throttled"])
    crowded = np.minimum(grown["longest_wait"], np.where(full, certain + grown["client"], 0.0) + grown["throttled"])
    stolen = float(grown["steal"].sum() / capacity)
    return {
        "host_cpu_busy_share": float(grown["busy"].sum() / capacity),
        "host_cpu_others_share": float(others.sum() / capacity),
        "host_cpu_client_share": float(grown["client"].sum() / capacity),
        "host_cpu_stolen_share": stolen,
        "server_cpu_throttled_share": float(min(grown["throttled"].sum() / end, 1.0)),
        "server_starved_share": min(float(starved.sum() / end) + stolen, 1.0),
        "server_starved_by_client_share": float((crowded - starved).sum() / end),
    }


def _sample_totals(series: Series) -> tuple[Floats, dict[str, Floats]]:
    sampled = {name: series.samples(f"cpu/host_{name}_s") for name in NAMES}
    return sampled["capacity"][0], {name: values for name, (_, values) in sampled.items()}
