from dataclasses import replace

import numpy as np
import pytest
from builders import requests
from hypothesis import given
from hypothesis import strategies as st

from vbench.metrics.definitions import in_flight, is_measured, latencies, metrics
from vbench.metrics.goodput import goodput
from vbench.metrics.steady import steady_metrics

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
    found = metrics(requests(*steady, [(t / 10, 1) for t in range(1, 101)], [(1.1, 1)], sent=[0.0] * 10 + [1.0]))
    assert found["peak_concurrent_requests"] == 10
    assert found["steady_duration"] == pytest.approx(1.0)
    assert found["steady_output_throughput"] == pytest.approx(100)
    assert found["output_throughput"] == pytest.approx(19.1)


def test_a_load_sent_all_at_once_has_no_steady_throughput():
    found = metrics(requests([(1.0, 1), (2.0, 1)], [(1.0, 1), (3.0, 1)], sent=[0.0, 0.9]))
    assert found["peak_concurrent_requests"] == 2
    assert not {"steady_duration", "steady_output_throughput"} & set(found)


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


def spread(n, few):
    """n requests sent at 0, of which `few` end after 1 s and the others after 2 s; then one more is sent."""
    replies = [[(1.0, 1)] for _ in range(few)] + [[(1.0, 1), (2.0, 1)] for _ in range(n - few)] + [[(2.1, 1)]]
    return requests(*replies, sent=[0.0] * n + [2.0])


@pytest.mark.parametrize(("ended", "window_s"), [(10, 2.0), (11, 1.0)])
def test_the_steady_window_lasts_while_nine_tenths_of_the_peak_are_in_flight(ended, window_s):
    assert metrics(spread(100, ended))["steady_duration"] == window_s


def test_the_steady_window_counts_chunks_after_its_start_up_to_its_end_of_replies_that_succeeded():
    found = metrics(requests([(1.0, 5), (2.0, 1)], [(2.0, 1)], [(2.1, 1)], sent=[0.0, 1.0, 2.0]))
    assert (found["steady_duration"], found["steady_output_throughput"]) == (1.0, 2.0)
    errors = np.array(["", "reset", ""])
    failed = requests([(1.0, 5), (2.0, 1)], [(2.0, 1)], [(2.1, 1)], sent=[0.0, 1.0, 2.0], error=errors)
    assert metrics(failed)["steady_output_throughput"] == 1.0


def test_each_statistic_is_that_of_numpy_in_milliseconds():
    found = metrics(requests(*([(ms / 1e3, 1)] for ms in range(101))))
    shapes = ("mean", "median", "p90", "p95", "p99")
    assert [found[f"{shape}_ttft_ms"] for shape in shapes] == pytest.approx([50, 50, 90, 95, 99])
    assert found["std_ttft_ms"] == pytest.approx(((101**2 - 1) / 12) ** 0.5)


def test_the_duration_lasts_until_the_last_request_ended_failed_ones_included():
    found = metrics(requests([(1.0, 10)], [(9.0, 7)], error=np.array(["", "reset"])))
    assert found["duration"] == 9.0
    assert found["request_throughput"] == pytest.approx(1 / 9)
    assert found["total_token_throughput"] == pytest.approx((10 + 8) / 9)


def test_queue_time_is_from_the_schedule_to_the_send_of_requests_that_succeeded():
    made = requests([(1.0, 1)], [(1.0, 1)], scheduled=np.array([-0.25, -9.0]), error=np.array(["", "reset"]))
    assert metrics(made)["mean_queue_ms"] == pytest.approx(250)


def test_a_request_that_was_never_sent_is_not_in_flight():
    _, counts = in_flight(requests([(1.0, 1)], [], sent=[0.0, np.nan], finished=np.array([1.0, np.nan])))
    assert counts.tolist() == [1, 0]


def test_the_servers_count_of_prompt_tokens_is_a_key_of_its_own_where_it_tells_all():
    replies = [(1.0, 1), (1.5, 1)], [(1.0, 1), (2.0, 2)]
    told = metrics(requests(*replies, usage_input_tokens=np.array([28, 30])))
    assert (told["total_input_tokens"], told["usage_input_tokens"]) == (16, 58)
    assert "usage_input_tokens" not in metrics(requests(*replies, usage_input_tokens=np.array([28, 0])))
    assert "usage_input_tokens" not in metrics(requests(*replies))  # an older file


def test_requests_of_the_warm_up_are_not_measured():
    made = requests(
        [(1.0, 1)], [(3.0, 1)], [(4.0, 2)], [], sent=[0.0, 1.999, 2.0, np.nan], finished=np.array([1, 3, 4, np.nan])
    )
    assert is_measured(made, 2.0).tolist() == [
        False,
        False,
        True,
        True,
    ]  # one that was never sent has failed, and counts
    assert is_measured(made, None).all()


@given(REPLIES, st.data())
def test_selected_requests_keep_their_chunks(replies, data):
    made = requests(*replies)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made))), bool)
    chosen = made.select(kept)
    again = requests(*(reply for reply, keep in zip(replies, kept, strict=True) if keep)) if kept.any() else None
    assert len(chosen) == kept.sum()
    if again is not None:
        assert metrics(chosen) == metrics(again)


def warmed_up():
    """A server that serves two streams at 10 tokens a second each throughout; of its five replies, two began at 1 s.

    Until 3 s it is still busy with the longest of those before them.
    """
    spans = [(0.0, 3.0), (0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 3.0)]
    replies = [[(begin + tick / 10, 1) for tick in range(1, round(10 * (end - begin)) + 1)] for begin, end in spans]
    return requests(*replies, sent=[begin for begin, _ in spans])


def test_rates_after_a_warm_up_have_what_the_server_still_did_for_it():
    made = warmed_up()
    counted = is_measured(made, 1.0)
    found = metrics(made, counted=counted)
    assert (found["completed"], found["total_output_tokens"], found["duration"]) == (2, 20, 2.0)
    assert found["output_throughput"] == pytest.approx(20)
    assert found["request_throughput"] == pytest.approx(3 / 2)
    assert found["total_token_throughput"] == pytest.approx((40 + 2 * 8) / 2)  # the third prompt was read before
    assert goodput(made, {"e2el_ms": 1001}, counted)["request_goodput"] == pytest.approx(3 / 2)
    assert goodput(made, {"e2el_ms": 1001}, counted)["slo_attainment"] == 1.0


def test_tokens_of_the_warm_up_that_came_before_are_in_no_rate():
    made = warmed_up()
    failed = replace(made, error=np.array(["reset", "", "", "", ""]))
    assert metrics(failed, counted=is_measured(made, 1.0))["output_throughput"] == pytest.approx(10)
    assert metrics(made, counted=is_measured(made, 0.0)) == metrics(made)


def test_the_windows_of_the_steady_state_have_what_the_server_still_did_for_the_warm_up():
    long = [(tick / 10, 1) for tick in range(1, 101)]
    short = [[(begin + tick / 10, 1) for tick in range(1, 11)] for begin in range(10)]
    made = requests(long, *short, sent=[0.0, *map(float, range(10))])
    counted = is_measured(made, 1.0)
    assert metrics(made, counted=counted)["steady_output_throughput"] == pytest.approx(20)
    assert steady_metrics(made, counted)["steady_output_token_throughput"] == pytest.approx(20)
