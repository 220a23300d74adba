"""The display of a running campaign: one line for each event and, on a terminal, a live table of sessions below."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from vbench.metrics.remedies import REMEDY
from vbench.plan.sessions import Session
from vbench.schema.record import Record, find_record
from vbench.watch.board import (
    ENDED,
    IN_FLIGHT,
    MISSING,
    QUEUED,
    REUSED,
    RUNNING,
    WAITING,
    Board,
    SessionProgress,
    describe_rehearsal,
)
from vbench.watch.events import EVENTS, Event
from vbench.watch.markup import fill_markup, literal
from vbench.watch.outcome import COLOURS, result_line

REDRAWN_PER_S = 2
LINES_KEPT_FREE = 8  # of the terminal, for the events above the table


class Screen:
    """Prints the events of a campaign's sessions; inside `with screen:` a terminal also shows the live table.

    Sessions are identified by their folders.
    """

    def __init__(self, sessions: Mapping[Path, Session]) -> None:
        self.console = Console(highlight=False)
        self.board = Board({str(folder): session for folder, session in sessions.items()})
        self._last_printed: Path | None = None
        self._live = Live(
            get_renderable=self._status_table, console=self.console, refresh_per_second=REDRAWN_PER_S, transient=True
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def progress_of(self, folder: Path) -> SessionProgress:
        return self.board.sessions[str(folder)]

    def print(self, *lines: RenderableType) -> None:
        for line in lines:
            self.console.print(line, soft_wrap=isinstance(line, str))

    def show_reused(self, folder: Path, records: Iterable[Record]) -> None:
        """Counts and shows the points of a session whose records from earlier are reused."""
        progress = self.progress_of(folder)
        progress.verdicts |= {record.run_key: record.verdict for record in records}
        reused, total = len(progress.verdicts), len(progress.session.runs)
        if reused:
            self.print(
                fill_markup(
                    "[bold]{}[/]: {} of {} points already recorded (rerun=true repeats them)",
                    folder.name,
                    reused,
                    total,
                )
            )
        if reused == total:
            progress.state = REUSED

    def show_event(self, folder: Path, event: Event) -> None:
        """Updates the progress of the session in this folder and prints the event."""
        progress = self.progress_of(folder)
        progress.update(event)
        if event.kind == "starting":
            self._last_printed = folder
            self.print(fill_markup("[bold]{}[/]: {}", folder.name, _starting_text(folder, progress.session, event)))
        elif event.kind == "waiting":
            self._print_below_name(folder, fill_markup("waiting: {}", event.facts["wanted"]))
        elif event.kind == "rehearsing":
            text = "rehearsing: {}; kernels that it compiles stay in this host's cache"
            self._print_below_name(folder, fill_markup(text, describe_rehearsal(event)))
        elif event.kind == "ready":
            self._print_below_name(folder, fill_markup("{}", _ready_text(event)))
        elif event.kind == "recorded":
            self._show_record(folder, event)
        elif event.kind == "unreadable":
            self._print_below_name(
                folder, fill_markup("{}: ignored, not an event: {}", folder / EVENTS, event.facts["line"])
            )
        elif event.kind == "failed":
            facts = event.facts
            self._print_below_name(folder, fill_markup("[red]{}[/]: {}", facts["kind"], facts["line"]))
            if facts["log"]:
                self._print_below_name(folder, fill_markup("log: {}", facts["log"]))

    def _show_record(self, folder: Path, event: Event) -> None:
        record = find_record(folder / event.facts["folder"])
        if record is None:  # the record was moved away since, to measure the run again
            return
        self._print_below_name(folder, fill_markup("{}: ", record.name) + result_line(record))
        for reason in record.invalid:
            self._print_below_name(folder, fill_markup("  [yellow]{}[/]: {}", reason.code, reason.sentence))
        for remedy in dict.fromkeys(REMEDY[reason.code] for reason in record.invalid if reason.code in REMEDY):
            self._print_below_name(folder, fill_markup("  → {}", remedy))

    def _print_below_name(self, folder: Path, line: str) -> None:
        """Prints an indented line; the session's name comes first if the line above is of another session."""
        if self._last_printed != folder:
            self._last_printed = folder
            self.print(fill_markup("[bold]{}[/]:", folder.name))
        self.print(f"  {line}")

    def _status_table(self) -> RenderableType:
        now = time.time()
        table = Table("session", "state", "points", "run", "replies", "tok/s so far", "left", box=None, pad_edge=False)
        for column in table.columns[4:]:
            column.justify = "right"
        in_flight = {name: each for name, each in self.board.sessions.items() if each.state in IN_FLIGHT}
        shown = sorted(in_flight, key=lambda name: in_flight[name].state not in RUNNING)
        for name in shown[: max(self.console.height - LINES_KEPT_FREE, 1)]:
            left = _duration(self.board.session_left_s(name, now))
            table.add_row(literal(Path(name).name), *_progress_cells(in_flight[name], now), left)
        return Group(Text(), table, Text.from_markup(self._totals_line(now)))

    def _totals_line(self, now: float) -> str:
        states, verdicts = self.board.count_states(), self.board.count_verdicts()
        done = states[REUSED] + states[ENDED]
        queued = states[MISSING] + states[QUEUED] + states[WAITING]
        sessions = f"sessions: {done} done, {sum(states[each] for each in RUNNING)} running, {queued} to come"
        points = ", ".join(f"[{COLOURS[verdict]}]{count} {verdict}[/]" for verdict, count in sorted(verdicts.items()))
        total = sum(len(progress.session.runs) for progress in self.board.sessions.values())
        left = _duration(self.board.campaign_left_s(now))
        return f"{sessions} · points: {points or 'none yet'} of {total} · {left} left"


def _starting_text(folder: Path, session: Session, event: Event) -> str:
    facts = event.facts
    points = "1 point" if facts["points"] == 1 else f"{facts['points']} points"
    if session.is_external:
        return f"{points} on the server at {facts['url']}"
    servers = "1 server" if facts["servers"] == 1 else f"{facts['servers']} servers"
    return f"starting {servers} for {points}, log {folder}/server.log"


def _ready_text(event: Event) -> str:
    facts = event.facts
    memory = ""
    if "kv_cache_tokens" in facts:
        length = f" at max_model_len {facts['max_model_len']:,}" if facts.get("max_model_len") else ""
        memory = f", KV cache {facts['kv_cache_tokens']:,} tokens{length}"
    ready = f"ready after {facts['start_s']:.1f} s" if "start_s" in facts else "answers"
    return f"{ready}: engine {facts['version']}{memory}"


def _progress_cells(progress: SessionProgress, now: float) -> tuple[str, str, str, str, str]:
    """The columns `state` to `tok/s so far`. The job's clock may be ahead of ours."""
    spent_s = max(now - progress.state_since, 0)
    state = f"{progress.state} {_duration(spent_s)}" if progress.state_since else progress.state
    points = f"{len(progress.verdicts)}/{len(progress.session.runs)}"
    run = progress.current_run
    if run is None:
        return f"{state} {literal(progress.detail)}".strip(), points, "", "", ""
    rate = progress.tokens_per_s
    return state, points, literal(run.name), f"{run.replies}/{run.expected_replies}", f"{rate:,.0f}" if rate else ""


def _duration(seconds: float | None) -> str:
    """`1 h 05 min`, `12 min`, `40 s`; `?` for None."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min" if minutes else f"{rest} s"
