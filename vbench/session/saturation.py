"""Detects that an open loop arrives faster than the server serves it, so that the probe can end early. Pure.

Overload shows early: requests wait longer and longer for their first token, and more and more of them are in flight.
Both also grow while a load that fits builds up. The load has built up once as many replies have ended as are under way;
one that is far too fast never gets there, and shows by how long its latest answers have waited.
"""

from __future__ import annotations

import numpy as np

from vbench.loadgen import Progress
from vbench.metrics.goodput import has_grown

ANSWERS = 40  # first tokens received; fewer show no growth
QUEUE = 16  # requests in flight; fewer come and go by chance
WAITING_SHARE = 0.25  # TTFT of the latest answers over the time since the start: no load that fits builds up so slowly


class OverloadDetector:
    """Takes the progress of a load, report by report, until that shows an overload.

    A load whose latest answers meet the objective `ttft_limit_s` is no overload. None: there is no such objective.
    """

    def __init__(self, ttft_limit_s: float | None) -> None:
        self.at_s: float | None = None  # seconds since the start at which the overload showed
        self._limit_s = ttft_limit_s
        self._moments = [(0.0, 0)]  # seconds since the start, requests in flight
        self._answered: list[tuple[float, float]] = []

    def __call__(self, progress: Progress) -> bool:
        """Takes the next report; returns whether the overload shows by now."""
        self._moments.append((progress.elapsed_s, progress.in_flight))
        self._answered += progress.answered
        if self._is_overloaded(progress):
            self.at_s = progress.elapsed_s
        return self.at_s is not None

    def _is_overloaded(self, progress: Progress) -> bool:
        if len(self._answered) < ANSWERS or progress.in_flight < QUEUE:
            return False
        sent, waits = np.array(sorted(self._answered)).T
        recent = float(np.median(np.array_split(waits, 4)[-1]))
        if self._limit_s is not None and recent <= self._limit_s:
            return False
        built_up = progress.completed >= progress.in_flight or recent >= WAITING_SHARE * progress.elapsed_s
        return built_up and has_grown(waits) and has_grown(np.interp(sent, *np.array(self._moments).T))
