"""The lines about a long start or run, where no live table shows it."""

from pathlib import Path

from rich.console import Console
from test_board import session

from vbench.watch import Event
from vbench.watch.board import SessionProgress
from vbench.watch.heartbeat import LONGEST_S, Heartbeat
from vbench.watch.screen import Screen

START = {"servers": 1, "points": 1, "url": None, "fastest_s": 26.0, "slowest_s": 55.0}


def starting(at: float, **facts: object) -> SessionProgress:
    progress = SessionProgress(session(8))
    progress.update(Event(at, "starting", START | facts))
    return progress


def lines(progress: SessionProgress, seconds: range) -> dict[int, str]:
    heartbeat = Heartbeat()
    return {now: line for now in seconds if (line := heartbeat.beat(progress, float(now)))}


def test_a_long_start_is_told_at_growing_intervals():
    progress = starting(1000.0)
    progress.update(Event(1005.0, "loading", {"line": "Loading [2/4] shards"}))
    told = lines(progress, range(1000, 3000))
    assert list(told)[:5] == [1015, 1030, 1060, 1120, 1240]
    assert max(later - now for now, later in zip(list(told), list(told)[1:], strict=False)) == LONGEST_S
    assert told[1030] == "starting for 30 s (usually 26 s to 55 s): Loading [2/4] shards"


def test_a_new_state_begins_anew():
    progress, heartbeat = starting(1000.0), Heartbeat()
    assert heartbeat.beat(progress, 1400.0)
    assert heartbeat.beat(progress, 1401.0) is None
    progress.update(Event(1402.0, "ready", {"version": "1", "start_s": 402.0}))
    assert heartbeat.beat(progress, 2000.0) is None  # its rehearsal reports by itself
    run = progress.session.runs[0]
    progress.update(Event(2000.0, "measuring", {"run": run.key, "name": run.name, "replies": 80}))
    assert heartbeat.beat(progress, 2059.0) is None
    facts = {"run": run.key, "replies": 33, "tokens": 1900, "ttft_ms": 412.3, "itl_ms": 22.31}
    progress.update(Event(2050.0, "tick", facts))
    assert heartbeat.beat(progress, 2060.0) == (
        "8 prompts: 33 of 80 replies in 1 min, 38 tok/s so far, TTFT now 412 ms, ITL now 22.3 ms"
    )


def test_a_clock_of_a_job_that_is_ahead_is_no_error():
    assert Heartbeat().beat(starting(1000.0), 900.0) is None


def test_a_queued_job_is_told_with_its_number_and_what_it_waits_for():
    progress = SessionProgress(session(8))
    progress.queue("", 1000.0)
    progress.queue("slurm job 9: Priority", 1001.0)
    assert lines(progress, range(1000, 1020)) == {1015: "queued for 15 s, slurm job 9: Priority"}
    progress.update(Event(1020.0, "starting", START))
    progress.queue("slurm job 9: Resources", 1021.0)
    assert (progress.state, progress.detail) == ("starting", "")


def test_only_a_pipe_gets_the_lines():
    for terminal in (True, False):
        screen = Screen({Path("a"): session(8)})
        screen.console = Console(width=120, force_terminal=terminal)
        screen.progress_of(Path("a")).update(Event(1000.0, "starting", START))
        with screen.console.capture() as shown:
            screen.print_progress()
        assert ("usually 26 s to 55 s" in shown.get()) != terminal
