"""A shorter load of the same kind, for the early rounds. Pure."""

from __future__ import annotations

import math
from dataclasses import replace

from vbench.schema import Workload
from vbench.workload.question import EXPLORING

FILLS = 4  # times that a shortened closed loop replaces each of its requests or sessions, at least
LEAST_REQUESTS = 32  # of a shortened load that arrives at a rate
LEAST_S = 10.0


def shorten(load: Workload, share: float) -> Workload:
    """The load with this share of its requests or of its duration, but no fewer than show how it runs at length.

    A burst (all requests at once) stays as it is: fewer requests at once are another load.
    """
    if load.duration_s is not None:
        return replace(load, duration_s=min(load.duration_s, max(load.duration_s * share, LEAST_S)))
    if load.search:
        return _send(load, share, EXPLORING)
    if load.max_concurrency or load.sessions:
        return _send(load, share, FILLS * (load.max_concurrency or load.sessions or 1))
    return _send(load, share, LEAST_REQUESTS) if load.paced else load


def _send(load: Workload, share: float, least: int) -> Workload:
    count = load.request_count
    return replace(load, num_prompts=min(count, max(math.ceil(count * share), least)))
