"""The progress of a campaign and its remaining time, from the events of its sessions."""

from dataclasses import replace
from pathlib import Path

import pytest
from builders import run_config
from records import record

from vbench.plan.forecast.durations import estimate_seconds
from vbench.plan.resources import point_s
from vbench.plan.reusable import is_reusable
from vbench.plan.rules import check_run
from vbench.plan.sessions import Session, plan
from vbench.schema import Rerun
from vbench.schema.record import Failure, Reason
from vbench.watch import Event, Events
from vbench.watch.board import ENDED, MEASURING, MISSING, STARTING, WAITING, WARMING, Board
from vbench.watch.durations import say_duration
from vbench.watch.events import EventReader
from vbench.watch.screen import Screen


def session(*loads: int, **engine) -> Session:
    configs = (run_config(workload={"num_prompts": n}, engine={"weights": "dummy"} | engine) for n in loads)
    (planned,) = plan((check_run(config), "vllm 1") for config in configs)
    return planned


def measured(board: Board, name: str, index: int, begins: float, ends: float) -> None:
    run = board.sessions[name].session.runs[index]
    begun = {"run": run.key, "name": run.name, "replies": run.config.workload.num_prompts}
    board.sessions[name].update(Event(begins, "measuring", begun))
    board.sessions[name].update(Event(ends, "recorded", {"run": run.key, "folder": run.folder, "verdict": "VALID"}))


def test_a_session_goes_from_missing_to_ended_and_says_how_fast_it_is():
    board = Board({"a": session(8)})
    progress = board.sessions["a"]
    assert progress.state == MISSING
    progress.update(Event(0.0, "waiting", {"wanted": "2 GPUs"}))
    assert (progress.state, progress.detail) == (WAITING, "2 GPUs")
    progress.update(Event(1.0, "leased", {"gpus": []}))
    assert (progress.state, progress.detail) == (STARTING, "")
    progress.update(Event(9.0, "ready", {"start_s": 8.0}))
    progress.update(Event(10.0, "measuring", {"run": progress.session.runs[0].key, "name": "n8", "replies": 8}))
    progress.update(Event(12.0, "tick", {"run": progress.session.runs[0].key, "replies": 3, "tokens": 500}))
    assert (progress.state, progress.tokens_per_s) == (MEASURING, 250)  # an earlier build's tick
    load = {"replies": 3, "tokens": 500, "elapsed_s": 1.0}  # of the 2 s, 1 s went by until the load began
    progress.update(Event(12.0, "tick", {"run": progress.session.runs[0].key, **load}))
    assert progress.tokens_per_s == 500
    assert progress.current_run
    assert (progress.current_run.replies, progress.current_run.expected_replies) == (3, 8)
    progress.update(Event(14.0, "ended", {"how": "completed"}))
    assert progress.state == ENDED


def test_nothing_is_said_of_the_rest_before_a_point_was_measured():
    board = Board({"a": session(8)})
    board.sessions["a"].update(Event(0.0, "starting", {}))
    assert board.campaign_left_s(1.0) is None


def test_the_rest_takes_what_points_like_it_took_and_shrinks_while_one_is_measured():
    board = Board({"a": session(8, 80)})
    progress = board.sessions["a"]
    measured(board, "a", 0, 0.0, 10.0)
    second = (
        progress.estimated_s[progress.session.runs[1].key] / progress.estimated_s[progress.session.runs[0].key] * 10.0
    )
    assert board.session_left_s("a", 10.0) == pytest.approx(second)
    progress.update(Event(10.0, "measuring", {"run": progress.session.runs[1].key, "name": "n80", "replies": 80}))
    assert board.campaign_left_s(12.0) == pytest.approx(second - 2.0)
    measured(board, "a", 1, 10.0, 10.0 + second)
    assert board.campaign_left_s(99.0) == 0.0


def test_a_session_that_has_not_started_counts_with_the_start_that_others_took():
    board = Board({"a": session(8), "b": session(8, max_num_seqs=64)})
    board.sessions["a"].update(Event(0.0, "ready", {"start_s": 30.0}))
    measured(board, "a", 0, 30.0, 40.0)
    board.sessions["a"].update(Event(40.0, "ended", {"how": "completed"}))
    assert board.session_left_s("b", 40.0) == pytest.approx(30.0 + 10.0 * _ratio(board))
    board.sessions["b"].update(Event(40.0, "starting", {}))
    assert board.session_left_s("b", 50.0) == pytest.approx(20.0 + 10.0 * _ratio(board))


def _ratio(board: Board) -> float:
    one, other = (sum(board.sessions[name].estimated_s.values()) for name in "ab")
    return other / one


def test_sessions_side_by_side_share_what_is_left():
    board = Board({name: session(8, 9, max_num_seqs=seqs) for name, seqs in (("a", 64), ("b", 65))})
    for name in "ab":
        measured(board, name, 0, 0.0, 10.0)
        run = board.sessions[name].session.runs[1]
        board.sessions[name].update(Event(10.0, "measuring", {"run": run.key, "name": run.name, "replies": 9}))
    alone = board.session_left_s("a", 10.0)
    assert alone
    assert board.campaign_left_s(10.0) == pytest.approx(alone)


def test_a_probe_is_shown_but_is_no_point_of_the_plan():
    board = Board({"a": session(8)})
    board.sessions["a"].update(Event(0.0, "measuring", {"run": "probe", "name": "n4 c4", "replies": 16}))
    board.sessions["a"].update(Event(2.0, "recorded", {"run": "probe", "folder": "x", "verdict": "VALID"}))
    assert not board.count_verdicts()


OOM, LIMIT = Failure("oom_kv", "no room"), Failure("time_limit", "time")
VALID, INVALID = record(), record(invalid=[Reason("late_client", "late")])
LASTING, PASSING = record(failure=OOM), record(failure=LIMIT)


@pytest.mark.parametrize(
    ("again", "stand"),
    [
        (Rerun.none, [VALID, INVALID, LASTING]),
        (Rerun.failed, [VALID, INVALID]),
        (Rerun.invalid, [VALID, LASTING]),
        (Rerun.all, []),
    ],
)
def test_a_record_stands_unless_it_was_asked_for_again_or_failed_in_passing(again, stand):
    assert [each for each in (VALID, INVALID, LASTING, PASSING) if is_reusable(each, again)] == stand
    assert not is_reusable(None, again)


def rehearsing(t: float, steps: int, left_s: float) -> Event:
    return Event(t, "rehearsing", {"steps": steps, "of": 448, "left_s": left_s})


def test_a_long_rehearsal_shows_how_far_it_has_come():
    progress = Board({"a": session(8)}).sessions["a"]
    progress.update(Event(1.0, "starting", {}))
    progress.update(rehearsing(200.0, 80, 330.0))
    assert (progress.state, progress.detail) == (WARMING, "80 of 448 step sizes, at most 6 min left")
    progress.update(rehearsing(230.0, 400, 40.4))
    assert (progress.detail, progress.state_since) == ("400 of 448 step sizes, at most 40 s left", 200.0)
    progress.update(Event(260.0, "ready", {"start_s": 150.0}))
    assert (progress.state, progress.detail) == (WARMING, "")


def test_a_rehearsals_progress_is_written_twice_a_minute_and_printed(tmp_path, monkeypatch, capsys):
    told: list[Event] = []
    now = [0.0]
    monkeypatch.setattr("vbench.watch.events.time.monotonic", lambda: now[0])
    tick = Events(tmp_path, told.append).write_rehearsing(100)
    for steps in range(1, 100):
        now[0] += 1.0
        tick(steps)
    assert [each.facts for each in told] == [
        {"steps": steps, "of": 100, "left_s": 100 - steps} for steps in (30, 60, 90)
    ]  # fmt: skip
    assert EventReader(tmp_path).read()[0].kind == "rehearsing"
    Screen({tmp_path: session(8)}).show_event(tmp_path, told[0])
    assert (
        "rehearsing the loads to warm up the server: 30 of 100 step sizes, at most 1 min left; kernels"
        in capsys.readouterr().out
    )


def test_a_point_that_takes_longer_than_was_thought_has_time_left_by_its_replies():
    board = Board({"a": session(8, 80)})
    progress = board.sessions["a"]
    measured(board, "a", 0, 0.0, 0.1)
    run = progress.session.runs[1]
    progress.update(Event(10.0, "measuring", {"run": run.key, "name": run.name, "replies": 80}))
    progress.update(Event(20.0, "tick", {"run": run.key, "replies": 30, "tokens": 300}))
    assert board.session_left_s("a", 22.0) == 0.0
    progress.update(Event(30.0, "tick", {"run": run.key, "replies": 40, "tokens": 400}))
    assert board.session_left_s("a", 32.0) == pytest.approx(20.0 - 2.0)


def test_points_that_are_measured_again_have_no_verdict_and_are_still_to_come():
    board = Board({"a": session(8, 80)})
    progress = board.sessions["a"]
    measured(board, "a", 0, 0.0, 10.0)
    failed = progress.session.runs[1]
    progress.update(Event(11.0, "recorded", {"run": failed.key, "folder": failed.folder, "verdict": "FAILED"}))
    progress.put_back([failed.key])
    assert progress.state == MISSING
    assert dict(board.count_verdicts()) == {"VALID": 1}


def test_after_cancelling_nothing_is_said_to_start(capsys):
    screen = Screen({Path("a"): session(8)})
    screen.leave_out_beginnings()
    screen.show_event(Path("a"), Event(0.0, "starting", {"servers": 1, "points": 1, "url": None}))
    screen.print("the end")
    assert capsys.readouterr().out.split("\n") == ["the end", ""]


def test_an_invalid_level_of_a_search_asks_the_user_for_nothing(tmp_path, capsys):
    search = session(8)
    (tmp_path / "probe").mkdir()
    for parent, said in (("search", "nothing to do: one level of a search"), (None, "free the host")):
        replace(record(invalid=[Reason("lagging_client", "it lagged")]), parent=parent).save(tmp_path / "probe")
        screen = Screen({tmp_path: search})
        screen.show_event(tmp_path, Event(0.0, "recorded", {"run": "probe", "folder": "probe", "verdict": "INVALID"}))
        told = capsys.readouterr().out
        assert said in told.lower()
        assert ("free the host" in told.lower()) == (parent is None)


def test_a_session_on_a_running_server_says_what_the_plan_assumes_and_how_long_a_slow_one_would_take(capsys):
    made = session(8, 80, base_url="http://host:8000")
    screen = Screen({Path("a"): made})
    screen.progress_of(Path("a")).verdicts[made.runs[0].key] = "VALID"
    planned = say_duration(estimate_seconds(made.runs[1], None).value)
    slow = say_duration(point_s(made.runs[1]))
    screen.show_event(Path("a"), Event(0.0, "starting", {"servers": 1, "points": 1, "url": "http://host:8000"}))
    told = f"1 point on the server at http://host:8000: {planned} are assumed, {slow} on a slow one"
    assert told in capsys.readouterr().out
