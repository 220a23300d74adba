"""No odd stream gives a VALID run with a wrong number: each scenario of tests/odd_server.py through the load client.

A scenario takes half a second in which nearly nothing happens, so four are measured at a time.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import odd_server
import pytest
from builders import run_config
from odd_server import ITL_S, TTFT_S

from vbench.loadgen import Endpoint, Load, Workers
from vbench.metrics.definitions import metrics
from vbench.metrics.validity import judge

pytestmark = pytest.mark.alone
TOKENS, REQUESTS = 12, 4
AT_ONCE = 4  # scenarios
ATTEMPTS = 5  # a busy host may be late once; what is counted wrongly is wrong each time
HIDDEN = TTFT_S + TOKENS // 2 * ITL_S  # when the first visible token comes

# What each scenario that is no measurement is INVALID for: a reason's code, and words of its sentence.
INVALID = {
    "abort_empty": ("failed_requests", "finish reason abort"),
    "stop_empty": ("no_tokens", "none of 4"),
    "aborted": ("failed_requests", "finish reason abort"),
    "finish_error": ("failed_requests", "finish reason error"),
    "error_midstream": ("failed_requests", "upstream timed out"),
    "error_event_type": ("failed_requests", "engine was lost"),
    "error_event_in_words": ("failed_requests", "engine was lost"),
    "error_without_its_key": ("failed_requests", "engine was lost"),
    "error_200_json": ("failed_requests", "no stream of events: model overloaded"),
    "a_page": ("failed_requests", "no stream of events: <html>Sign in"),
    "compressed": ("failed_requests", "compressed (gzip)"),
    "moved": ("failed_requests", "HTTP 307: moved to https://elsewhere/v1"),
    "loading": ("failed_requests", "HTTP 503: Loading model"),
    "early_close": ("failed_requests", "closed in mid-reply"),
    "stops_in_mid_stream": ("failed_requests", "neither a finish reason nor [DONE]"),
    "done_without_a_finish_reason": ("failed_requests", "no finish reason"),
    "usage_missing_and_merged": ("failed_requests", "no usage"),
    "usage_now_and_then": ("failed_requests", "no usage at the end"),
    "usage_null_at_the_end": ("failed_requests", "no usage"),
    "usage_of_each_chunk": ("failed_requests", "counted 1 tokens in 12 chunks"),
    "usage_of_nothing": ("failed_requests", "counted 0 tokens in 12 chunks"),
    "usage_tenfold": ("failed_requests", "counted 120 tokens where max_tokens was 12"),
    "coalesced": ("buffered_replies", "throughput and E2EL stand"),
    "coalesced_by_three": ("buffered_replies", "73% of chunks"),
    "one_event": ("buffered_replies", "100% of replies came whole"),
    "one_event_behind_an_empty_one": ("buffered_replies", "100% of replies came whole"),
    "burst_at_the_end": ("buffered_replies", "TTFT, TPOT and ITL do not"),
}
RIGHT = odd_server.SCENARIOS.keys() - INVALID.keys()


@pytest.fixture(scope="module")
def server():
    with odd_server.running() as url:
        yield url


@pytest.fixture(scope="module")
def workers():
    with Workers(1) as workers:
        yield workers


@pytest.fixture(scope="module")
def first(server):
    """The first measurement of each scenario, by name."""
    idle = queue.SimpleQueue()

    def measure(name):
        taken = idle.get()
        try:
            return measured(taken, server, name)
        finally:
            idle.put(taken)

    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(AT_ONCE):
            idle.put(stack.enter_context(Workers(1)))
        return dict(zip(odd_server.SCENARIOS, pool.map(measure, odd_server.SCENARIOS), strict=True))


def measured(workers, server, name):
    load = Load(
        endpoints=(Endpoint(f"{server}/{name}", "odd", chat=True),),
        prompts=[np.arange(8, dtype=np.int32)] * REQUESTS,
        output_len=np.full(REQUESTS, TOKENS),
        scheduled=np.zeros(REQUESTS),
        max_concurrency=None,
        ignore_eos=False,
        timeout_s=30.0,
    )
    requests, _ = workers.run(load)
    found = metrics(requests)
    lagging = {"client_loop_lag_p99_s": 0.0004}  # little, but more than a median ITL of nothing
    return found, judge(requests, run_config(workload={"ignore_eos": False}).workload, found | lagging)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_what_is_right_is_measured_as_it_is(first, workers, server, name):
    true_ttft = pytest.approx(HIDDEN if name == "reasoning_hidden" else TTFT_S, abs=ITL_S * 0.7)
    true_itl = pytest.approx(ITL_S, rel=0.2)
    true = {"median_ttft_ms": true_ttft, "median_itl_ms": true_itl}
    if "merged" not in name:  # of merged tokens the last ones' time is not known
        true["median_tpot_ms"] = true_itl
    found, judged = first[name]
    for _ in range(ATTEMPTS - 1):
        if not judged.invalid and all(found[key] / 1e3 == value for key, value in true.items()):
            break
        found, judged = measured(workers, server, name)
    assert not judged.invalid
    assert found["total_output_tokens"] == REQUESTS * TOKENS
    assert {key: found[key] / 1e3 for key in true} == true
    assert ("hidden_tokens" in [each.code for each in judged.warnings]) == (name == "reasoning_hidden")


@pytest.mark.parametrize("name", sorted(INVALID))
def test_what_is_no_measurement_says_why_and_nothing_else(first, name):
    _, judged = first[name]
    code, words = INVALID[name]
    assert [reason.code for reason in judged.invalid] == [code]
    assert words in judged.invalid[0].sentence
