"""How late a load process may have stamped what arrived, by its heartbeats. Pure."""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Floats

HEARTBEAT_NS = 10_000_000
BEAT_S = HEARTBEAT_NS / 1e9


def lags_at(instants: Floats, lags: Floats) -> Floats:
    """Seconds by which each stamp, (n,), may be late, if heartbeats were handled so late, (k,), one due every BEAT_S.

    A loop that stood still handles the heartbeats that were due meanwhile, and stamps what arrived meanwhile, within
    the next BEAT_S. The first of those heartbeats was late by nearly all of the standstill.
    """
    due = np.arange(len(lags)) * BEAT_S
    first = np.searchsorted(due + lags + BEAT_S, instants)
    found = np.append(lags, 0.0)[first]
    return np.asarray(np.where(np.append(due, np.inf)[first] <= instants, found, 0.0))
