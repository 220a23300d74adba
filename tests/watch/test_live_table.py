"""The live table of a campaign on narrow and wide terminals."""

import re
from pathlib import Path

import pytest
from rich.console import Console
from test_board import measured, session

from vbench.watch import Event
from vbench.watch.console import PIPED, open_console
from vbench.watch.screen import Screen

NOW = 1_800_000_000.0
MEASURING, STARTING = Path("llama70b-2xh100-tp2-4f5a6f96"), Path("llama70b-4xh100-tp4-abb5c329")


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr("time.time", lambda: NOW)


def table(width: int) -> str:
    """What a terminal of this width shows of a session that measures and one that starts."""
    sessions = {MEASURING: session(8, 80), STARTING: session(8, max_num_seqs=4)}
    screen = Screen(sessions)
    screen.console = Console(width=width, height=40, highlight=False)
    now, run = NOW, sessions[MEASURING].runs[1]
    measured(screen.board, str(MEASURING), 0, now - 50, now - 30)
    for event in (
        Event(now - 20, "measuring", {"run": run.key, "name": run.name, "replies": 80}),
        Event(now - 1, "tick", {"run": run.key, "replies": 33, "tokens": 1900, "ttft_ms": 412.3, "itl_ms": 22.31}),
    ):
        screen.progress_of(MEASURING).update(event)
    start = {"servers": 1, "points": 1, "url": None, "fastest_s": 26.0, "slowest_s": 55.0}
    screen.progress_of(STARTING).update(Event(now - 12, "starting", start))
    screen.progress_of(STARTING).update(Event(now - 2, "loading", {"line": "Loading [2/4] shards"}))
    with screen.console.capture() as shown:
        screen.console.print(screen._status_table())
    return shown.get()


def test_a_wide_terminal_shows_latencies_and_what_the_log_says():
    shown = table(160)
    for text in (
        "80 prompts",
        "33/80",
        "100",
        "412 ms",
        "22.3 ms",
        "starting 12 s (usually 26 s to 55 s)",
        "Loading [2/4] shards",
    ):
        assert text in shown


def test_a_line_is_broken_between_words_and_a_path_stays_whole(monkeypatch):
    screen = Screen({MEASURING: session(8)})
    path = "/home/me/study/multirun/published/llama70b-2xh100-tp2-4f5a6f96/server.log"
    shown = []
    for terminal in (True, False):
        screen.console = Console(width=60, force_terminal=terminal, no_color=True, highlight=False)
        with screen.console.capture() as captured:
            screen.print(
                f"  [bold]starting[/] 1 server for 2 points (usually 26 s to 55 s), log {path} and rerun=invalid"
            )
        shown.append(re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines())
    wrapped, piped = shown
    assert wrapped == [
        "  starting 1 server for 2 points (usually 26 s to 55 s), log",
        f"  {path}",
        "  and rerun=invalid",
    ]
    assert len(piped) == 1


def test_the_column_of_names_does_not_move_as_sessions_end(monkeypatch):
    short = Path("m-1")
    screen = Screen({MEASURING: session(8), short: session(8, max_num_seqs=4)})
    screen.console = Console(width=80, height=40, highlight=False)
    screen.progress_of(short).update(Event(NOW - 12, "waiting", {"wanted": "1 GPU"}))
    with screen.console.capture() as shown:
        screen.console.print(screen._status_table())
    row = next(line for line in shown.get().splitlines() if line.startswith("m-1"))
    assert row.index("waiting") == len(MEASURING.name) + 2


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_no_line_is_longer_than_the_terminal_and_no_number_is_cut(width):
    shown = table(width)
    assert max(map(len, shown.splitlines())) <= width
    assert "1/2" in shown
    [cut] = [line for line in shown.splitlines() if "…" in line]
    assert re.search("starting 12 s .*…  0/1  ", cut)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_session_that_waits_with_a_long_reason_takes_one_line(width):
    screen = Screen({MEASURING: session(8)})
    screen.console = Console(width=width, height=40, highlight=False)
    wanted = "another session has the GPU; leased to llama70b-2xh100-tp2-abb5c329 (pid 18837)"
    screen.progress_of(MEASURING).update(Event(NOW - 12, "waiting", {"wanted": wanted}))
    with screen.console.capture() as shown:
        screen.console.print(screen._status_table())
    _, heads, row, totals = shown.get().splitlines()
    assert heads.split()[:3] == ["session", "state", "points"]
    assert row.startswith(f"{MEASURING.name}  waiting 12 s")
    assert "0/1" in row
    assert totals.startswith("sessions: ")


@pytest.mark.parametrize("width", [60, 200])
def test_a_long_queue_leaves_the_totals_on_a_terminal_though_names_take_two_lines(width):
    sessions = {Path(f"mistral7b-4xh100-tp4-724378{place:02}"): session(8) for place in range(30)}
    screen = Screen(sessions)
    screen.console = Console(width=width, height=24, highlight=False)
    for folder in sessions:
        screen.progress_of(folder).update(Event(NOW - 12, "waiting", {"wanted": "1 of h100"}))
    with screen.console.capture() as shown:
        screen.console.print(screen._status_table())
    lines = shown.get().splitlines()
    assert len(lines) <= 24
    assert sum("waiting" in line for line in lines) == (8 if width == 60 else 16)
    assert "0 done, 0 running, 30 to come" in "".join(lines)


def test_when_all_sessions_have_ended_no_time_is_left():
    screen = Screen({MEASURING: session(8)})
    screen.progress_of(MEASURING).update(Event(NOW, "ended", {}))
    assert screen._totals_line(NOW).endswith("points: none yet of 1")


def test_time_left_is_never_nothing_while_a_run_is_measured():
    board = Screen({MEASURING: session(8, 80)}).board
    measured(board, str(MEASURING), 0, 0.0, 1.0)
    run = board.sessions[str(MEASURING)].session.runs[1]
    board.sessions[str(MEASURING)].update(Event(1.0, "measuring", {"run": run.key, "name": run.name, "replies": 80}))
    screen = Screen({MEASURING: board.sessions[str(MEASURING)].session})
    screen.board = board
    assert " 0 s left" not in screen._totals_line(1e6)
    assert "1 s left" in screen._totals_line(1e6)


def test_a_pipe_has_the_width_that_columns_says_or_enough_for_the_table(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert open_console().width == PIPED
    monkeypatch.setenv("COLUMNS", "90")
    assert open_console().width == 90
