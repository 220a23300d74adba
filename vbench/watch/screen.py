"""What people see while a campaign runs: a line an event, and on a terminal a table of what is under way below them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from vbench.metrics.remedies import REMEDY
from vbench.plan.sessions import Session
from vbench.schema.record import Record, find_record
from vbench.watch.board import ENDED, IN_FLIGHT, KNOWN, MISSING, QUEUED, RUNNING, WAITING, Board, SessionProgress
from vbench.watch.events import EVENTS, Event
from vbench.watch.markup import marked_up
from vbench.watch.outcome import COLOURS, numbers

REDRAWN_PER_S = 2
ROOM = 8  # lines of the terminal that the table leaves to others


class Screen:
    """Prints the story of a campaign as it happens; `with screen:` shows the table where there is a terminal.

    Sessions are known by their folders.
    """

    def __init__(self, sessions: Mapping[Path, Session]) -> None:
        self.console = Console(highlight=False)
        self.board = Board({str(folder): session for folder, session in sessions.items()})
        self._speaker: Path | None = None
        self._live = Live(
            get_renderable=self._below, console=self.console, refresh_per_second=REDRAWN_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def lane(self, folder: Path) -> SessionProgress:
        return self.board.lanes[str(folder)]

    def say(self, *lines: RenderableType) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=isinstance(line, str))

    def known(self, folder: Path, records: Iterable[Record]) -> None:
        """Points of a session that need no measuring."""
        lane = self.lane(folder)
        lane.verdicts |= {record.run_key: record.verdict for record in records}
        known, of = len(lane.verdicts), len(lane.session.runs)
        if known:
            self.say(marked_up("[bold]{}[/]: {} of {} points known (rerun=true repeats)", folder.name, known, of))
        if known == of:
            lane.state = KNOWN

    def hear(self, folder: Path, event: Event) -> None:
        """Shows what the session of this folder tells."""
        lane = self.lane(folder)
        lane.hear(event)
        if event.kind == "starting":
            self._speaker = folder
            self.say(marked_up("[bold]{}[/]: {}", folder.name, _starting(folder, lane.session, event)))
        elif event.kind == "waiting":
            self._tell(folder, marked_up("waiting: {}", event.facts["wanted"]))
        elif event.kind == "ready":
            self._tell(folder, marked_up("{}", _ready(event)))
        elif event.kind == "recorded":
            self._show_record(folder, event)
        elif event.kind == "unreadable":
            self._tell(folder, marked_up("{}: passed over, not an event: {}", folder / EVENTS, event.facts["line"]))
        elif event.kind == "failed":
            facts = event.facts
            self._tell(folder, marked_up("[red]{}[/]: {}", facts["kind"], facts["line"]))
            if facts["log"]:
                self._tell(folder, marked_up("log: {}", facts["log"]))

    def _show_record(self, folder: Path, event: Event) -> None:
        record = find_record(folder / event.facts["folder"])
        if record is None:  # an old event: its record was put aside for another try
            return
        self._tell(folder, marked_up("{}: ", record.name) + numbers(record))
        for reason in record.invalid:
            self._tell(folder, marked_up("  [yellow]{}[/]: {}", reason.code, reason.sentence))
        for remedy in dict.fromkeys(REMEDY[reason.code] for reason in record.invalid if reason.code in REMEDY):
            self._tell(folder, marked_up("  → {}", remedy))

    def _tell(self, folder: Path, line: str) -> None:
        """Below the session's name, which is said again where another session spoke last."""
        if self._speaker != folder:
            self._speaker = folder
            self.say(marked_up("[bold]{}[/]:", folder.name))
        self.say(f"  {line}")

    def _below(self) -> RenderableType:
        now = time.time()
        table = Table("session", "state", "points", "run", "replies", "tok/s so far", "left", box=None, pad_edge=False)
        for column in table.columns[4:]:
            column.justify = "right"
        lanes = {name: lane for name, lane in self.board.lanes.items() if lane.state in IN_FLIGHT}
        shown = sorted(lanes, key=lambda name: lanes[name].state not in RUNNING)
        for name in shown[: max(self.console.height - ROOM, 1)]:
            table.add_row(escape(Path(name).name), *_cells(lanes[name], now), _duration(self.board.left_s(name, now)))
        return Group(Text(), table, Text.from_markup(self._counts(now)))

    def _counts(self, now: float) -> str:
        states, verdicts = self.board.states(), self.board.verdicts()
        done = states[KNOWN] + states[ENDED]
        queued = states[MISSING] + states[QUEUED] + states[WAITING]
        sessions = f"sessions: {done} done, {sum(states[each] for each in RUNNING)} running, {queued} to come"
        points = ", ".join(f"[{COLOURS[verdict]}]{count} {verdict}[/]" for verdict, count in sorted(verdicts.items()))
        of = sum(len(lane.session.runs) for lane in self.board.lanes.values())
        return f"{sessions} · points: {points or 'none yet'} of {of} · {_duration(self.board.eta_s(now))} left"


def _starting(folder: Path, session: Session, event: Event) -> str:
    facts = event.facts
    points = "1 point" if facts["points"] == 1 else f"{facts['points']} points"
    if session.attached:
        return f"{points} on the server at {facts['url']}"
    servers = "1 server" if facts["servers"] == 1 else f"{facts['servers']} servers"
    return f"starting {servers} for {points}, log {folder}/server.log"


def _ready(event: Event) -> str:
    facts = event.facts
    memory = f", KV cache {facts['kv_cache_tokens']:,} tokens" if "kv_cache_tokens" in facts else ""
    ready = f"ready after {facts['start_s']:.1f} s" if "start_s" in facts else "answers"
    return f"{ready}: engine {facts['version']}{memory}"


def _cells(lane: SessionProgress, now: float) -> tuple[str, str, str, str, str]:
    state = f"{lane.state} {_duration(now - lane.since)}" if lane.since else lane.state
    points = f"{len(lane.verdicts)}/{len(lane.session.runs)}"
    run = lane.now
    if run is None:
        return f"{state} {escape(lane.detail)}".strip(), points, "", "", ""
    rate = lane.tokens_per_s
    return state, points, escape(run.name), f"{run.replies}/{run.expected}", f"{rate:,.0f}" if rate else ""


def _duration(seconds: float | None) -> str:
    """`1 h 05 min`, `12 min`, `40 s`; nothing is known of None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{rest} s"
