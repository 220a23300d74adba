import numpy as np
import pytest
from builders import requests
from hypothesis import given
from hypothesis import strategies as st

from vbench.metrics.definitions import in_flight, latencies, metrics

REPLIES = st.lists(
    st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(1, 5)), max_size=8), min_size=1, max_size=8
).map(
    lambda replies: [
        [(sum(gap for gap, _ in reply[: i + 1]), n) for i, (_, n) in enumerate(reply)] for reply in replies
    ]
)


def test_each_latency_follows_its_definition():
    found = latencies(requests([(0.5, 1), (0.6, 1), (0.9, 1)], sent=[0.1]))
    assert found.ttft == pytest.approx([0.4])
    assert found.e2el == pytest.approx([0.8])
    assert found.tpot == pytest.approx([0.2])
    assert found.itl == pytest.approx([0.1, 0.3])


def test_a_chunk_of_several_tokens_shares_its_gap_among_them():
    found = latencies(requests([(1.0, 1), (1.4, 4)]))
    assert found.itl == pytest.approx([0.1] * 4)
    assert found.chunk_gap == pytest.approx([0.4])


def test_a_reply_of_one_token_has_no_tpot_and_no_itl():
    found = metrics(requests([(1.0, 1)]))
    assert found["median_ttft_ms"] == pytest.approx(1000)
    assert not any("tpot" in key or "itl" in key for key in found)


def test_a_reply_without_a_token_is_counted_apart_and_never_a_ttft_of_zero():
    found = metrics(requests([], [(2.0, 1), (3.0, 1)]))
    assert found["empty"] == 1
    assert found["mean_ttft_ms"] == pytest.approx(2000)


def test_failed_requests_count_for_nothing_but_themselves():
    found = metrics(requests([(1.0, 5)], [(9.0, 7)], error=np.array(["", "http 500"])))
    assert (found["completed"], found["failed"], found["total_output_tokens"]) == (1, 1, 5)
    assert found["median_ttft_ms"] == pytest.approx(1000)


def test_a_run_in_which_all_failed_has_counts_and_no_throughput():
    found = metrics(requests([], error=np.array(["refused"]), sent=[np.nan], finished=np.array([np.nan])))
    assert found["failed"] == 1
    assert "output_throughput" not in found


def test_throughput_is_tokens_from_the_first_send_to_the_last_finish():
    found = metrics(requests([(1.0, 10)], [(3.0, 20)], sent=[0.5, 1.0]))
    assert found["duration"] == pytest.approx(2.5)
    assert found["output_throughput"] == pytest.approx(30 / 2.5)
    assert found["total_token_throughput"] == pytest.approx(46 / 2.5)


def test_the_steady_window_leaves_out_the_tail_of_one_long_reply():
    steady = [[(t / 10, 1) for t in range(1, 11)] for _ in range(9)]
    found = metrics(requests(*steady, [(t / 10, 1) for t in range(1, 101)]))
    assert found["max_concurrent_requests"] == 10
    assert found["steady_duration"] == pytest.approx(1.0)
    assert found["steady_output_throughput"] == pytest.approx(100)
    assert found["output_throughput"] == pytest.approx(19)


def test_in_flight_counts_a_request_that_ends_as_another_starts_once():
    _, counts = in_flight(requests([(1.0, 1)], [(2.0, 1)], sent=[0.0, 1.0]))
    assert counts.max() == 1


@given(REPLIES)
def test_no_token_is_lost_between_the_columns_and_the_samples(replies):
    made = requests(*replies)
    found = latencies(made)
    answered = [reply for reply in replies if reply]
    assert len(found.ttft) == len(answered)
    assert len(found.itl) == sum(n for reply in answered for _, n in reply[1:])
    assert found.itl.sum() == pytest.approx(sum(reply[-1][0] - reply[0][0] for reply in answered), abs=1e-6)
    assert all(np.isfinite(value) for value in metrics(made).values())
