"""The display of a running campaign: one line for each event and, on a terminal, a live table of sessions below."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from vbench.metrics.remedies import find_remedy
from vbench.plan.naming import NO_REPEATS, number_repeats, say_load, say_name
from vbench.plan.resources import SLOW
from vbench.plan.sessions import Session
from vbench.schema.record import Record, find_record
from vbench.watch.board import (
    ENDED,
    IN_FLIGHT,
    MISSING,
    QUEUED,
    REUSED,
    RUNNING,
    STARTING,
    WAITING,
    Board,
    SessionProgress,
    describe_rehearsal,
    find_usual,
)
from vbench.watch.console import open_console
from vbench.watch.durations import say_duration, say_milliseconds, say_usual
from vbench.watch.events import EVENTS, Event
from vbench.watch.heartbeat import Heartbeat
from vbench.watch.markup import fill_markup, literal
from vbench.watch.outcome import COLOURS, result_line
from vbench.watch.searches import is_probe
from vbench.watch.wrapping import wrap_words

REDRAWN_PER_S = 2
COLUMNS = ("session", "state", "points", "run", "replies", "tok/s so far", "TTFT now", "ITL now", "left")
# With fewer characters than this beside the names, a terminal leaves the column out.
WIDTHS = {"TTFT now": 88, "ITL now": 88, "tok/s so far": 72, "replies": 56, "run": 46}
NUMBERS = COLUMNS[4:]
GAP = 2  # characters between two columns
LEAST_STATE = 14  # characters: "measuring 20 s"
BEGINNINGS = {"waiting", "starting", "rehearsing", "ready"}
PROBES_DO_NOT_COUNT = "nothing to do: one level of a search, which goes on without it and has a verdict of its own"
LINES_KEPT_FREE = 8  # of the terminal, for the events above the table


class Screen:
    """Prints the events of a campaign's sessions; inside `with screen:` a terminal also shows the live table.

    Sessions are identified by their folders.
    """

    def __init__(self, sessions: Mapping[Path, Session]) -> None:
        self.console = open_console()
        self.board = Board({str(folder): session for folder, session in sessions.items()})
        self._repeats = number_repeats(run.name for session in sessions.values() for run in session.runs)
        self._longest_name = max((cell_len(folder.name) for folder in sessions), default=0)
        self._last_printed: Path | None = None
        self._beginnings_shown = True
        self._failures: set[tuple[Path, str]] = set()  # that were printed in full
        self._heartbeats = {folder: Heartbeat() for folder in sessions}
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
        """On a terminal long lines are broken between words; in a pipe or file each stays one line."""
        for line in lines:
            if not isinstance(line, str):
                self.console.print(line)
                continue
            text = Text.from_markup(line)
            for part in wrap_words(text, self.console.width) if self.console.is_terminal else (text,):
                self.console.print(part, soft_wrap=True)

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

    def leave_out_beginnings(self) -> None:
        """From now on prints of no session that it begins: all were cancelled, but one may begin before it ends."""
        self._beginnings_shown = False

    def show_event(self, folder: Path, event: Event) -> None:
        """Updates the progress of the session in this folder and prints the event."""
        progress = self.progress_of(folder)
        progress.update(event)
        if event.kind in BEGINNINGS and not self._beginnings_shown:
            return
        if event.kind == "starting":
            self._last_printed = folder
            self.print(fill_markup("[bold]{}[/]: {}", folder.name, _starting_text(folder, progress, event)))
        elif event.kind == "waiting":
            self._print_below_name(folder, fill_markup("waiting: {}", event.facts["wanted"]))
        elif event.kind == "rehearsing":
            text = "rehearsing the loads to warm up the server: {}; kernels that it compiles stay in this host's cache"
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
            line = "as before" if self.has_shown(folder, f"{facts['kind']}: {facts['line']}") else facts["line"]
            self._print_below_name(folder, fill_markup("[red]{}[/]: {}", facts["kind"], line))
            self._failures.add((folder, f"{facts['kind']}: {facts['line']}"))
            if facts["log"]:
                self._print_below_name(folder, fill_markup("log: {}", facts["log"]))

    def print_progress(self) -> None:
        """Without a live table: prints how sessions are doing that have started or measured for long.

        If none does, it prints how long the first of the queued ones has waited.
        """
        if self.console.is_terminal:
            return
        states = self.board.count_states()
        queued = [folder for folder in self._heartbeats if self.progress_of(folder).state == QUEUED]
        silent = queued if any(states[each] for each in RUNNING) else queued[1:]
        for folder, heartbeat in self._heartbeats.items():
            if folder in silent:
                continue
            if line := heartbeat.beat(self.progress_of(folder), time.time(), self._repeats):
                self._print_below_name(folder, literal(line))

    def has_shown(self, folder: Path, failure: str) -> bool:
        """Whether this failure of the session, as `kind: line`, was printed already."""
        return (folder, failure) in self._failures

    def _show_record(self, folder: Path, event: Event) -> None:
        record = find_record(folder / event.facts["folder"])
        if record is None:  # the record was moved away since, to measure the run again
            return
        self._print_below_name(folder, fill_markup("{}: ", say_name(record.name, self._repeats)) + result_line(record))
        for reason in record.invalid:
            self._print_below_name(folder, fill_markup("  [yellow]{}[/]: {}", reason.code, reason.sentence))
        found = (find_remedy(reason.code, record.environment, record.metrics) for reason in record.invalid)
        remedies = [PROBES_DO_NOT_COUNT] if record.invalid and is_probe(record) else filter(None, found)
        for remedy in dict.fromkeys(remedies):
            self._print_below_name(folder, fill_markup("  → {}", remedy))

    def _print_below_name(self, folder: Path, line: str) -> None:
        """Prints an indented line; the session's name comes first if the line above is of another session."""
        if self._last_printed != folder:
            self._last_printed = folder
            self.print(fill_markup("[bold]{}[/]:", folder.name))
        self.print(f"  {line}")

    def _status_table(self) -> RenderableType:
        now, width = time.time(), self.console.width
        names = min(self._longest_name, width * 2 // 5)  # the same at each redraw
        columns = [column for column in COLUMNS if WIDTHS.get(column, 0) <= width - names]
        table = Table(box=None, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column not in ("session", "run"))
            table.columns[-1].justify = "right" if column in NUMBERS else "left"
        table.columns[0].width = names
        in_flight = {name: each for name, each in self.board.sessions.items() if each.state in IN_FLIGHT}
        shown = sorted(in_flight, key=lambda name: in_flight[name].state not in RUNNING)
        rows = []
        for name in _fit(shown, names, self.console.height - LINES_KEPT_FREE):
            left = _left(self.board.session_left_s(name, now))
            cells = (literal(Path(name).name), *_progress_cells(in_flight[name], now, self._repeats), left)
            found = dict(zip(COLUMNS, map(Text.from_markup, cells), strict=True))
            rows.append([found[column] for column in columns])
        _cut_states(rows, columns, width - names)
        for row in rows:
            table.add_row(*row)
        return Group(Text(), table, Text.from_markup(self._totals_line(now)))

    def _totals_line(self, now: float) -> str:
        states, verdicts = self.board.count_states(), self.board.count_verdicts()
        done = states[REUSED] + states[ENDED]
        queued = states[MISSING] + states[QUEUED] + states[WAITING]
        sessions = f"sessions: {done} done, {sum(states[each] for each in RUNNING)} running, {queued} to come"
        points = ", ".join(f"[{COLOURS[verdict]}]{count} {verdict}[/]" for verdict, count in sorted(verdicts.items()))
        total = sum(len(progress.session.runs) for progress in self.board.sessions.values())
        left = f" · {_left(self.board.campaign_left_s(now))} left" if done < len(self.board.sessions) else ""
        return f"{sessions} · points: {points or 'none yet'} of {total}{left}"


def _fit(folders: Sequence[str], width: int, lines: int) -> Sequence[str]:
    """The first of them whose names, folded to this width, take no more lines; one at least.

    What is too high for a terminal is cut below, where the totals stand.
    """
    taken = itertools.accumulate(-(-cell_len(Path(each).name) // max(width, 1)) for each in folders)
    return folders[: max(sum(each <= lines for each in taken), 1)]


def _cut_states(rows: list[list[Text]], columns: list[str], beside: int) -> None:
    """Cuts each state to what the other columns leave `beside` the names: a session then takes a line, not ten."""
    place = columns.index("state")
    others = [index for index in range(1, len(columns)) if index != place]
    widths = [max([cell_len(columns[index]), *(row[index].cell_len for row in rows)]) for index in others]
    room = max(beside - sum(widths) - GAP * (len(columns) - 1), LEAST_STATE)
    for row in rows:
        row[place].truncate(room, overflow="ellipsis")


def _starting_text(folder: Path, progress: SessionProgress, event: Event) -> str:
    facts = event.facts
    points = "1 point" if facts["points"] == 1 else f"{facts['points']} points"
    if progress.session.is_external:
        usual, slow = say_duration(progress.slow_s / SLOW), say_duration(progress.slow_s)
        return f"{points} on the server at {facts['url']}: {usual} are assumed, {slow} on a slow one"
    servers = "1 server" if facts["servers"] == 1 else f"{facts['servers']} servers"
    usual = say_usual(find_usual(event))
    return f"starting {servers} for {points}{usual}, log {folder}/server.log"


def _ready_text(event: Event) -> str:
    facts = event.facts
    memory = ""
    if "kv_cache_tokens" in facts:
        length = f" at max_model_len {facts['max_model_len']:,}" if facts.get("max_model_len") else ""
        caches = f"{facts['engines']} KV caches of" if facts.get("engines") else "KV cache"
        memory = f", {caches} {facts['kv_cache_tokens']:,} tokens{length}"
    ready = f"ready after {facts['start_s']:.1f} s" if "start_s" in facts else "answers"
    return f"{ready}: engine {facts['version']}{memory}"


def _progress_cells(progress: SessionProgress, now: float, repeats: Mapping[str, int] = NO_REPEATS) -> tuple[str, ...]:
    """The columns `state` to `ITL now`. The job's clock may be ahead of ours."""
    spent_s = max(now - progress.state_since, 0)
    state = f"{progress.state} {say_duration(spent_s)}" if progress.state_since else progress.state
    if progress.state == STARTING:
        state += say_usual(progress.usual_start_s)
    points = f"{len(progress.verdicts)}/{len(progress.session.runs)}"
    run = progress.current_run
    if run is None:
        return f"{state} {literal(progress.detail)}".strip(), points, "", "", "", "", ""
    rate = f"{progress.tokens_per_s:,.0f}" if progress.tokens_per_s else ""
    replies = f"{run.replies}/{run.expected_replies}"
    return (
        state,
        points,
        literal(say_load(run.name, repeats)),
        replies,
        rate,
        _milliseconds(run.ttft_ms),
        _milliseconds(run.itl_ms),
    )


def _milliseconds(value: float | None) -> str:
    return "" if value is None else say_milliseconds(value)


def _left(seconds: float | None) -> str:
    """A duration of at least a second, because what is not over has time left; `?` for None."""
    return "?" if seconds is None else say_duration(max(seconds, 1.0))
