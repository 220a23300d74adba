"""What a pipe or file, which has no live table, shows of a session that waits, starts or measures for long. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from vbench.plan.naming import NO_REPEATS, say_load
from vbench.watch.board import MEASURING, QUEUED, STARTING, SessionProgress
from vbench.watch.durations import say_duration, say_milliseconds, say_usual

FIRST_S = {QUEUED: 15.0, STARTING: 15.0, MEASURING: 60.0}  # in the state, before its first line
LONGEST_S = 300.0  # between two lines; each wait is twice the one before


class Heartbeat:
    """Says how a session is doing, at growing intervals, for as long as its state stays the same."""

    def __init__(self) -> None:
        self._since = 0.0  # when the state that it tells of began, in seconds since 1970
        self._due_s = 0.0  # in that state

    def beat(self, progress: SessionProgress, now: float, repeats: Mapping[str, int] = NO_REPEATS) -> str | None:
        """The line that is due, if one is. The job's clock may be ahead of ours."""
        if progress.state not in FIRST_S:
            return None
        if progress.state_since != self._since:
            self._since, self._due_s = progress.state_since, FIRST_S[progress.state]
        spent_s = now - self._since
        if spent_s < self._due_s:
            return None
        self._due_s = spent_s + min(spent_s, LONGEST_S)
        if progress.state == QUEUED:
            return f"queued for {say_duration(spent_s)}" + (f", {progress.detail}" if progress.detail else "")
        if progress.state == STARTING:
            return _describe_start(progress, spent_s)
        return _describe_run(progress, spent_s, repeats)


def _describe_start(progress: SessionProgress, spent_s: float) -> str:
    usual = say_usual(progress.usual_start_s)
    log = f": {progress.detail}" if progress.detail else ""
    return f"starting for {say_duration(spent_s)}{usual}{log}"


def _describe_run(progress: SessionProgress, spent_s: float, repeats: Mapping[str, int]) -> str | None:
    run = progress.current_run
    if run is None:
        return None
    parts = [f"{run.replies:,} of {run.expected_replies:,} replies in {say_duration(spent_s)}"]
    parts += [f"{progress.tokens_per_s:,.0f} tok/s so far"] if progress.tokens_per_s else []
    parts += [f"TTFT now {say_milliseconds(run.ttft_ms)}"] if run.ttft_ms is not None else []
    parts += [f"ITL now {say_milliseconds(run.itl_ms)}"] if run.itl_ms is not None else []
    return f"{say_load(run.name, repeats)}: {', '.join(parts)}"
