"""The latest latencies of a running load, for the screen, from the client's progress reports. Pure."""

from __future__ import annotations

from collections import deque
from statistics import median

from vbench.loadgen import Progress

REMEMBERED = 100  # requests


class LatestLatencies:
    """TTFT and ITL of the last moments. The record's own are computed from all time stamps, after the load."""

    def __init__(self) -> None:
        self._ttft_s: deque[float] = deque(maxlen=REMEMBERED)
        self._answered = 0
        self._streaming_s = 0.0  # summed over the replies that were streaming, since the last summary
        self._reads = self._last_reads = 0
        self._last_s = 0.0

    def add(self, progress: Progress) -> None:
        self._ttft_s.extend(seconds for _, seconds in progress.answered)
        self._answered += len(progress.answered)
        self._streaming_s += max(self._answered - progress.completed, 0) * (progress.elapsed_s - self._last_s)
        self._last_s, self._reads = progress.elapsed_s, progress.reads

    def summarise(self) -> dict[str, float]:
        """`ttft_ms`: median of the last REMEMBERED requests answered. `itl_ms`: mean since the last summary."""
        found = {"ttft_ms": round(median(self._ttft_s) * 1e3, 1)} if self._ttft_s else {}
        if reads := self._reads - self._last_reads:
            found |= {"itl_ms": round(self._streaming_s / reads * 1e3, 2)} if self._streaming_s else {}
        self._streaming_s, self._last_reads = 0.0, self._reads
        return found
