"""A request that its server forgot ends its load, and costs no other; a server that works is never said to forget."""

from types import SimpleNamespace

import pytest

from tests.session.test_session import executed, session
from vbench.loadgen import Progress
from vbench.schema.record import REQUESTS, Requests
from vbench.session import forgotten
from vbench.session.context import Servers
from vbench.session.forgotten import ForgottenRequests

LOST_AT = 10  # the last report in which anything came


def servers(count=1, engines=1, process="ours"):
    each = SimpleNamespace(process=process)
    return Servers([each] * count, {"engines": engines})


def row(at, busy=0, tokens=0, **changed):
    counts = {"server/requests_running": busy, "server/requests_waiting": 0, "server/generation_tokens": tokens}
    return (100.0 + at, counts | changed)


def samples(until, working=LOST_AT):
    """A server that makes tokens for so many seconds, and is idle afterwards."""
    return [row(at, busy=at < working, tokens=10 * min(at, working)) for at in range(until + 1)]


def ended_at(rows, of=None, sent=2.0, reads=lambda at: 0, open_until=10_000, until=1000):
    """When a load is ended whose last open request was sent then; None if it is not. One report a second."""
    at, seen = 0, []
    watch = ForgottenRequests(of or servers(), seen, clock=lambda: 100.0 + at)
    for at in range(1, until):
        seen[:] = [row for row in rows if row[0] <= 100.0 + at]
        counted = min(at, LOST_AT) + reads(at)
        if watch(Progress(at, 0, counted, in_flight=int(at < open_until), newest_open_s=sent)):
            return at
    return None


def test_what_the_server_counts_no_more_though_it_worked_on_is_forgotten_after_half_a_minute():
    assert ended_at(samples(1000)) == LOST_AT + 30


def test_a_request_after_the_last_steps_may_be_in_a_first_step_that_takes_long():
    assert ended_at(samples(1000), sent=6.9) == LOST_AT + 600
    assert ended_at(samples(1000), sent=6.0) == LOST_AT + 30
    assert ended_at(samples(1000), sent=60.0) == LOST_AT + 600


@pytest.mark.parametrize("of", [servers(count=2), servers(engines=2)])
def test_of_several_engines_nobody_knows_which_made_the_tokens(of):
    assert ended_at(samples(1000), of) == LOST_AT + 600


BUSY = {
    "a prompt that is prefilled, a preempted request, a queue": [row(at, busy=1, tokens=100) for at in range(1000)],
    "now and then": [row(at, busy=at % 29 == 0, tokens=100) for at in range(1000)],
    "tokens that the client has not read yet": [row(at, tokens=100 + at // 20) for at in range(1000)],
    "a server that answers nobody": samples(20),
    "one that answers now and then": samples(20) + [row(at, tokens=100) for at in range(26, 1000, 6)],
    "no counts": [(100.0 + at, {}) for at in range(1000)],
    "no count of tokens": [(at, {k: v for k, v in of.items() if "tokens" not in k}) for at, of in samples(1000)],
    "no samples": [],
}


@pytest.mark.parametrize("rows", BUSY.values(), ids=BUSY)
def test_a_server_that_works_or_tells_nothing_is_awaited(rows):
    assert ended_at(rows) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"of": servers(process=None)},  # its address may be that of several, whose counts are those of one
        {"reads": lambda at: at // 29},  # a stream that goes on
        {"open_until": 1},  # users who think
        {"sent": float("inf")},  # it is not sent yet
    ],
)
def test_only_a_request_of_a_server_started_here_that_is_sent_and_silent_is_forgotten(facts):
    assert ended_at(samples(1000), **facts) is None


@pytest.mark.parametrize("load", [{}, {"max_concurrency": 2}, {"max_concurrency": 1, "duration_s": 2.0}])
def test_a_run_that_lost_a_request_is_invalid_and_the_session_goes_on_with_the_same_server(tmp_path, monkeypatch, load):
    monkeypatch.setattr(forgotten, "IDLE_S", 2.0)
    monkeypatch.setattr(forgotten, "UNSURE_S", 2.0)
    made = session("--forget", "12", loads=(30, 40), workload=load)
    found = executed(made, tmp_path)
    (reason,) = (each for each in found[30].invalid if each.code == "failed_requests")
    assert (
        "the server forgot 1 open request: its counts (/metrics) had none running and none waiting" in reason.sentence
    )
    assert found[40].failure is None
    assert "failed_requests" not in [each.code for each in found[40].invalid]
    assert found[40].server["start_s"] == found[30].server["start_s"]
    (run,) = (each for each in made.runs if each.config.workload.num_prompts == 30)
    requests = Requests.load(tmp_path / run.folder / REQUESTS)
    lost = requests.error != ""
    assert set(requests.output_tokens[lost]) <= {0, 2}
    assert len(requests) == (4 if "duration_s" in load else 30)


def test_a_server_that_forgets_a_request_of_the_rehearsal_fails_its_start_within_minutes(tmp_path, monkeypatch):
    monkeypatch.setattr(forgotten, "IDLE_S", 2.0)
    monkeypatch.setattr(forgotten, "UNSURE_S", 2.0)
    failure = executed(session("--forget", "0", loads=(2,)), tmp_path)[2].failure
    assert failure.line.startswith("a warm-up request failed: the server forgot 1 open request: ")
