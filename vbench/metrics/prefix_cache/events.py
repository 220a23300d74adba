"""When each request was admitted by its engine, when its tokens came, and when its blocks were freed. Pure.

The engine looks a prompt up in its cache as it admits it, which may be long after the client sent it. The client sees
only tokens, so the time of admission is inferred from them: it is the end of the last step before the request's first
token. Admission is first come, first served, so no request is admitted after one that was sent later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vbench.schema.record import Floats, Ints, Requests

SAME_STEP_S = 2e-3  # tokens of one step reach the client within this time of each other


@dataclass(frozen=True)
class Timeline:
    """Of n requests, in seconds; NaN in `admitted` where a request was never sent."""

    admitted: Floats  # (n,)
    first: Floats  # (n,) first token; the end where none came
    freed: Floats  # (n,) end of the reply
    order: Ints  # (m,) the requests that were sent, in the order of their admission

    def __len__(self) -> int:
        return len(self.admitted)


def timeline(requests: Requests) -> Timeline:
    """When the requests were admitted, started to decode and were freed, each at its replica."""
    admitted = np.full(len(requests), np.nan)
    has_token = np.diff(requests.offsets) > 0
    first = requests.finished.copy()
    first[has_token] = requests.chunk_times[requests.offsets[:-1][has_token]]
    owner = np.repeat(requests.replica, np.diff(requests.offsets))
    for replica in np.unique(requests.replica):
        mine = np.flatnonzero((requests.replica == replica) & ~np.isnan(requests.sent))
        mine = mine[np.argsort(requests.sent[mine], kind="stable")]
        steps = np.sort(requests.chunk_times[owner == replica])
        before = np.searchsorted(steps, first[mine] - SAME_STEP_S) - 1
        step = np.where(before >= 0, steps[np.maximum(before, 0)] if len(steps) else -np.inf, -np.inf)
        at = np.maximum(requests.sent[mine], step)
        at = np.where(has_token[mine], at, np.inf)
        in_order = np.minimum.accumulate(at[::-1])[::-1]
        admitted[mine] = np.where(has_token[mine], in_order, requests.sent[mine])
    sent = np.flatnonzero(~np.isnan(admitted))
    order = sent[np.lexsort((requests.sent[sent], admitted[sent]))]
    return Timeline(admitted, first, requests.finished, order)
