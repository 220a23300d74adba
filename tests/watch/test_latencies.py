"""The latest latencies of a running load, as the screen shows them."""

from vbench.loadgen import Progress
from vbench.watch.latencies import LatestLatencies


def progress(gaps: int, streaming_s: float, ttfts: tuple[float, ...] = ()) -> Progress:
    answered = tuple((0.0, ttft) for ttft in ttfts)
    return Progress(
        elapsed_s=0.5, completed=0, reads=0, in_flight=10, answered=answered, gaps=gaps, streaming_s=streaming_s
    )


def test_ttft_is_the_median_of_the_latest_and_itl_the_mean_gap_since_the_last_summary():
    latest = LatestLatencies()
    latest.add(progress(0, 0.4, ttfts=(0.1, 0.2, 0.9, 0.4)))
    assert latest.summarise() == {"ttft_ms": 300.0}  # no gap has ended yet
    latest.add(progress(40, 0.8))
    assert latest.summarise()["itl_ms"] == 20.0
    latest.add(progress(60, 1.0))
    latest.add(progress(80, 1.6))
    assert latest.summarise()["itl_ms"] == 20.0
    latest.add(progress(120, 3.6))
    assert latest.summarise()["itl_ms"] == 50.0
    assert "itl_ms" not in latest.summarise()  # nothing new


def test_only_the_last_hundred_requests_count():
    latest = LatestLatencies()
    latest.add(progress(100, 1.0, ttfts=(5.0,) * 100))
    latest.add(progress(160, 2.0, ttfts=(1.0,) * 60))
    assert latest.summarise()["ttft_ms"] == 1000.0


def test_nothing_is_said_before_the_first_reply():
    latest = LatestLatencies()
    latest.add(progress(0, 0.0))
    assert latest.summarise() == {}
