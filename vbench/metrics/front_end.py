"""Whether a pause was the front end's: it computed all the time and answered nothing, not even /metrics. Pure.

The engine's own pauses leave the front end free: it answers each poll within milliseconds. A front end that parses,
tokenizes or collects garbage answers neither, and its event loop fills a core meanwhile. A front end that waits for a
CPU, or a host that stands still, answers nothing either, but its loop uses no CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vbench.schema.record import Floats
from vbench.schema.series import Series

POLL_S = 1.0  # between two polls of /metrics
ANSWER_S = 0.2  # an answer that comes so shortly before the pause's end came as the loop was free again
LOOP_SHARE = 0.8  # of the pause: CPU time of the loop; samples a second apart blur its beginning and end
ACTIVE_SHARE = 0.01  # of a core, over the run: a loop with less is an idle parent of several front ends


class FrontEnds(NamedTuple):
    """What was sampled of the front ends; seconds since the run's start."""

    answered_at: Floats = np.empty(0)  # (k,) when polls of /metrics were answered
    times: Floats = np.empty(0)  # (j,) when the loops' CPU times were read
    loops_s: npt.NDArray[np.float64] = np.empty((0, 0))  # (loops, j) running totals


def find_front_ends(series: Series) -> FrontEnds:
    """The loops that did something; none if they were not sampled together, or if the engine shares their process."""
    names = [name for name in series.columns if name.startswith("cpu/frontend") and name.endswith("_loop_s")]
    sampled = [series.samples(name) for name in names]
    answered_at, _ = series.samples("server/requests_running")
    times = sampled[0][0] if sampled else np.empty(0)
    apart = any(name.startswith("cpu/engine_core") for name in series.columns)
    if not apart or len(times) < 2 or any(len(each) != len(times) for each, _ in sampled):
        return FrontEnds()
    active = [values for _, values in sampled if values[-1] - values[0] > ACTIVE_SHARE * (times[-1] - times[0])]
    return FrontEnds(answered_at, times, np.array(active)) if active else FrontEnds()


def is_held_up(found: FrontEnds, start: float, end: float) -> bool:
    """Whether every front end was busy from `start` to `end` and none answered, though polls before and after it were.

    False if the pause is too short for a poll.
    """
    if not found.loops_s.size or end - start < POLL_S + ANSWER_S:
        return False
    before, after = found.answered_at <= start, found.answered_at >= end - ANSWER_S
    if not before.any() or not after.any() or not (before | after).all():
        return False
    used = [np.diff(np.interp([start, end], found.times, loop))[0] for loop in found.loops_s]
    return bool(min(used) >= LOOP_SHARE * (end - start))
