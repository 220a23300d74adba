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
        self._gaps = self._last_gaps = 0
        self._streaming_s = self._last_streaming_s = 0.0

    def add(self, progress: Progress) -> None:
        self._ttft_s.extend(seconds for _, seconds in progress.answered)
        self._gaps, self._streaming_s = progress.gaps, progress.streaming_s

    def summarise(self) -> dict[str, float]:
        """`ttft_ms`: median of the last REMEMBERED requests answered. `itl_ms`: mean since the last summary."""
        found = {"ttft_ms": round(median(self._ttft_s) * 1e3, 1)} if self._ttft_s else {}
        gaps, streaming_s = self._gaps - self._last_gaps, self._streaming_s - self._last_streaming_s
        if gaps > 0:
            found["itl_ms"] = round(streaming_s / gaps * 1e3, 2)
            self._last_gaps, self._last_streaming_s = self._gaps, self._streaming_s
        return found
