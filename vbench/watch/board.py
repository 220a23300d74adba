"""The progress of a campaign, from the events of its sessions, and an estimate of the time that remains. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean

from vbench.plan.resources import point_s
from vbench.plan.sessions import Session
from vbench.watch.events import Event

REUSED, MISSING, QUEUED, WAITING, STARTING, WARMING, MEASURING, ENDED = (
    "reused", "missing", "queued", "waiting", "starting", "warming up", "measuring", "ended",
)  # fmt: skip
IN_FLIGHT = {QUEUED, WAITING, STARTING, WARMING, MEASURING}
RUNNING = IN_FLIGHT - {QUEUED, WAITING}


@dataclass
class CurrentRun:
    """The run that is being measured: a point, or a probe of a search. Times in seconds since 1970."""

    key: str
    name: str
    began_at: float
    expected_replies: int
    replies: int = 0
    tokens: int = 0
    counted_at: float = 0.0  # when `replies` and `tokens` were counted
    elapsed_s: float = 0.0  # then, since its load began
    ttft_ms: float | None = None  # of the latest requests
    itl_ms: float | None = None

    def left_s(self, now: float) -> float:
        """Seconds that its other replies take at the pace so far; 0 before half of them came: most may come at once."""
        if 2 * self.replies < self.expected_replies or not self.replies:
            return 0.0
        each_s = (self.counted_at - self.began_at) / self.replies
        return max(each_s * (self.expected_replies - self.replies) - (now - self.counted_at), 0.0)


@dataclass
class SessionProgress:
    """The state of one session and of its points, updated event by event."""

    session: Session
    state: str = MISSING
    # QUEUED: which job, and why it waits; WAITING: for which resources; STARTING: the log's last line; WARMING: how far
    detail: str = ""
    state_since: float = 0.0  # seconds since 1970
    start_s: float | None = None  # how long its servers took to start
    usual_start_s: tuple[float, float] | None = None  # the fastest and slowest such starts on its host before
    verdicts: dict[str, str] = field(default_factory=dict)  # of its points, by run key
    measured_s: dict[str, float] = field(default_factory=dict)  # how long each measured point took, by run key
    current_run: CurrentRun | None = None

    @cached_property
    def estimated_s(self) -> dict[str, float]:
        """Seconds that each point would take on a slow server, by run key. Their ratios tell the time that is left."""
        return {run.key: point_s(run) for run in self.session.runs}

    @property
    def slow_s(self) -> float:
        """Seconds that the points without a verdict would take on a slow server."""
        return sum(seconds for key, seconds in self.estimated_s.items() if key not in self.verdicts)

    @property
    def tokens_per_s(self) -> float | None:
        """The throughput of the current run so far; None before its first tokens are counted."""
        run = self.current_run
        return run.tokens / run.elapsed_s if run and run.tokens and run.elapsed_s > 0 else None

    def queue(self, detail: str, t: float) -> None:
        """A scheduler has the job since `t`, unless its session has reported more already."""
        if self.state == MISSING:
            self._enter(QUEUED, t)
        if self.state == QUEUED:
            self.state_since, self.detail = self.state_since or t, detail

    def put_back(self, keys: Iterable[str]) -> None:
        """These points are to be measured again, in another job: what they were given no longer counts."""
        self._enter(MISSING, 0.0)
        for key in keys:
            self.verdicts.pop(key, None)
            self.measured_s.pop(key, None)

    def update(self, event: Event) -> None:
        """Applies an event of the session. A session that is resumed in a new job starts again from `waiting`."""
        facts = event.facts
        if event.kind == "waiting":
            self._enter(WAITING, event.t, facts["wanted"])
        elif event.kind in ("leased", "starting"):
            self.usual_start_s = find_usual(event) or self.usual_start_s
            self._enter(STARTING, event.t)
        elif event.kind == "loading":
            self.detail = facts["line"]
        elif event.kind == "rehearsing":
            self._enter(WARMING, event.t if self.state != WARMING else self.state_since, describe_rehearsal(event))
        elif event.kind == "ready":
            self.start_s = facts.get("start_s", 0.0)
            self._enter(WARMING, event.t)
        elif event.kind == "measuring":
            self._enter(MEASURING, event.t)
            self.current_run = CurrentRun(facts["run"], facts["name"], event.t, facts["replies"])
        elif event.kind == "tick" and (run := self.current_run):
            run.replies, run.tokens, run.counted_at = facts["replies"], facts["tokens"], event.t
            run.elapsed_s = facts.get("elapsed_s", event.t - run.began_at)  # an earlier build's job does not tell it
            run.ttft_ms, run.itl_ms = facts.get("ttft_ms"), facts.get("itl_ms")
        elif event.kind == "recorded":
            self._record(event)
        elif event.kind == "ended":
            self._enter(ENDED, event.t)

    def _enter(self, state: str, t: float, detail: str = "") -> None:
        self.state, self.state_since, self.detail, self.current_run = state, t, detail, None

    def _record(self, event: Event) -> None:
        key = event.facts["run"]
        if key in self.estimated_s:  # a probe has a record too, but is no point of the plan
            self.verdicts[key] = event.facts["verdict"]
            if self.current_run:
                self.measured_s[key] = event.t - self.current_run.began_at
        self.current_run = None


def find_usual(event: Event) -> tuple[float, float] | None:
    """The fastest and the slowest of the earlier starts that the event tells of; None if it tells of none."""
    if "fastest_s" in event.facts and "slowest_s" in event.facts:
        return event.facts["fastest_s"], event.facts["slowest_s"]
    return None


def describe_rehearsal(event: Event) -> str:
    """Its progress, for people."""
    steps, total, left_s = (event.facts[key] for key in ("steps", "of", "left_s"))
    left = f"{round(left_s / 60)} min" if left_s >= 60 else f"{round(left_s)} s"
    return f"{steps} of {total} step sizes, at most {left} left"


class Board:
    """The progress of all sessions of a campaign, by the names that the caller gives them."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self.sessions = {name: SessionProgress(session) for name, session in sessions.items()}

    @property
    def running(self) -> list[str]:
        """The names of the sessions that have their resources and have not ended."""
        return [name for name, progress in self.sessions.items() if progress.state in RUNNING]

    def count_states(self) -> Counter[str]:
        """The number of sessions in each state."""
        return Counter(progress.state for progress in self.sessions.values())

    def count_verdicts(self) -> Counter[str]:
        """The number of points with each verdict."""
        return Counter(verdict for progress in self.sessions.values() for verdict in progress.verdicts.values())

    def session_left_s(self, name: str, now: float) -> float | None:
        """Seconds until this session ends, estimated from the points measured so far; None before the first."""
        pace, progress = self._pace(), self.sessions[name]
        if pace is None or progress.state in (REUSED, ENDED):
            return None if pace is None else 0.0
        points_s = pace * sum(s for key, s in progress.estimated_s.items() if key not in progress.verdicts)
        if progress.state == MEASURING and (run := progress.current_run):
            # A probe is part of its search's estimate.
            planned_s = min(pace * progress.estimated_s.get(run.key, math.inf), points_s)
            return points_s - planned_s + max(planned_s - (now - run.began_at), run.left_s(now))
        spent = now - progress.state_since if progress.state == STARTING else 0.0
        start_s = 0.0 if progress.state in (WARMING, MEASURING) else max(self._mean_start_s() - spent, 0.0)
        return points_s + start_s

    def campaign_left_s(self, now: float) -> float | None:
        """Seconds until all sessions have ended, if as many run in parallel as now; None before the first point."""
        left = {name: s for name in self.sessions if (s := self.session_left_s(name, now)) is not None}
        if len(left) < len(self.sessions) or not left:
            return None
        running = self.running
        return max(sum(left.values()) / max(len(running), 1), *(left[name] for name in running), 0.0)

    def _pace(self) -> float | None:
        """How long the measured points took, divided by their estimates; None before the first."""
        measured_s = sum(s for progress in self.sessions.values() for s in progress.measured_s.values())
        estimated_s = sum(
            progress.estimated_s[key] for progress in self.sessions.values() for key in progress.measured_s
        )
        return measured_s / estimated_s if estimated_s else None

    def _mean_start_s(self) -> float:
        starts = [progress.start_s for progress in self.sessions.values() if progress.start_s is not None]
        return mean(starts) if starts else 0.0
