"""Measures vbench's load client at its limits: long prompts, many idle streams, a quick start, many sends a second.

    python benchmarks/load_limits.py

Each case runs against a server with known timing (tests/fake_vllm.py), with one load process.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.fake_vllm import running  # noqa: E402  the checkout is the package
from vbench.loadgen import Client, Endpoint, Load, Workers  # noqa: E402
from vbench.schema.record import Requests  # noqa: E402


def send(
    workers: Workers, url: str, count: int, input_len: int, scheduled: np.ndarray
) -> tuple[Requests, Client, float]:
    """Runs a load of two tokens a request; also returns the seconds from the call to the start of the load's clock."""
    load = Load(
        endpoints=(Endpoint(url, "fake"),),
        prompts=[np.arange(index, index + input_len, dtype=np.int32) for index in range(count)],
        output_len=np.full(count, 2),
        scheduled=scheduled,
        max_concurrency=None,
        ignore_eos=True,
        timeout_s=120,
    )
    called = time.perf_counter()
    requests, client = workers.run(load)
    return requests, client, client.started_at_monotonic_s - called


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"


def quick_start(workers: Workers) -> None:
    """The time from the call to the first request with 1,280 prompts of 300 tokens; it should be at most a second."""
    with running() as url:
        requests, _, prepared_s = send(workers, url, 1280, 300, np.zeros(1280))
    print(f"1,280 prompts: first request {ms(prepared_s + requests.sent.min())} after the call,")
    print(f"    last {ms(np.ptp(requests.sent))} after the first; {ok(requests)}")


def long_prompts(workers: Workers) -> None:
    """How late prompts of 50,000 tokens are sent at ten a second."""
    with running("--itl-s", "0.001") as url:
        requests, _, prepared_s = send(workers, url, 40, 50_000, np.arange(40) * 0.1)
    late = requests.sent - requests.scheduled
    print(f"40 prompts of 50,000 tokens, 10 a second: prepared in {ms(prepared_s)};")
    print(f"    sent late by p50 {ms(np.median(late))}, at most {ms(late.max())}; {ok(requests)}")


def idle_streams(workers: Workers) -> None:
    """How long it takes to open 10,000 streams at once; their first token comes after 15 s."""
    with running("--ttft-s", "15") as url:
        requests, client, prepared_s = send(workers, url, 10_000, 16, np.zeros(10_000))
    together = (requests.finished > requests.sent.max()).sum()
    print(f"{together:,} streams open together: prepared and connected in {ms(prepared_s)},")
    print(f"    sent within {ms(np.ptp(requests.sent))}; {client.cpu_s:.2f} CPU s; {ok(requests)}")


def send_accuracy(workers: Workers) -> None:
    """How late requests are sent at 1,000 a second, at random times."""
    with running() as url:
        scheduled = np.sort(np.random.default_rng(0).uniform(0, 4, 4000))
        requests, _, _ = send(workers, url, 4000, 64, scheduled)
    late = requests.sent - requests.scheduled
    print(f"1,000 sends a second: late by p50 {ms(np.median(late))}, p99 {ms(np.percentile(late, 99))}; {ok(requests)}")


def ok(requests: Requests) -> str:
    failed = requests.error[requests.error != ""]
    return f"{len(failed):,} failed" + (f": {failed[0]}" if len(failed) else "")


if __name__ == "__main__":
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # the server inherits the limit
    with Workers(1) as one:
        for case in (quick_start, long_prompts, send_accuracy, idle_streams):
            case(one)
