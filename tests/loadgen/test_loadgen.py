"""The load client against a real server in a process of its own: what is true there is what the columns say."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.fake_vllm import running
from vbench.loadgen import ClientLost, Endpoint, Load, Workers, choose_count
from vbench.schema.errors import Refused
from vbench.session.saturation import OverloadDetector

alone = pytest.mark.alone  # what another test does meanwhile could change the outcome
CALM_S, TRIES = 0.1, 8


@pytest.fixture(scope="module")
def one():
    with Workers(1) as workers:
        yield workers


@pytest.fixture(scope="module")
def two():
    with Workers(2) as workers:
        yield workers


def load(*urls, n=4, output_len=5, scheduled=None, limit=None, timeout_s=30.0, input_len=8, **endpoint):
    """A load of n requests; prompt i starts with token i."""
    return Load(
        endpoints=tuple(Endpoint(url, "fake", **endpoint) for url in urls),
        prompts=[np.arange(i, i + input_len, dtype=np.int32) for i in range(n)],
        output_len=np.broadcast_to(output_len, n).astype(np.int64),
        scheduled=np.zeros(n) if scheduled is None else np.asarray(scheduled, float),
        max_concurrency=limit,
        ignore_eos=True,
        timeout_s=timeout_s,
    )


def get(url):
    with urllib.request.urlopen(url) as reply:
        return reply.read().decode()


def counter(url, name):
    return float(re.search(rf"^{name}{{.*}} (.*)$", get(f"{url}/metrics"), re.MULTILINE)[1])


def undisturbed(send):
    """What `send` returns: requests, client, and what else. It is called again where the host stood still meanwhile,
    as late heartbeats of the client or a pause within a reply tell.
    """
    for _ in range(TRIES):
        requests, client, *more = send()
        replies = np.split(requests.chunk_times, requests.offsets[1:-1])
        pauses = [np.diff(times).max(initial=0.0) for times in replies]
        if max(client.loop_lag_max_s, *pauses) < CALM_S:
            break
    return requests, client, *more


@alone
def test_times_and_tokens_are_the_servers(one):
    def send():
        with running("--ttft-s", "0.3", "--itl-s", "0.02", "--stamp") as url:
            return *one.run(load(url, n=8, output_len=10)), json.loads(get(f"{url}/fake/stamps"))

    requests, client, stamps = undisturbed(send)
    assert requests.error.tolist() == [""] * 8
    assert requests.status.tolist() == [200] * 8
    assert requests.finish_reason.tolist() == ["length"] * 8
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist() == [8] * 8
    assert requests.output_tokens.tolist() == requests.asked_tokens.tolist() == [10] * 8
    assert requests.chunk_tokens.tolist() == [1] * 80
    left = np.array([stamps[str(i)] for i in range(8)]).ravel() / 1e9 - client.started_at_monotonic_s
    skew = requests.chunk_times - left
    assert (skew > 0).all()
    assert np.median(skew) < 0.02
    first, last = requests.chunk_times[requests.offsets[:-1]], requests.chunk_times[requests.offsets[1:] - 1]
    assert (first - requests.sent >= 0.3).all()
    assert (last - first >= 9 * 0.015).all()
    assert (requests.scheduled <= requests.sent).all()
    assert (requests.sent < requests.first_byte).all()
    assert (requests.first_byte < first).all()  # the head comes ahead of the first token
    assert (requests.finished >= last).all()


def test_the_client_tells_facts_of_itself(one):
    with running("--itl-s", "0.005") as url:
        seen = []
        _, client = one.run(
            load(url, n=4, output_len=150), tick=lambda progress: seen.append((progress.completed, progress.reads))
        )
    assert client.processes == 1
    assert 0 < client.busiest_cpu_share < 1.1
    assert client.cpu_s > 0
    assert 0 <= client.loop_lag_p99_s <= client.loop_lag_max_s
    assert 0 <= client.ttft_lag_p99_s <= client.loop_lag_max_s
    assert 0 < client.skew_p50_s <= client.skew_p99_s
    assert seen == sorted(seen)
    assert seen[-1][1] > 0


def test_progress_tells_how_long_replies_have_streamed_and_in_how_many_gaps(one):
    """From the first token on: waits and headers counted with it made the first seconds show 8.5 ms for 10."""
    with running("--ttft-s", "0.3", "--itl-s", "0.01") as url:
        told = []
        asked = load(url, n=5, output_len=[20, 40, 60, 150, 150], scheduled=[0.0, 0.1, 0.2, 0.5, 0.9])
        requests, _ = one.run(asked, tick=told.append)
    assert len(told) > 2
    first = requests.chunk_times[requests.offsets[:-1]]
    for progress in told:
        until = np.minimum(requests.finished, progress.elapsed_s)
        streamed = np.clip(until - first, 0, None).sum()
        assert progress.streaming_s == pytest.approx(streamed, abs=1e-6)
        came = requests.chunk_times <= progress.elapsed_s
        gaps = np.add.reduceat(came, requests.offsets[:-1]) - 1
        assert progress.gaps <= np.clip(gaps, 0, None).sum()  # chunks of one read are one
        assert progress.gaps <= progress.reads <= came.sum()


def test_requests_come_back_in_the_order_of_the_load_from_two_processes(two):
    lengths = [9, 2, 30, 4, 17, 1, 3]
    with running("--itl-s", "0.002") as url:
        requests, client = two.run(load(url, n=7, output_len=lengths, scheduled=[0.2, 0.1, 0, 0.3, 0, 0.1, 0]))
    assert client.processes == 2
    assert requests.output_tokens.tolist() == np.diff(requests.offsets).tolist() == lengths
    assert requests.scheduled.tolist() == [0.2, 0.1, 0, 0.3, 0, 0.1, 0]
    assert all((np.diff(chunks) >= 0).all() for chunks in np.split(requests.chunk_times, requests.offsets[1:-1]))


def test_merged_tokens_are_all_counted(one):
    with running("--tokens-per-chunk", "3") as url:
        requests, _ = one.run(load(url, n=1, output_len=10))
    assert requests.output_tokens.tolist() == [10]
    assert requests.chunk_tokens.tolist() == [3, 2, 3, 2]


def test_merged_tokens_are_known_a_chunk_where_the_server_counts_them(one):
    with running("--tokens-per-chunk", "3", "--enable-force-include-usage") as url:
        requests, _ = one.run(load(url, n=1, output_len=10))
    assert requests.chunk_tokens.tolist() == [3, 3, 3, 1]


def test_a_chat_is_streamed_too(one):
    with running() as url:
        requests, _ = one.run(load(url, n=3, chat=True))
    assert requests.error.tolist() == [""] * 3
    assert np.diff(requests.offsets).tolist() == requests.output_tokens.tolist() == [5, 5, 5]


def test_a_prompt_larger_than_a_sockets_buffer_arrives(one):
    with running("--max-model-len", "1000000", "--kv-cache-tokens", "1000000") as url:
        requests, _ = one.run(load(url, n=2, input_len=900_000))
        assert counter(url, "vllm:prompt_tokens_total") == 1_800_000
    assert requests.error.tolist() == ["", ""]


@pytest.mark.parametrize(
    ("kind", "error", "status", "tokens"),
    [
        ("http_500", "HTTP 500: EngineCore encountered an issue.", 500, 0),
        ("error_event", "EngineCore encountered an issue.", 200, 5),
        ("early_close", "the connection closed in mid-reply", 200, 5),
        ("empty_reply", "", 200, 0),
        ("short_reply", "", 200, 5),
    ],
)
def test_a_failed_request_is_data(one, kind, error, status, tokens):
    with running("--fail", kind) as url:
        requests, _ = one.run(load(url, n=3, output_len=10))
    assert requests.error.tolist() == [error] * 3
    assert requests.status.tolist() == [status] * 3
    assert requests.output_tokens.tolist() == np.diff(requests.offsets).tolist() == [tokens] * 3


def test_a_reply_without_tokens_has_no_chunks_but_a_first_byte(one):
    with running("--fail", "empty_reply") as url:
        requests, _ = one.run(load(url, n=1))
    assert requests.offsets.tolist() == [0, 0]
    assert np.isfinite(requests.first_byte).all()


@alone
def test_a_server_that_dies_leaves_what_it_had_sent(one):
    with running("--fail", "die_after:2") as url:
        requests, _ = one.run(load(url, n=5, output_len=[3, 3, 50, 50, 50]))
    assert requests.error[:2].tolist() == ["", ""]
    assert all("connection" in error for error in requests.error[2:])
    assert np.isfinite(requests.finished).all()


def test_a_server_that_is_not_there_is_an_error_of_each_request(one):
    with running() as url:
        pass
    requests, _ = one.run(load(url, n=3))
    assert all(error.startswith("cannot connect: ") for error in requests.error)
    assert np.isnan(requests.sent).all()
    assert requests.status.tolist() == [0] * 3


def hang_up_at_once(listening):
    """Resets each connection as it comes, as a server does that has no more open files (libuv's way out)."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def test_a_server_that_closes_connections_as_they_come_fails_each_request_and_keeps_none_waiting(one):
    """A request sent on a connection whose loss had been told before was awaited until the load's time limit."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listening:
        threading.Thread(target=hang_up_at_once, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        requests, _ = one.run(load(url, n=300))
        listening.shutdown(socket.SHUT_RDWR)
    assert (requests.error != "").all()
    assert "timeout" not in requests.error


def test_an_unknown_host_is_an_error_of_each_request(one):
    requests, _ = one.run(load("http://nowhere.invalid:8000", n=2))
    assert all(error.startswith("cannot connect: ") for error in requests.error)


def test_the_api_key_is_sent(one):
    with running("--require-key", "secret") as url:
        with_key, _ = one.run(load(url, n=1, api_key="secret"))
        without, _ = one.run(load(url, n=1))
    assert with_key.error.tolist() == [""]
    assert without.error.tolist() == ["HTTP 401: Unauthorized"]


def test_the_prompts_beyond_the_servers_context_are_refused_in_its_words(one):
    with running("--max-model-len", "10") as url:
        requests, _ = one.run(load(url, n=1))
    assert requests.error[0].startswith("HTTP 400: This model's maximum context length is 10 tokens.")


@alone
@pytest.mark.parametrize("limit", [1, 3])
def test_concurrency_is_limited_over_all_processes(two, limit):
    with running("--itl-s", "0.005") as url:
        requests, _ = undisturbed(lambda: two.run(load(url, n=12, limit=limit)))
        assert counter(url, "fake:most_requests_in_flight") == limit
    assert requests.error.tolist() == [""] * 12


@alone
def test_a_rate_and_a_limit_hold_together(one):
    with running("--ttft-s", "0.2") as url:
        requests, _ = one.run(load(url, n=6, limit=2, scheduled=np.arange(6) * 0.01))
        assert counter(url, "fake:most_requests_in_flight") == 2
    assert requests.sent[5] > requests.finished[:4].max()  # it waited, and that is told
    assert requests.scheduled[5] == 0.05


def test_sends_are_not_delayed_by_a_slow_server(one, tmp_path):
    """It answers none before all were sent, however long a busy host takes for that."""
    (hold := tmp_path / "hold").touch()
    with running("--hold", str(hold)) as url:
        asked = load(url, n=20, scheduled=np.arange(20) * 0.01)
        requests, _ = one.run(asked, tick=lambda progress: progress.in_flight < 20 or hold.unlink(missing_ok=True))
    assert requests.error.tolist() == [""] * 20
    assert (requests.sent >= requests.scheduled).all()
    assert requests.sent.max() < requests.chunk_times.min()


@alone
def test_connections_are_opened_ahead_for_requests_that_come_later(one):
    def send():
        with running() as url:
            asked = load(url, n=4, scheduled=[0, 1.6, 1.6, 1.6])
            return *one.run(asked), counter(url, "fake:connections_total")

    requests, _, opened = undisturbed(send)
    assert opened <= 6  # none twice, beside those that ask for the counters
    assert requests.error.tolist() == [""] * 4


def test_a_server_that_is_slow_to_connect_is_waited_for(one):
    with running() as url, socket.create_server(("127.0.0.1", 0), backlog=0) as door:
        host, port = door.getsockname()
        with socket.create_connection((host, port)):  # it fills the backlog
            relay = threading.Timer(1.0, relay_the_second, (door, urlsplit(url).port))
            relay.start()
            requests, _ = one.run(load(f"http://{host}:{port}", n=1))
            relay.join()
    assert requests.error.tolist() == [""]
    assert requests.output_tokens.tolist() == [5]


def relay_the_second(door, port):
    """Lets in whoever waits, and carries one reply of the server to the second of them."""
    first, second = (door.accept()[0] for _ in range(2))
    with first, second, socket.create_connection(("127.0.0.1", port)) as server:
        server.sendall(second.recv(65536))
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received = server.recv(65536)
            second.sendall(received)


def test_a_connection_is_used_again(one):
    with running("--itl-s", "0.002") as url:
        one.run(load(url, n=10, limit=1))
        assert counter(url, "fake:connections_total") == 2  # the other asks for the counter


@alone
def test_two_endpoints_share_the_load(two):
    with running() as first, running() as second:
        requests, _ = two.run(load(first, second, n=10, output_len=20))
        assert counter(first, "fake:requests_total") == counter(second, "fake:requests_total") == 5
    assert np.bincount(requests.replica).tolist() == [5, 5]


def test_the_endpoint_with_fewer_in_flight_comes_first(one):
    with running("--ttft-s", "2") as slow, running("--itl-s", "0.002") as quick:
        requests, _ = one.run(load(slow, quick, n=20, output_len=1, limit=4))
        assert counter(quick, "fake:requests_total") > counter(slow, "fake:requests_total")
    assert requests.error.tolist() == [""] * 20


@alone
def test_the_time_limit_ends_what_is_open_and_what_was_never_sent(one):
    with running("--ttft-s", "100") as url:
        requests, _ = undisturbed(lambda: one.run(load(url, n=4, limit=3, timeout_s=0.5)))
        while counter(url, "vllm:num_requests_running"):  # the server is rid of them without another run
            time.sleep(0.05)
    assert requests.error.tolist() == ["timeout"] * 4
    assert np.isnan(requests.sent).tolist() == [False, False, False, True]
    assert np.isnan(requests.finished).tolist() == [False, False, False, True]


@alone
def test_a_load_that_outgrows_its_server_is_broken_off(two):
    with running("--itl-s", "0.01", "--max-num-seqs", "4") as url:
        asked = load(url, n=4000, output_len=10, scheduled=np.arange(4000) / 100)

        def send():
            overload = OverloadDetector(ttft_limit_s=0.2)
            return *two.run(asked, enough=lambda progress: "ended early" * overload(progress)), overload

        requests, _, overload = undisturbed(send)
        while counter(url, "vllm:num_requests_running"):
            time.sleep(0.05)
    served = requests.error == ""
    assert 0 < served.sum() < 4000
    assert set(requests.error[~served]) == {"ended early"}
    never = np.isnan(requests.sent)
    assert never.any()
    assert (requests.scheduled[never] >= overload.at_s).all()  # the word came later than what it is about
    assert (requests.output_tokens[served] == 10).all()


def test_progress_tells_when_each_request_was_sent_and_answered(two):
    seen = []
    lengths = [180] * 2 + [50] * 28  # the first of each process lasts until all others have been told of
    with running("--itl-s", "0.03", "--ttft-s", "0.2") as url:
        asked = load(url, n=30, output_len=lengths, scheduled=np.arange(30) / 20)
        requests, _ = two.run(asked, enough=seen.append)
    assert max(each.in_flight for each in seen) > 10
    told = sorted(answer for each in seen for answer in each.answered)
    order = np.argsort(requests.sent)  # on a busy host one process may send later than the other
    assert [sent for sent, _ in told] == pytest.approx(requests.sent[order].tolist())
    arrivals = np.split(requests.chunk_times, requests.offsets[1:-1])
    for (sent, waited), place in zip(told, order, strict=True):  # on a busy host the head may come with a token
        assert np.abs(arrivals[place] - (sent + waited)).min() < 1e-6


@alone
def test_progress_tells_of_each_request_that_ended_and_of_the_oldest_that_has_not(two):
    lengths = [20] * 28 + [150] * 2  # the last of each process lasts until all others have been told of
    with running("--itl-s", "0.02", "--ttft-s", "0.1") as url:

        def send():
            seen = []
            asked = load(url, n=30, output_len=lengths, scheduled=np.arange(30) / 10)
            return *two.run(asked, enough=seen.append), seen

        requests, _, seen = undisturbed(send)
    ended = [each for progress in seen for each in progress.ended]
    order = np.argsort(requests.sent)  # on a busy host one process may send later than the other
    places = order[np.searchsorted(requests.sent[order], [each.sent_s - 1e-6 for each in ended])].tolist()
    assert {*range(28)} <= {*places}
    assert len({*places}) == len(ended)
    assert [each.sent_s for each in ended] == pytest.approx(requests.sent[places].tolist())
    assert [each.sent_s + each.e2el_s for each in ended] == pytest.approx(requests.finished[places].tolist())
    assert [(each.asked_tokens, each.succeeded) for each in ended] == [(lengths[place], True) for place in places]
    assert all(0.1 <= each.ttft_s < each.e2el_s for each in ended)
    reported = [set() for _ in seen]
    for index, progress in enumerate(seen):
        reported[index] = reported[index - 1] | {each.sent_s for each in progress.ended}
        older = requests.sent[requests.sent < progress.oldest_open_s]
        assert {*np.round(older, 6)} <= {*np.round([*reported[index]], 6)}
    assert max(each.oldest_open_s for each in seen) > 1.5
    newest = {each.newest_open_s for each in seen if each.newest_open_s not in (0.0, np.inf)}
    assert len(newest) > 1
    assert {*np.round([*newest], 6)} <= {*np.round(requests.sent, 6)}


@alone
@pytest.mark.parametrize("scheduled", [None, (np.arange(400) + 0.5) / 40])
def test_nothing_is_sent_once_the_duration_is_over_and_what_is_in_flight_is_awaited(two, scheduled):
    with running("--itl-s", "0.02", "--ttft-s", "0.1") as url:
        asked = load(url, n=400, output_len=20, limit=None if scheduled is not None else 8, scheduled=scheduled)
        requests, _ = undisturbed(lambda: two.run(dataclasses.replace(asked, sending_s=1.2)))
    sent = requests.error != "not sent"
    assert 10 < sent.sum() < 100
    assert set(requests.error[sent]) == {""}
    assert (requests.sent[sent] <= 1.21).all()  # the timer may fire some milliseconds late
    assert requests.finished[sent].max() > 1.2
    assert np.isnan(requests.sent[~sent]).all()
    kept = requests.select(sent)
    assert len(kept) == sent.sum()
    assert (kept.output_tokens == 20).all()
    assert kept.offsets[-1] == len(kept.chunk_times) == requests.offsets[-1]


def test_the_word_to_break_off_may_come_when_a_process_is_done(two):
    with running("--itl-s", "0.01") as url:
        asked = load(url, n=2, output_len=[2, 2000])
        # the other's reply takes 20 s
        requests, _ = two.run(asked, enough=lambda progress: "ended early" * (progress.elapsed_s > 4))
        assert requests.error.tolist() == ["", "ended early"]
        requests, _ = two.run(load(url))
    assert requests.error.tolist() == [""] * 4


def test_the_workers_go_on_after_a_run_that_failed(one):
    with running("--ttft-s", "100") as url:
        one.run(load(url, timeout_s=0.2))
    with running() as url:
        requests, _ = one.run(load(url))
    assert requests.error.tolist() == [""] * 4


def test_tls_is_spoken_and_its_certificate_verified(tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    with running("--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)) as url:
        assert url.startswith("https://")
        with Workers(1) as strangers:
            requests, _ = strangers.run(load(url, n=2))
            assert all("certificate" in error for error in requests.error)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with Workers(1) as friends:
            requests, _ = friends.run(load(url, n=2, input_len=100_000))
    assert requests.error.tolist() == ["", ""]
    assert requests.output_tokens.tolist() == [5, 5]


def test_a_load_process_that_dies_is_an_exception():
    with running("--itl-s", "0.05") as url, Workers(2) as workers:
        victim = workers._workers[1].process
        with pytest.raises(ClientLost, match=str(victim.pid)):
            workers.run(load(url, output_len=100), tick=lambda *_: victim.kill())


def test_signals_to_the_job_are_left_to_the_parent(two):
    for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        two._workers[0].process.send_signal(sent)
    with running() as url:
        requests, _ = two.run(load(url))
    assert requests.error.tolist() == [""] * 4


def test_a_load_process_ends_with_its_parent():
    code = (
        "import os; from vbench.loadgen import Workers; w = Workers(1).__enter__(); "
        "print(w._workers[0].process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.communicate()[0])
    for _ in range(1200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
            return  # ended; whoever inherited it has not asked
        time.sleep(0.05)
    pytest.fail("it still runs")


def test_more_streams_than_files_are_refused_before_anything_is_sent(one):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running() as url:
        many = load(url, n=most, input_len=1)
        with pytest.raises(Refused, match="max_concurrency"):
            one.run(many)
        assert counter(url, "fake:requests_total") == 0


def test_a_load_of_nothing_is_refused(one):
    with pytest.raises(Refused, match="num_prompts"):
        one.run(load("http://127.0.0.1:1", n=0))


def test_a_load_process_imports_nothing_heavy():
    heavy = {"torch", "vllm", "mlflow", "hydra", "omegaconf", "pandas", "matplotlib", "aiohttp", "rich", "submitit"}
    code = "import sys, vbench.loadgen.worker; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not heavy & set(loaded)


def test_a_load_may_be_borne_by_fewer_processes_than_there_are(two):
    with running() as url:
        _, client = two.run(dataclasses.replace(load(url), processes=1))
        assert client.processes == 1
        _, client = two.run(dataclasses.replace(load(url), processes=9))
    assert client.processes == 2


def test_processes_by_streams_and_cores():
    assert choose_count(streams=10, cores=1) == 1
    assert choose_count(streams=10, cores=64) == 1
    assert choose_count(streams=5000, cores=2) == 1
    assert choose_count(streams=5000, cores=64) > 1
