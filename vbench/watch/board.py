"""Where a campaign stands: what its sessions and their jobs have told so far, and how long the rest may take. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean

from vbench.plan.resources import point_s
from vbench.plan.sessions import Session
from vbench.watch.events import Event

KNOWN, MISSING, QUEUED, WAITING, STARTING, WARMING, MEASURING, ENDED = (
    "known", "missing", "queued", "waiting", "starting", "warming up", "measuring", "ended",
)  # fmt: skip
IN_FLIGHT = {QUEUED, WAITING, STARTING, WARMING, MEASURING}
RUNNING = IN_FLIGHT - {QUEUED, WAITING}


@dataclass
class CurrentRun:
    """The run that is being measured: a point, or a probe of one."""

    name: str
    began: float
    expected: int  # replies
    replies: int = 0
    tokens: int = 0
    told: float = 0.0  # when these were counted


@dataclass
class SessionProgress:
    """One session as it goes."""

    session: Session
    state: str = MISSING
    detail: str = ""  # what it waits for
    since: float = 0.0  # of its state
    start_s: float | None = None  # of its servers
    verdicts: dict[str, str] = field(default_factory=dict)  # of its points, by run key
    seconds: dict[str, float] = field(default_factory=dict)  # that its points took
    now: CurrentRun | None = None

    @cached_property
    def expected(self) -> dict[str, float]:
        """Seconds that each point would take on a slow server, by run key: their proportions are what matters here."""
        return {run.key: point_s(run) for run in self.session.runs}

    @property
    def tokens_per_s(self) -> float | None:
        """Of the run that is being measured, so far."""
        now = self.now
        return now.tokens / (now.told - now.began) if now and now.tokens else None

    def hear(self, event: Event) -> None:
        """Takes in what the session tells; also from the start again, where its job is taken up again."""
        facts = event.facts
        if event.kind == "waiting":
            self._turn(WAITING, event.t, facts["wanted"])
        elif event.kind in ("leased", "starting"):
            self._turn(STARTING, event.t)
        elif event.kind == "ready":
            self.start_s = facts.get("start_s", 0.0)
            self._turn(WARMING, event.t)
        elif event.kind == "measuring":
            self._turn(MEASURING, event.t)
            self.now = CurrentRun(facts["name"], event.t, facts["replies"])
        elif event.kind == "tick" and self.now:
            self.now.replies, self.now.tokens, self.now.told = facts["replies"], facts["tokens"], event.t
        elif event.kind == "recorded":
            self._record(event)
        elif event.kind == "ended":
            self._turn(ENDED, event.t)

    def _turn(self, state: str, t: float, detail: str = "") -> None:
        self.state, self.since, self.detail, self.now = state, t, detail, None

    def _record(self, event: Event) -> None:
        key = event.facts["run"]
        if key in self.expected:  # else it is a probe: a run, but no point of the plan
            self.verdicts[key] = event.facts["verdict"]
            if self.now:
                self.seconds[key] = event.t - self.now.began
        self.now = None


class Board:
    """All sessions of a campaign, by the name that the campaign gives them."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self.lanes = {name: SessionProgress(session) for name, session in sessions.items()}

    @property
    def running(self) -> list[str]:
        return [name for name, lane in self.lanes.items() if lane.state in RUNNING]

    def states(self) -> Counter[str]:
        """How many sessions are in each state."""
        return Counter(lane.state for lane in self.lanes.values())

    def verdicts(self) -> Counter[str]:
        """How many points have each verdict."""
        return Counter(verdict for lane in self.lanes.values() for verdict in lane.verdicts.values())

    def left_s(self, name: str, now: float) -> float | None:
        """Seconds until this session ends, by what was measured so far; None before anything was."""
        pace, lane = self._pace(), self.lanes[name]
        if pace is None or lane.state in (KNOWN, ENDED):
            return None if pace is None else 0.0
        points_s = pace * sum(s for key, s in lane.expected.items() if key not in lane.verdicts)
        if lane.state == MEASURING and lane.now:
            return max(points_s - (now - lane.now.began), 0.0)
        spent = now - lane.since if lane.state == STARTING else 0.0
        to_start = 0.0 if lane.state in (WARMING, MEASURING) else max(self._start_s() - spent, 0.0)
        return points_s + to_start

    def eta_s(self, now: float) -> float | None:
        """Seconds until all is done, with as many sessions at once as run now; None before anything was measured."""
        left = [self.left_s(name, now) for name in self.lanes]
        known = [each for each in left if each is not None]
        if len(known) < len(left) or not known:
            return None
        return max(sum(known) / max(len(self.running), 1), *(self._of(self.running, now) or [0.0]))

    def _of(self, names: Sequence[str], now: float) -> list[float]:
        return [self.left_s(name, now) or 0.0 for name in names]

    def _pace(self) -> float | None:
        """What points took, over what they would take on a slow server."""
        took = sum(s for lane in self.lanes.values() for s in lane.seconds.values())
        slow = sum(lane.expected[key] for lane in self.lanes.values() for key in lane.seconds)
        return took / slow if slow else None

    def _start_s(self) -> float:
        starts = [lane.start_s for lane in self.lanes.values() if lane.start_s is not None]
        return mean(starts) if starts else 0.0
