"""Whether a load under way has outgrown its server, so that a probe of it can end. Pure: readings in, a word out.

An open loop that is too fast for its server shows it early: requests wait longer and longer for their first token, and
more and more of them are in flight. Both also grow while any load builds up; what tells the two apart is said below.
"""

from __future__ import annotations

import numpy as np

from vbench.loadgen import Progress
from vbench.metrics.goodput import grows

ANSWERS = 40  # fewer say nothing of growth
QUEUE = 16  # in flight; fewer come and go by chance
WAITING_SHARE = (
    0.25  # of the time since the start, spent on waiting by those answered last: no load builds up so slowly
)


class OverloadDetector:
    """Looks at a load, progress after progress, until it has outgrown its server.

    `ttft_limit_s` is the objective, where there is one: a load that still meets it is left to go on.
    """

    def __init__(self, ttft_limit_s: float | None) -> None:
        self.at_s: float | None = None  # when it showed, in seconds since the start
        self._limit_s = ttft_limit_s
        self._moments = [(0.0, 0)]  # and how many were in flight
        self._answered: list[tuple[float, float]] = []

    def __call__(self, progress: Progress) -> bool:
        """Takes the next progress in; whether it shows by now."""
        self._moments.append((progress.elapsed_s, progress.in_flight))
        self._answered += progress.answered
        if self._shows(progress):
            self.at_s = progress.elapsed_s
        return self.at_s is not None

    def _shows(self, progress: Progress) -> bool:
        if len(self._answered) < ANSWERS or progress.in_flight < QUEUE:
            return False
        sent, waits = np.array(sorted(self._answered)).T
        recent = float(np.median(np.array_split(waits, 4)[-1]))
        if self._limit_s is not None and recent <= self._limit_s:
            return False
        # A load has built up when as many replies have ended as are under way; one that is far too fast never does.
        built_up = progress.completed >= progress.in_flight or recent >= WAITING_SHARE * progress.elapsed_s
        return built_up and grows(waits) and grows(np.interp(sent, *np.array(self._moments).T))
