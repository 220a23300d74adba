"""An external server that is not ready and says when to ask again is asked then, and not at once."""

import asyncio
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from builders import run_config

from vbench.engine import readiness
from vbench.engine.readiness import LEAST_S, Readiness, find_retry_after, parse_retry_after
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema.errors import ServerFailed
from vbench.schema.record import Record
from vbench.session import execute, sessionfile
from vbench.watch import EVENTS, Events

NOW = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT
EVENT = b'data: {"choices": [{"text": " w", "finish_reason": "length"}], "usage": {"completion_tokens": 1}}\n\n'


class Loading(BaseHTTPRequestHandler):
    """Not ready for a session's first requests of each kind: each has a Retry-After, "" for none."""

    later: dict[str, list[str]]
    planned = False  # whether it was asked for its version, which comes before a session

    def do_GET(self):
        if self.path != "/v1/models":
            self.answer(404, b"{}")
        elif not type(self).planned or not self.puts_off("models"):
            type(self).planned = True
            self.answer(200, b'{"data": [{"id": "m"}]}')

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if not self.puts_off("completions"):
            self.answer(200, EVENT + b"data: [DONE]\n\n")

    def puts_off(self, what):
        if self.later[what]:
            self.answer(503, b'{"error": {"message": "Loading model"}}', self.later[what].pop(0))
            return True
        return False

    def answer(self, status, body, later=""):
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        if later:
            self.send_header("Retry-After", later)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(**later):
    kind = type("Now", (Loading,), {"later": {"models": [], "completions": []} | later})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        assert kind.later == {"models": [], "completions": []}, "it was not asked as often"


def measured(url, folder, **engine):
    """Executes a session of one request there; its record, and what was told while it started."""
    load = {"lengths": "random", "input_len": 8, "output_len": 1, "num_prompts": 1}
    run = check_run(run_config(engine={"base_url": url, **engine}, workload=load))
    (made,) = plan([(run, "theirs")])
    sessionfile.write(made, folder)
    execute(made, folder, Events(folder))
    events = [json.loads(line) for line in (folder / EVENTS).read_text().splitlines()]
    return Record.load(folder / made.runs[0].folder), [each["line"] for each in events if each["event"] == "loading"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "m"])
def test_the_list_and_the_first_request_are_asked_for_again_when_it_says(tmp_path, monkeypatch, name):
    monkeypatch.setattr(readiness, "LEAST_S", 0.01)
    with serving(models=["0"], completions=["0", "Wed, 21 Oct 2015 07:28:00 GMT"]) as url:
        record, told = measured(url, tmp_path, served_model_name=name)
    assert record.failure is None
    assert record.metrics["completed"] == 1
    loading = "a warm-up request failed: HTTP 503: Loading model (Retry-After: "
    assert told == [
        f"{url}/v1/models answers HTTP 503 Service Unavailable; asked again in 0 s",
        f"{loading}0); asked again in 0 s",
        f"{loading}Wed, 21 Oct 2015 07:28:00 GMT); asked again in 0 s",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "completions"])
def test_what_a_start_may_take_bounds_the_wait(tmp_path, kind):
    with serving(**{kind: ["86400"]}) as url:
        record, told = measured(url, tmp_path, start_timeout_s=60.0)
    assert told == []
    assert record.failure.kind == "unreachable"
    assert record.failure.line.endswith(": asks for another 86,400 s, but engine.start_timeout_s=60")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "completions"])
@pytest.mark.parametrize("later", ["", "soon"])
def test_a_server_that_does_not_say_when_is_left_to_the_next_attempt(tmp_path, kind, later):
    with serving(**{kind: [later]}) as url:
        record, told = measured(url, tmp_path)
    assert (record.failure.kind, told) == ("unreachable", [])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0), (" 120 ", 120.0), ("0", LEAST_S),
        ("Wed, 21 Oct 2015 07:29:30 GMT", 90.0),
        ("Wednesday, 21-Oct-15 07:29:30 GMT", 90.0),
        ("Wed Oct 21 07:29:30 2015", 90.0),
        ("Wed, 21 Oct 2015 07:20:00 GMT", LEAST_S),
        ("", None), ("soon", None), ("-3", None), ("1.5", None), ("٣", None), ("9" * 12, None),
    ],
)  # fmt: skip
def test_it_is_told_in_seconds_or_as_a_date(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


def test_it_is_found_at_the_end_of_an_error_only():
    assert find_retry_after("HTTP 503: Loading model (Retry-After: 2)") == "2"
    assert find_retry_after("HTTP 503: (Retry-After: 2) is what I say") is None


def test_each_wait_is_as_long_as_it_was_told_and_all_of_them_are_bounded(monkeypatch):
    slept, told = [], []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    waiting = Readiness(100.0, 30.0, told.append)
    assert asyncio.run(waiting.wait("not ready", "20")) is True
    assert asyncio.run(waiting.wait("not ready", None)) is False
    with pytest.raises(ServerFailed, match=r"another 71 s, but engine\.start_timeout_s=100$"):
        asyncio.run(waiting.wait("not ready", "71"))
    assert (slept, told) == ([20.0], ["not ready; asked again in 20 s"])
