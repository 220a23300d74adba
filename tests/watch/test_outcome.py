"""The table at a campaign's end."""

from records import record
from rich.console import Console

from vbench.schema.record import Failure
from vbench.watch.outcome import result_line, summary


def printed(capsys, found):
    Console(width=200, highlight=False).print(*summary(found), sep="\n")
    return capsys.readouterr().out


def repeat(start, seed, rate):
    return record(
        num_prompts=80,
        session=f"server-{start}",
        workload={"seed": seed},
        engine={"restart": start},
        output_throughput=rate,
    )


def test_repeats_over_starts_share_a_row_and_its_interval_is_that_of_the_starts_means(capsys):
    found = [repeat(0, 0, 99.0), repeat(0, 1, 101.0), repeat(1, 2, 109.0), repeat(1, 3, 111.0)]
    said = printed(capsys, found)
    assert "4 of 4 VALID" in said
    # The starts' means are 100 and 110: 105 ± 12.7062 · 7.07107 / √2
    assert "105.0 ± 63.5" in said
    assert "by the means of the server's starts" in said


def test_repeats_on_one_server_have_the_interval_of_the_repeats(capsys):
    said = printed(capsys, [repeat(0, seed, rate) for seed, rate in enumerate((99.0, 101.0, 103.0))])
    assert "101.0 ± 5.0" in said  # ± 4.30265 · 2 / √3
    assert "starts" not in said


def test_a_small_campaign_shows_a_percentile_that_can_be_quoted_under_its_name(capsys):
    said = printed(capsys, [repeat(0, 0, 99.0), repeat(1, 1, 101.0)])  # of 80 replies
    assert "p95 ITL ms" in said
    assert "p99 ITL ms" not in said
    assert "needs" not in said


def test_a_percentile_of_few_replies_among_many_is_not_shown(capsys):
    made = record(num_prompts=320)
    assert "needs" not in printed(capsys, [made])
    made.metrics["p99_ttft_upper_ms"] = 1.0  # of every reply; the gaps of the few that have any have no such bound
    made.metrics.pop("p99_itl_upper_ms", None)
    assert "needs 299" in printed(capsys, [made])


def test_a_run_that_failed_says_of_what():
    assert result_line(record(failure=Failure("oom_load", "out of memory"))) == "[red]FAILED[/] oom_load"
