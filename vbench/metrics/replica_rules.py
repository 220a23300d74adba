"""Whether replicas that should be alike were: a rule of `metrics.validity`. Pure."""

from __future__ import annotations

import numpy as np

from vbench.metrics.definitions import latencies
from vbench.schema.record import Reason, Requests

UNEVEN = 2.0  # times the median TPOT of the fastest replica; alike ones differ by what was sent to them
REPLICA_REPLIES = 8  # of several tokens, of each replica that is compared


def uneven_replicas(requests: Requests) -> Reason | None:
    """One replica is much slower than another, which the figures of all together hide."""
    if not requests.replica.any():
        return None
    samples = {int(each): latencies(requests.select(requests.replica == each)).tpot for each in set(requests.replica)}
    medians = {each: float(np.median(tpot)) for each, tpot in samples.items() if len(tpot) >= REPLICA_REPLIES}
    if not medians:
        return None
    fast, slow = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    if medians[slow] < UNEVEN * medians[fast] or not medians[fast]:
        return None
    sentence = (
        f"replica {slow} took {medians[slow] / medians[fast]:.1f} times as long a token as replica {fast} (median TPOT "
        f"{medians[slow] * 1e3:,.1f} and {medians[fast] * 1e3:,.1f} ms): its GPUs are slower, or more was sent to it"
    )
    return Reason("uneven_replicas", sentence)
