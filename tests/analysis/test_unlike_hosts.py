"""Hosts of unlike speed: named wherever the records show it, and never taken for a change of the software."""

from __future__ import annotations

import dataclasses

import pytest
import records

from vbench.analysis import comparisons, frame
from vbench.analysis.answers import answer
from vbench.analysis.comparisons import against
from vbench.analysis.options import Options

# One demonstration, twice on one VM whose clock changed between: prompts, tokens, then the client's CPU seconds and
# output tokens/s of both.
DEMO = (
    (4, 1467, (0.0862, 279.9), (0.0608, 407.1)),
    (16, 3980, (0.1669, 656.4), (0.1511, 868.9)),
    (64, 13082, (0.3364, 1385.1), (0.2483, 1722.1)),
    (160, 34143, (0.8025, 2157.2), (0.6006, 2482.9)),
)
LOADS = (10, 80, 320)
GATE = "output_throughput<0.97"


def demonstrated(side):
    made = []
    for prompts, tokens, *sides in DEMO:
        seconds, rate = sides[side]
        run = records.record(gpus=0, num_prompts=prompts, output_throughput=rate, experiment=("slow", "fast")[side])
        made.append(with_client(run, seconds, tokens))
    return made


def with_client(made, seconds, tokens=None):
    tokens = tokens or made.metrics["total_output_tokens"]
    facts = {"client_cpu_s": seconds, "total_output_tokens": tokens}
    return dataclasses.replace(made, metrics=made.metrics | facts)


def campaign(name, share, us_per_token, **what):
    """Three repeats at three loads on one start of the server, at this share of the usual throughput."""
    made = [
        records.record(num_prompts=n, experiment=name, workload={"seed": seed},
                       output_throughput=share * 10 * n * (1 + 0.002 * seed), **what)
        for n in LOADS for seed in range(3)
    ]  # fmt: skip
    return [with_client(each, 1e-6 * us_per_token * each.metrics["total_output_tokens"]) for each in made]


def gated(new, old, fail_if=GATE):
    sides = [frame.runs(records.table(list(each))) for each in (new, old)]
    [section] = against.sections(
        dataclasses.replace(sides[0], baseline=sides[1]), Options(against="old", figures=[], fail_if=fail_if)
    )
    return section, against.judge_sections([section], fail_if)


def test_one_demonstration_on_a_vm_that_changed_its_clock_is_no_regression_and_the_hosts_are_named():
    section, outcome = gated(demonstrated(0), demonstrated(1))
    assert section.data["value"].iloc[0] == pytest.approx(0.776, abs=5e-4)
    assert section.data["high"].iloc[0] < 0.97
    assert outcome.exit_code == 3
    assert "The hosts of the new side were 1.3 times slower, which may be all of it" in outcome.line
    assert "measure both again in turns, on one host that keeps its speed" in outcome.line
    assert any(note.startswith("Hosts of unlike speed: a token cost the client 1.3 times") for note in section.notes)


def test_a_faster_host_hides_no_regression():
    _, outcome = gated(demonstrated(1), demonstrated(0), "output_throughput<1.01")
    assert outcome.exit_code == 3
    assert "The hosts of the baseline were 1.3 times slower" in outcome.line


def test_the_hosts_stand_beside_the_ratio_at_the_top_of_the_report():
    sides = [frame.runs(records.table(demonstrated(each))) for each in (0, 1)]
    runs, chosen = dataclasses.replace(sides[0], baseline=sides[1]), Options(against="fast", figures=[])
    said = dict(answer(runs, comparisons.sections(runs, chosen), chosen).parts)["Against the baseline"]
    assert said[-1].startswith("Hosts of unlike speed: ")


@pytest.mark.parametrize(
    ("share", "us_per_token", "code", "named"),
    [
        (0.90, 22.0, 1, False),  # as far apart as sessions on one host are
        (0.75, 24.5, 1, False),  # a client that is handed fewer tokens a second wakes up more often for each of them
        (0.55, 26.0, 1, False),  # nor do these wake-ups tell of a slower host
        (0.60, 30.0, 1, True),  # slower hosts explain less than that
        (0.90, 26.0, 3, True),
        (0.55, 40.0, 3, True),  # as much slower as the server is
        (1.00, 22.0, 0, False),
        (1.00, 26.0, 0, True),  # as fast, on slower hosts
        (1.00, 15.0, 3, True),  # a faster host hides what the server lost
    ],
)
def test_a_gate_on_one_start_decides_unless_the_hosts_may_be_the_whole_difference(share, us_per_token, code, named):
    section, outcome = gated(campaign("new", share, us_per_token), campaign("old", 1.0, 20.0))
    assert outcome.exit_code == code
    assert any("unlike speed" in note for note in section.notes) is named


def test_a_gate_on_a_time_is_held_against_slower_hosts_too():
    new, old = campaign("new", 1.0, 26.0, median_itl_ms=22.0), campaign("old", 1.0, 20.0)
    for number, each in enumerate([*new, *old]):
        each.metrics["median_itl_ms"] *= 1 + 0.001 * (number % 3)
    _, outcome = gated(new, old, "median_itl_ms>1.05")
    assert outcome.exit_code == 3
    alike = [with_client(each, 20e-6 * each.metrics["total_output_tokens"]) for each in new]
    assert gated(alike, old, "median_itl_ms>1.05")[1].exit_code == 1


def test_two_systems_whose_hosts_differ_both_ways_are_each_named_and_judged():
    new = [*campaign("new", 0.9, 26.0), *campaign("new", 1.0, 20.0, gpus=2, tp=2)]
    old = [*campaign("old", 1.0, 20.0), *campaign("old", 1.0, 26.0, gpus=2, tp=2)]
    section, outcome = gated(new, old)
    said = [note for note in section.notes if "unlike speed" in note]
    assert [each.partition(":")[0] for each in said] == [
        "Hosts of unlike speed (llama8b · 1xh100 · tp1)", "Hosts of unlike speed (llama8b · 2xh100 · tp2)",
    ]  # fmt: skip
    assert outcome.exit_code == 3


def test_a_gate_that_one_start_decided_says_what_another_might_change():
    _, outcome = gated(campaign("new", 0.9, 20.0), campaign("old", 1.0, 20.0))
    assert outcome.line.endswith(
        "another start of the server would change is not in the interval: engine.restarts=3 measures it"
    )
    sides = [
        [dataclasses.replace(each, session=f"start{n % 3}") for n, each in enumerate(campaign(name, share, 20.0))]
        for name, share in (("new", 0.9), ("old", 1.0))
    ]
    section, outcome = gated(*sides)
    gate = section.data["metric"] == "output_throughput"
    assert set(section.data.loc[gate, "interval_from"]) == {"starts"}
    assert outcome.exit_code == 1
    assert "another start" not in outcome.line
