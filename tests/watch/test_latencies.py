"""The latest latencies of a running load, as the screen shows them."""

import pytest

from vbench.loadgen import Progress
from vbench.watch.latencies import LatestLatencies


def progress(at_s: float, reads: int, completed: int = 0, ttfts: tuple[float, ...] = ()) -> Progress:
    answered = tuple((0.0, ttft) for ttft in ttfts)
    return Progress(elapsed_s=at_s, completed=completed, reads=reads, in_flight=10, answered=answered)


def test_ttft_is_the_median_of_the_latest_and_itl_the_mean_gap_of_the_replies_that_stream():
    latest = LatestLatencies()
    latest.add(progress(0.5, 4, ttfts=(0.1, 0.2, 0.9, 0.4)))
    assert latest.summarise() == {"ttft_ms": 300.0, "itl_ms": 500.0}  # four streams for half a second, four reads
    latest.add(progress(1.0, 104))
    latest.add(progress(1.5, 204, completed=2))
    assert latest.summarise()["itl_ms"] == pytest.approx(
        (4 + 2) * 0.5 / 200 * 1e3
    )  # two have ended: they stream no more


def test_only_the_last_hundred_requests_count():
    latest = LatestLatencies()
    latest.add(progress(1.0, 100, ttfts=(5.0,) * 100))
    latest.add(progress(2.0, 160, ttfts=(1.0,) * 60))
    assert latest.summarise()["ttft_ms"] == 1000.0


def test_nothing_is_said_before_the_first_reply():
    latest = LatestLatencies()
    latest.add(progress(0.5, 0))
    assert latest.summarise() == {}
