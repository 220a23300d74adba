"""Ends a probe before its whole load was sent: once it has told enough, or once its load has outgrown the server. Pure.

What it sees of a reply under way are the times of its reads, which the client parses only after the load. The probe is
judged by the parsed replies: where the two differ, the level is asked for again.
"""

from __future__ import annotations

import math

import numpy as np

from vbench.loadgen import REPORT_S as USUAL_REPORT_S
from vbench.loadgen import Ended, Progress
from vbench.schema import Workload
from vbench.schema.record import ENDED_EARLY
from vbench.session.saturation import OverloadDetector
from vbench.workload.probe import Plan, ended_enough

REPORT_S = 0.1  # between two reports of a closed loop: a probe is seldom longer than some seconds


class EarlyEnd:
    """Takes the progress of a probe, report by report; says ENDED_EARLY once the probe may end."""

    def __init__(self, plan: Plan) -> None:
        self.metrics: dict[str, float] = {}  # why and when it ended early; empty if it did not
        self._plan = plan
        self._limits = plan.config.workload.slo.limits
        self._overload = _overload_detector(plan.config.workload)
        self._times: list[tuple[float, float, bool]] = []  # of the requests that have ended: sent, finished, SLO met

    @property
    def report_s(self) -> float:
        """Seconds between two reports of the load's progress; an overload is judged by as many looks as of any load."""
        return USUAL_REPORT_S if self._overload else REPORT_S

    def __call__(self, progress: Progress) -> str:
        self._times += [(each.sent_s, each.sent_s + each.e2el_s, _meets(each, self._limits)) for each in progress.ended]
        if self._overload and self._overload(progress):
            self.metrics = {"saturated": 1.0, "ended_early_s": progress.elapsed_s}
        elif self._times:
            sent, finished, met = map(np.array, zip(*self._times, strict=True))
            if ended_enough(self._plan, sent, finished, met, progress.oldest_open_s):
                self.metrics = {"slo_decided_s": progress.elapsed_s}
        return ENDED_EARLY if self.metrics else ""


def _meets(ended: Ended, limits: dict[str, float]) -> bool:
    per_token_s = (ended.e2el_s - ended.ttft_s) / max(ended.asked_tokens - 1, 1)
    seconds = {"ttft_ms": ended.ttft_s, "tpot_ms": per_token_s, "e2el_ms": ended.e2el_s}
    waited = math.isfinite(ended.ttft_s)
    return ended.succeeded and waited and all(seconds[key] * 1e3 <= limit for key, limit in limits.items())


def _overload_detector(load: Workload) -> OverloadDetector | None:
    """What to watch a probe for; a closed loop cannot outgrow its server."""
    if load.max_concurrency or load.sessions:
        return None
    limit_ms = load.slo.ttft_ms or load.slo.e2el_ms
    return OverloadDetector(limit_ms / 1e3 if limit_ms else None)
