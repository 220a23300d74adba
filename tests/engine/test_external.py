"""Servers that already run: measured like our own, and left as they were."""

import asyncio
import json
import shutil
import subprocess
import threading
import time
import typing
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import aiohttp
import fake_vllm
import numpy as np
import pytest
from builders import run_config
from doors import run_folders, vbench

from vbench.compose import known_models
from vbench.engine import asking, external
from vbench.engine.counters import parse
from vbench.engine.readiness import Readiness
from vbench.plan.rules import check_run
from vbench.schema import Engine, Lengths, Parallelism, RunConfig, effective_config, from_plain, to_plain
from vbench.schema.errors import Refused, ServerFailed
from vbench.schema.failures import TRANSIENT
from vbench.schema.record import REQUESTS, Record, Requests

KEY = "sk-a-key-that-nobody-may-read"
# A tick of the servers, in seconds: no client lags by half of it, however busy the host, so runs are VALID at once.
TICK_S = 0.15
LOAD = ("workload=random", "workload.input_len=20", "workload.output_len=10", "workload.num_prompts=4")


def said(status):
    return aiohttp.ClientResponseError(None, (), status=status)


def at(url, *words, home, **env):
    return vbench("engine=openai", f"engine.base_url={url}", *LOAD, *words, cwd=home, **env)


def running(*flags):
    return fake_vllm.running("--itl-s", str(TICK_S), *flags)


def recorded(home):
    (folder,) = run_folders(home)
    return folder, Record.load(folder)


def measured(ended, home):
    """Whether the run was measured, and is VALID but for what a busy host does to a client."""
    record = recorded(home)[1]
    of_the_host = {reason.code for reason in record.invalid} <= {"lagging_client", "late_client"}
    return ended.returncode == int(bool(record.invalid)) and not record.failure and of_the_host


class Bare(BaseHTTPRequestHandler):
    """As OpenAI's own server: no /metrics, no /version, no lengths, and a 400 for fields that it does not know."""

    models = ("gpt",)
    protocol_version = "HTTP/1.1"
    known = ("model", "messages", "max_completion_tokens", "temperature", "stream", "stream_options")

    def do_GET(self):
        if self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        else:
            self.answer(404, {"error": {"message": "Unknown request URL"}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if unknown := set(asked) - {*self.known}:
            said = f"Unrecognized request arguments {sorted(unknown)} by {self.headers['Authorization']}"
            self.answer(400, {"error": {"message": said}})
            return
        events = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
        events += [{"choices": [{"index": 0, "delta": {"content": "word"}}]}] * asked["max_completion_tokens"]
        events += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}]
        events += [{"choices": [], "usage": {"completion_tokens": asked["max_completion_tokens"]}}]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            time.sleep(TICK_S)
        self.wfile.write(b"data: [DONE]\n\n")

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Two(Bare):
    models = ("large", "small")


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):
        """A client that hangs up is no news."""


@contextmanager
def serving(handler):
    with Quiet(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_running_server_is_measured_with_its_key_which_is_written_nowhere(tmp_path):
    with running("--require-key", KEY, "--model", "theirs") as url:
        ended = at(f"{url}/v1/", "engine.api_key_env=THEIR_KEY", home=tmp_path, THEIR_KEY=KEY)
    assert measured(ended, tmp_path), ended.stdout + ended.stderr
    folder, record = recorded(tmp_path)
    assert record.name == "theirs · remote · tp1 · n4"
    assert record.environment["engine"] == f"remote: {url}, vllm 0.32.0+fake"
    assert set(record.config["engine"]) == {"base_url", "served_model_name", "api_key_env", "chat"}
    said = {"version": "0.32.0+fake", "engine": "vllm 0.32.0+fake", "max_model_len": 131072}
    assert {key: record.server[key] for key in said} == said
    assert len(record.server["prompt_nonce"]) == 16
    assert record.metrics["server_generation_tokens"] == record.metrics["total_output_tokens"] == 40
    assert "others_unknown" not in [reason.code for reason in record.warnings]
    assert KEY not in ended.stdout + ended.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert not list(folder.parent.glob("*.log"))


def test_it_is_neither_ended_nor_reset_and_warmed_up_by_one_request(tmp_path):
    with running("--model", "theirs") as url:
        assert at(url, home=tmp_path).returncode in (0, 1)  # 1: not VALID on a busy host
        assert at(url, "rerun=true", home=tmp_path).returncode in (0, 1)
        said = urlopen(f"{url}/metrics").read().decode()
    records = [Record.load(path.parent) for path in tmp_path.glob("multirun/*/*/*/record.json")]
    asked = next(line for line in said.splitlines() if line.startswith("fake:requests_total"))
    assert float(asked.split()[-1]) == 2 + 4 * len(records)
    # It remembers prompts, but each run has its own. A busy host may have one measured again.
    assert len({record.server["prompt_nonce"] for record in records}) == len(records) >= 2
    assert {record.metrics["server_prefix_cache_hits"] for record in records} == {0}
    assert not any("prefix_cache_hits" in {reason.code for reason in record.invalid} for record in records)


def ask_amid(url, prompt_tokens, running):
    """Sends one more request, for one token, as soon as this many run on the server."""
    deadline = time.monotonic() + 60
    while parse(urlopen(f"{url}/metrics").read().decode())["requests_running"] < running:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    body = json.dumps({"prompt": [7] * prompt_tokens, "max_tokens": 1, "stream": True}).encode()
    urlopen(Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})).read()


@pytest.mark.parametrize(("prompt_tokens", "others"), [(20, False), (21, True)])
def test_a_second_client_is_seen_by_its_prompts_though_hardly_by_its_tokens(tmp_path, prompt_tokens, others):
    load = ("workload.num_prompts=100", "workload.output_len=4", "workload.client_processes=1")
    with running("--model", "theirs", "--ttft-s", "2") as url:  # longer than a busy host takes to see them run
        second = threading.Thread(target=ask_amid, args=(url, prompt_tokens, 100))
        second.start()
        ended = at(url, *load, home=tmp_path)
        second.join()
    every = [Record.load(path.parent) for path in tmp_path.glob("multirun/*/*/*/record.json")]
    (record,) = (each for each in every if each.metrics["server_requests_finished"] == 101)  # others: a busy host's
    sentences = {reason.code: reason.sentence for reason in record.invalid}
    assert ("other_requests" in sentences) is others, ended.stdout
    if others:
        assert "the server counted 2,021 prompt tokens where 2,000 were sent" in sentences["other_requests"]
        assert "wait until nobody else uses the server" in ended.stdout + ended.stderr


class Garbled(Bare):
    """As `Bare`, but behind something that answers any path with bytes of its own."""

    def do_GET(self):
        if self.path == "/v1/models":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"\xff{")
        return None


def test_an_api_whose_metrics_and_version_are_garbled_is_measured_without_them(tmp_path):
    with serving(Garbled) as url:
        ended = at(url, "engine.chat=true", "workload.ignore_eos=false", home=tmp_path)
    assert measured(ended, tmp_path), ended.stdout + ended.stderr
    assert recorded(tmp_path)[1].server["version"] == "unknown"


def test_an_api_without_metrics_and_version_is_measured_by_chat(tmp_path):
    with serving(Bare) as url:
        ended = at(url, "engine.chat=true", "workload.ignore_eos=false", home=tmp_path)
    assert measured(ended, tmp_path), ended.stdout + ended.stderr
    folder, record = recorded(tmp_path)
    said = {"version": "unknown", "engine": "unknown unknown", "max_model_len": None}
    assert {key: record.server[key] for key in said} == said
    assert not [key for key in record.metrics if key.startswith("server_")]
    assert "others_unknown" in [reason.code for reason in record.warnings]
    assert "VALID, other load cannot be told" in ended.stdout
    assert Requests.load(folder / REQUESTS).output_tokens.tolist() == [10] * 4


def test_a_key_that_a_refusal_repeats_is_struck_out(tmp_path):
    with serving(Bare) as url:
        ended = at(url, "engine.chat=true", "engine.api_key_env=THEIR_KEY", home=tmp_path, THEIR_KEY=KEY)
    assert ended.returncode == 1
    assert "a warm-up request failed: HTTP 400: Unrecognized request arguments" in ended.stdout
    assert "Bearer ***" in recorded(tmp_path)[1].failure.line
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


class Loading(Bare):
    """Lists its model, but is not ready for requests."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(503, {"error": {"message": "Loading model"}})


def test_a_server_that_lists_its_model_before_it_is_ready_is_asked_again_by_the_same_command(tmp_path):
    with serving(Loading) as url:
        ended = at(url, "engine.chat=true", home=tmp_path)
    assert ended.returncode == 1
    assert recorded(tmp_path)[1].failure.kind == "unreachable"
    assert "run the same command again to retry 1 run: a transient failure" in ended.stdout


def test_of_several_models_one_must_be_named(tmp_path):
    with serving(Two) as url:
        refused = at(url, home=tmp_path)
        named = at(
            url, "engine.served_model_name=small", "engine.chat=true", "workload.ignore_eos=false", home=tmp_path
        )
    assert refused.returncode == 2
    assert refused.stdout == ""  # before a session begins
    assert refused.stderr == f"vbench: engine.served_model_name: {url} lists large, small; name the one to measure\n"
    assert measured(named, tmp_path), named.stdout + named.stderr


def test_an_endpoint_that_does_not_answer_is_a_recorded_failure(tmp_path):
    ended = at("http://127.0.0.1:9", home=tmp_path)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stdout + ended.stderr
    failure = recorded(tmp_path)[1].failure
    assert failure.kind == "unreachable"
    assert failure.line == "http://127.0.0.1:9 does not answer: Connection refused"
    above, _, summary = ended.stdout.partition("\n\n")
    assert (above.count(failure.line), summary.count(failure.line)) == (1, 1)  # as it happens, and in the end


@pytest.mark.parametrize(
    ("words", "explained"),
    [
        ((), "engine.api_key_env=NAME sends it the key that the variable NAME holds"),
        (("engine.api_key_env=WRONG",), "it does not take the key in WRONG"),
    ],
)
def test_a_missing_and_a_wrong_key_are_recorded_failures_that_name_the_option(tmp_path, words, explained):
    with running("--require-key", KEY) as url:
        assert at(url, *words, home=tmp_path, WRONG="another-key").returncode == 1
    failure = recorded(tmp_path)[1].failure
    assert (failure.kind, failure.line) == (
        "engine_error",
        f"{url}/v1/models answers HTTP 401 Unauthorized; {explained}",
    )


@pytest.mark.parametrize(("status", "kind"), [(500, "engine_error"), (502, "unreachable"), (503, "unreachable")])
def test_a_server_that_is_not_ready_yet_is_a_transient_failure(status, kind):
    class Loading(Bare):
        def do_GET(self):
            self.answer(status, {})

    async def connected():
        async with external.connect(Engine(base_url=url), Readiness(60.0, 0.0, print)):
            pass

    with serving(Loading) as url, pytest.raises(ServerFailed, match=f"answers HTTP {status}") as failed:
        asyncio.run(connected())
    assert failed.value.kind == kind
    assert (kind in TRANSIENT) == (status != 500)


def test_a_server_that_dies_under_load_is_a_recorded_failure(tmp_path):
    with running("--fail", "die_after:3") as url:
        assert at(url, home=tmp_path).returncode == 1
    assert recorded(tmp_path)[1].failure.kind == "unreachable"


def test_tls_is_spoken(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True,
    )  # fmt: skip
    with running("--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)) as url:
        ended = at(url, home=tmp_path, SSL_CERT_FILE=str(certificate))
    assert measured(ended, tmp_path), ended.stdout + ended.stderr


def test_gpus_named_for_a_remote_server_are_a_label_and_not_looked_for_here(tmp_path):
    with running() as url:
        ended = at(url, "hardware=2xh100", home=tmp_path)
    assert measured(ended, tmp_path), ended.stdout + ended.stderr
    assert recorded(tmp_path)[1].name == "fake · 2xh100 · tp2 · n4"


REFUSALS = {
    ("engine.base_url=",): "engine.base_url='': must not be blank: give the address of the server, as http://host:8000",
    ("engine.base_url=host:8000",): "engine.base_url=host:8000: must be a server's address, as http://host:8000",
    ("engine.base_url=http://host:port",): "engine.base_url=http://host:port: must be a server's address",
    ("engine.base_url=http://me:pa55word@host",): "engine.base_url: a secret in a config would be recorded",
    (
        "engine.base_url=http://host",
        "engine.api_key_env=NOT_SET",
    ): "engine.api_key_env: NOT_SET is not set in the environment",
    ("engine=vllm", "engine.chat=true"): "engine.chat: describes an external server; give its engine.base_url too",
}


@pytest.mark.parametrize("words", REFUSALS, ids=" ".join)
def test_what_cannot_be_asked_is_refused_in_one_line(words, tmp_path):
    ended = vbench("engine=openai" if words[0] != "engine=vllm" else "hardware=cpu", *words, cwd=tmp_path)
    assert ended.returncode == 2
    assert REFUSALS[words] in ended.stderr
    assert "pa55word" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_with_and_without_v1_it_is_the_same_run(tmp_path):
    with running() as url:
        assert measured(at(url, home=tmp_path), tmp_path)
        again = at(f"{url}/v1", home=tmp_path)
    assert "1 of 1 points already recorded" in again.stdout
    assert np.isfinite(recorded(tmp_path)[1].metrics["output_throughput"])


def test_a_model_that_nobody_knows_names_the_run_by_the_servers_word(tmp_path):
    with running("--model", "org/some_model:v2") as url:
        ended = at(url, home=tmp_path)
    assert measured(ended, tmp_path), ended.stdout + ended.stderr
    folder, record = recorded(tmp_path)
    assert record.name == "org-some_model-v2 · remote · tp1 · n4"
    assert folder.parent.name.startswith("org-some_model-v2-remote-tp1-")
    assert "num_hidden_layers" not in record.config["model"]
    assert (record.config["model"]["weight_dtype"], record.server["prompt_vocab_size"]) == ("unknown", 32000)
    assert not {"mfu", "mbu", "pct_of_roofline"} & set(record.metrics)


def test_a_known_model_that_is_not_the_one_asked_for_is_refused(tmp_path):
    with running("--model", "Qwen/Qwen3-32B") as url:
        refused = at(url, home=tmp_path)
        named = at(url, "model=qwen3_32b", home=tmp_path)
    assert refused.returncode == 2
    said = f"vbench: model=tiny: {url} serves Qwen/Qwen3-32B, which is model=qwen3_32b; give that\n"
    assert (refused.stdout, refused.stderr) == ("", said)
    assert measured(named, tmp_path), named.stdout + named.stderr
    assert recorded(tmp_path)[1].name == "qwen3_32b · remote · tp1 · n4"


def asked(url, model=None, **engine):
    run = check_run(run_config(model=model or {}, engine={"base_url": url, "max_model_len": "auto", **engine}))
    return run, external.name_by_server(run, known_models)


def test_of_a_model_that_nobody_knows_nothing_is_recorded_but_its_names(monkeypatch):
    card = {"id": "prod", "root": "org/other-7b", "max_model_len": 1500}
    monkeypatch.setattr(external, "_ask_cards", lambda *_: {"prod": card})
    _, named = asked("http://host:1")
    stated = {"name": "prod", "hub_id": "org/other-7b"} | dict.fromkeys(
        ("architecture", "weight_dtype", "kv_cache_dtype"), "unknown"
    )
    assert effective_config(named)["model"] == stated
    assert from_plain(RunConfig, to_plain(named)) == named  # as a session's file holds it
    with pytest.raises(Refused, match=r"take 1700 tokens, but engine\.max_model_len=1500"):
        check_run(
            replace(named, workload=replace(named.workload, lengths=Lengths.random, input_len=1600, output_len=100))
        )
    card["max_model_len"] = None  # no limit is known, so none of another model holds
    _, named = asked("http://host:1")
    check_run(replace(named, workload=replace(named.workload, lengths=Lengths.random, input_len=90_000)))
    spread = Parallelism(tensor_parallel_size=2, enable_expert_parallel=True)
    two = replace(named, hardware=replace(named.hardware, gpus=2), parallelism=spread)
    assert not check_run(two).model.num_experts


def test_a_model_that_the_config_names_keeps_its_facts_and_its_key(monkeypatch):
    monkeypatch.setattr(external, "_ask_cards", lambda *_: {"prod": {"id": "prod", "root": "/models/x"}})
    run, named = asked("http://host:1", {"name": "theirs", "hub_id": "org/theirs"})
    assert named.model == replace(run.model, name="prod")
    monkeypatch.setattr(external, "_ask_cards", lambda *_: {"prod": {"id": "prod", "root": "org/theirs"}})
    run, named = asked("http://host:1", {"name": "theirs", "hub_id": "org/theirs"})
    assert named == run


def test_a_server_that_does_not_answer_from_here_is_not_taken_for_the_placeholder(monkeypatch):
    monkeypatch.setattr(external, "_ask_cards", lambda *_: {})
    assert asked("http://host:1", served_model_name="gpt")[1].model.hub_id == "gpt"
    assert asked("http://host:1")[1].model.is_unknown


def test_an_answer_that_fails_at_first_changes_neither_a_runs_name_nor_its_key(monkeypatch):
    class Waking(Bare):
        """Answers its first two requests of each kind with an error, as a proxy may."""

        left: typing.ClassVar = {"/v1/models": 2, "/version": 2}

        def do_GET(self):
            if self.left.get(self.path):
                self.left[self.path] -= 1
                self.answer(503, {})
            elif self.path == "/version":
                self.answer(200, {"version": "0.32.0"})
            else:
                super().do_GET()

    monkeypatch.setattr(asking, "PAUSE_S", 0.0)
    with serving(Waking) as url:
        assert asked(url)[1].model.name == "gpt"
        assert external.describe_engine(Engine(base_url=url)) == f"remote: {url}, unknown 0.32.0"
    assert set(Waking.left.values()) == {0}


def test_a_server_that_is_never_ready_holds_planning_up_once(monkeypatch):
    class Failing(Bare):
        asked = 0

        def do_GET(self):
            type(self).asked += 1
            self.answer(500, {})

    monkeypatch.setattr(asking, "PAUSE_S", 0.0)
    monkeypatch.setattr(asking, "AGAIN_S", 0.05)
    with serving(Failing) as url:
        assert asked(url)[1].model.is_unknown
        before = Failing.asked
        assert asked(url)[1].model.is_unknown
    assert Failing.asked == before > 1


@pytest.mark.parametrize(
    ("error", "again"),
    [(said(500), True), (said(503), True), (said(429), True), (aiohttp.ServerDisconnectedError(), True),
     (said(200), False), (said(404), False), (aiohttp.ClientConnectionError(), False), (asyncio.TimeoutError(), False)],
)  # fmt: skip
def test_planning_asks_again_where_a_server_is_there_and_answers_with_an_error(error, again):
    assert asking.is_moody(error) is again


def test_a_tokenizer_that_was_given_is_that_of_the_unknown_model(monkeypatch):
    monkeypatch.setattr(external, "_ask_cards", lambda *_: {"prod": {"id": "prod", "root": "org/other-7b"}})
    run, named = asked("http://host:1", {"hub_id": "/my/tokenizer"})
    assert (run.model.name, named.model.name, named.model.hub_id) == ("tiny", "prod", "/my/tokenizer")
    assert named.model.is_unknown


PAGE = 'vllm:request_success_total{finished_reason="length"} %d\n'


class Moody(Bare):
    """Has /metrics, which answers 503 for the first `sulks` times after each load."""

    sulks = 3  # telemetry's last sample is one
    sulking = 0
    served = 0

    def do_GET(self):
        kind = type(self)
        if self.path != "/metrics":
            super().do_GET()
        elif kind.sulking:
            kind.sulking -= 1
            self.answer(503, {"error": {"message": "busy"}})
        else:
            self.send_response(200)
            page = (PAGE % kind.served).encode()
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    def do_POST(self):
        super().do_POST()
        type(self).served += 1
        type(self).sulking = self.sulks


def test_a_scrape_that_fails_once_after_the_load_costs_no_run(tmp_path):
    with serving(Moody) as url:
        ended = at(url, "engine.chat=true", "workload.ignore_eos=false", home=tmp_path)
    _, record = recorded(tmp_path)
    assert record.failure is None, ended.stdout + ended.stderr
    assert record.metrics["server_requests_finished"] == record.metrics["completed"] == 4


class Mute(Moody):
    """Its /metrics answers 503 for good after its second reply: after the load, which one warm-up request precedes."""

    sulking = 0
    served = 0

    @property
    def sulks(self):
        return 1_000_000 if self.served > 1 else 0


def test_what_was_measured_is_kept_where_the_metrics_fail_for_good_after_the_load(tmp_path):
    words = ("engine.chat=true", "workload.ignore_eos=false", "launcher.retries=0")
    with serving(Mute) as url:
        ended = at(url, *words, home=tmp_path)
    assert ended.returncode == 1
    folder, record = recorded(tmp_path)
    assert record.failure.kind == "unreachable"
    said = f"{url}/metrics does not answer, asked again for 5 s: HTTP 503 "
    assert record.failure.line.startswith(said)
    assert record.metrics == {}  # no number without its checks
    kept = Requests.load(folder / REQUESTS)
    assert kept.output_tokens.tolist() == [10] * 4
    assert (folder / "telemetry.npz").exists()
