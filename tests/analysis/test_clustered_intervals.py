"""Repeats on one server share its start: intervals are over starts where there are several, as computed by hand."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import records

from vbench.analysis import comparisons, frame
from vbench.analysis.comparisons import against
from vbench.analysis.labels import add_labels
from vbench.analysis.options import Options
from vbench.analysis.points import mean_points
from vbench.analysis.ratios import log_means, match_points, mean_ratio

T2, T4 = 4.302653, 2.776445  # the 97.5 % quantiles of Student's t with 2 and 4 degrees of freedom


def started(rates, experiment="grid", loads=(320,), **what):
    """Runs of several starts: `rates` has the tokens/s of each start's repeats."""
    return [
        records.record(
            num_prompts=load, experiment=experiment, session=f"start{start}", output_throughput=rate * load / 320,
            workload={"seed": 10 * start + seed}, engine={"restart": start}, **what,
        )
        for load in loads
        for start, repeats in enumerate(rates)
        for seed, rate in enumerate(repeats)
    ]  # fmt: skip


def labelled(made):
    found = frame.runs(records.table(made))
    return add_labels(found.valid, found.conditions)


def test_the_mean_of_several_starts_has_an_interval_over_the_starts():
    [point] = mean_points(labelled(started([[900, 920], [1000, 1020], [1060, 1100]]))).to_dict("records")
    assert (point["runs"], point["starts"]) == (6, 3)
    assert point["output_throughput"] == pytest.approx(1000)  # of 910, 1010 and 1080
    assert point["output_throughput_half_width"] == pytest.approx(T2 * math.sqrt((90**2 + 10**2 + 80**2) / 2 / 3), 1e-5)


def test_a_start_with_more_repeats_counts_as_one_start():
    [point] = mean_points(labelled(started([[900, 900, 900, 900], [1100]]))).to_dict("records")
    assert point["output_throughput"] == pytest.approx(1000)
    assert point["output_throughput_half_width"] == pytest.approx(12.7062 * 100, 1e-4)  # t of 1 · 141.4 / √2


def test_a_session_that_was_resumed_is_two_starts():
    there = records.record().environment
    made = [
        records.record(workload={"seed": seed}, environment=there | {"held_since": f"2026-11-20T1{seed}:00:00+00:00"})
        for seed in (0, 1)
    ]
    assert mean_points(labelled(made))["starts"].tolist() == [2]


def test_a_server_that_ran_already_is_one_start_whatever_the_session():
    made = [
        records.record(workload={"seed": seed}, session=f"s{seed}", engine={"base_url": "http://host:8000"})
        for seed in (0, 1)
    ]
    assert mean_points(labelled(made))["starts"].tolist() == [1]


@pytest.mark.parametrize("loads", [(320,), (10, 80, 320)])
def test_a_ratio_over_starts_does_not_gain_from_more_loads_on_the_same_starts(loads):
    # Each start is as fast at every load: three loads hold no more samples of a start than one.
    one, other = [[900.0], [1000.0], [1100.0]], [[1000.0], [1020.0], [1050.0]]
    rows = [log_means(labelled(started(each, loads=loads)), ["output_throughput"], ["load"]) for each in (one, other)]
    ratio = mean_ratio(match_points(*rows, ["load"]))
    logs = [[math.log(rate) for (rate,) in each] for each in (one, other)]
    means = [sum(each) / 3 for each in logs]
    parts = [sum((value - mean) ** 2 for value in each) / 2 / 3 for each, mean in zip(logs, means, strict=True)]
    df = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    half = pd.Series([math.log(ratio.high / ratio.value), math.log(ratio.value / ratio.low)])
    assert ratio.value == pytest.approx(math.exp(means[0] - means[1]))
    assert ratio.interval_from == "starts"
    assert 2 < df < 4
    between = (T4 * math.sqrt(sum(parts)), T2 * math.sqrt(sum(parts)))
    assert half.between(*between).all()
    assert half.iloc[0] == pytest.approx(half.iloc[1])


def test_a_side_of_one_start_has_an_interval_from_repeats_and_the_caption_says_what_it_leaves_out():
    new = started([[900, 910], [1000, 1010], [1090, 1100]], experiment="new")
    old = started([[1000, 1010, 1020]], experiment="old")
    sides = [frame.runs(records.table(each)) for each in (new, old)]
    both = dataclasses.replace(sides[0], baseline=sides[1])
    [section] = against.sections(both, Options(against="old", figures=[]))
    assert section.data["interval_from"].iloc[0] == "repeats"
    assert "does not cover what another start would change" in section.caption


def test_the_captions_of_one_start_say_what_their_intervals_do_not_cover():
    found = frame.runs(records.table(started([[900, 920, 950]], loads=(10, 320))))
    sections = {each.slug: each for each in comparisons.sections(found, Options(figures=[]))}
    for slug in ("throughput-latency", "curves-llama8b", "repeats"):
        assert (
            "on one start of the server, which does not cover what another start would change" in sections[slug].caption
        )
    several = frame.runs(records.table(started([[900], [920], [950]])))
    sections = {each.slug: each for each in comparisons.sections(several, Options(figures=[]))}
    for slug in ("throughput-latency", "curves-llama8b", "repeats"):
        assert "over 3 starts of the server (t over the means of the starts)" in sections[slug].caption


def test_values_that_agree_by_chance_have_no_interval_and_decide_no_gate():
    new, old = (
        frame.runs(records.table(started([[rate] * 3], experiment=name)))
        for rate, name in ((900, "new"), (1000, "old"))
    )
    both = dataclasses.replace(new, baseline=old)
    [section] = against.sections(both, Options(against="old", fail_if="output_throughput<0.97", figures=[]))
    assert section.data["interval_from"].unique().tolist() == [""]
    outcome = against.judge_sections([section], "output_throughput<0.97")
    assert (outcome.verdict, outcome.exit_code) == ("undecided", 3)
    assert mean_points(labelled(started([[900] * 3])))["output_throughput_half_width"].isna().all()
