"""What a report must never say: winners by unlike loads, numbers of too few replies, means of unlike runs."""

from __future__ import annotations

import dataclasses
import io
import math

import compared
import pandas as pd
import pytest
import records
from rich.console import Console

from vbench.analysis import comparisons, explorer, frame
from vbench.analysis.answers import answer
from vbench.analysis.comparisons import against
from vbench.analysis.labels import add_labels
from vbench.analysis.options import Options, parse_options
from vbench.analysis.points import mean_points, mean_text
from vbench.analysis.section import Section
from vbench.analysis.terminal import print_section
from vbench.metrics.intervals import Interval
from vbench.schema import Slo
from vbench.schema.errors import Refused


def asked(*made, prices=None, **options):
    """The sections by slug, and the sentences of the answer by question."""
    runs = frame.runs(records.table(list(made)), prices)
    chosen = Options(figures=[], **options)
    found = comparisons.sections(runs, chosen)
    return {each.slug: each for each in found}, dict(answer(runs, found, chosen).parts)


def compare(new, old, prices=None, **options):
    sides = [frame.runs(records.table(list(each)), prices) for each in (new, old)]
    [section] = against.sections(
        dataclasses.replace(sides[0], baseline=sides[1]), Options(against="old", figures=[], **options)
    )
    return section


def judged(new, old, fail_if, **options):
    section = compare(new, old, fail_if=fail_if, **options)
    return section, against.judge_sections([section], fail_if)


def measured(made, **metrics):
    return dataclasses.replace(made, metrics=made.metrics | metrics)


def priced(made, price):
    gpu = made.config["hardware"]["gpu"] | {"price_per_hour": price}
    return dataclasses.replace(made, config=made.config | {"hardware": made.config["hardware"] | {"gpu": gpu}})


# ---- loads


def rated(rates):
    return [
        records.record(num_prompts=100, output_throughput=50 * rate, workload={"request_rate": float(rate)})
        for rate in rates
    ]


def test_100_prompts_at_once_are_not_compared_with_100_requests_a_second():
    sections, said = asked(*rated((10, 50, 100)), records.record(num_prompts=100))
    table = sections["throughput-latency"].table["llama8b"]
    assert table.tolist() == ["5,000 / 20.0", "N/A [a]"]
    assert sections["throughput-latency"].notes[0] == "[a] measured only at num_prompts=100"
    assert "its largest load, of those with a finite request_rate" in sections["throughput-latency"].caption
    assert "★" not in sections["throughput-latency"].caption
    assert said["Which system gives the most"][0].startswith("Measured on one system only at request_rate=100: ")


# ---- percentiles over too few replies


def few(num_prompts=80):
    return [
        records.record(num_prompts=num_prompts, gpus=n, tp=n, output_throughput=1000.0 * n, median_itl_ms=30 - n)
        for n in (1, 2)
    ]


def test_a_percentile_that_cannot_be_told_wins_nothing_and_keeps_no_limit():
    sections, said = asked(*few(), x="p99_itl_ms", y="p99_ttft_ms", slo=[20.0, 100.0])
    table = sections["throughput-latency"]
    assert set(table.table["llama8b"]) == {"needs 299 / needs 299"}
    assert "Which system gives the most" not in said
    assert sections["curves-llama8b"].figure is None
    assert sections["curves-llama8b"].notes[0].endswith("nothing to draw. A p99 needs 299 replies.")
    _, said = asked(*few(), x="p99_itl_ms", slo=[20.0, 100.0])
    assert not [each for each in said["Which system gives the most"] if "within" in each]


def test_a_percentile_over_few_of_many_replies_cannot_be_told_either():
    """Of 320 replies those with several tokens were too few for a bound of their gaps: a table printed their p99."""
    made = few(320)
    for each in made:
        each.metrics["p99_ttft_upper_ms"] = 1.0  # of every reply with a token
        each.metrics.pop("p99_itl_upper_ms", None)
    sections, said = asked(*made, x="p99_itl_ms", slo=[100.0])
    assert "needs 299" in sections["throughput-latency"].table["llama8b"].iloc[0]
    assert not [each for each in said["Which system gives the most"] if "within" in each]
    for each in made:
        each.metrics["p99_itl_upper_ms"] = 90.0
    sections, said = asked(*made, x="p99_itl_ms", slo=[100.0])
    assert "(≤ 90" in sections["throughput-latency"].table["llama8b"].iloc[0]
    assert [each for each in said["Which system gives the most"] if "within" in each]


@pytest.mark.parametrize(("bounds", "cell"), [((90.0, 95.0), "42.0 (≤ 95.0)"), ((90.0, None), "needs 299")])
def test_a_percentile_of_repeats_is_told_if_every_one_of_them_can(bounds, cell):
    made = [records.record(workload={"seed": seed}) for seed in (0, 1)]
    for each, bound in zip(made, bounds, strict=True):
        told = {"p99_itl_upper_ms": bound} if bound else {}
        each.metrics.update({"p99_ttft_upper_ms": 1.0, "p99_itl_ms": 42.0} | told)
    runs = frame.runs(records.table(made))
    [point] = mean_points(add_labels(runs.valid, runs.conditions)).to_dict("records")
    assert mean_text(point, "p99_itl_ms", ".1f") == cell


def test_a_percentile_that_can_be_told_is_compared():
    _, said = asked(*few(320), x="p99_itl_ms", slo=[100.0])
    assert "llama8b within p99 ITL ≤ 100 ms: 2xh100 · tp2" in said["Which system gives the most"][1]


def test_a_gate_on_a_percentile_over_too_few_replies_is_undecided():
    def side(name):
        made = compared.repeated((1000, 1005, 1010), num_prompts=10, experiment=name)
        return [measured(each, p99_itl_ms=40.0 + n) for n, each in enumerate(made)]

    section, outcome = judged(side("new"), side("old"), "p99_itl_ms>1.05")
    assert "p99 ITL in ms" not in section.table
    assert outcome.exit_code == 3
    assert outcome.line.endswith("no point that both sides measured has it on both, from 299 replies or more")


def test_the_explorer_says_how_many_replies_a_percentile_needs_and_draws_none():
    sections, _ = asked(*few())
    points = explorer.collect_points(sections["throughput-latency"].runs, Options(), lambda _: None)
    place = points["keys"].index("p99_itl_ms")
    assert {each["values"][place] for each in points["points"]} == {None}
    assert points["needs"]["p99_itl_ms"] == 299
    assert "p99_itl_ms" not in points["x"]


# ---- zeros


@pytest.mark.parametrize("goodput", [(10.0, 0.0, 10.1), (0.0, 0.0, 0.0)])
def test_a_goodput_of_0_is_never_left_out_of_a_ratio(goodput):
    old = [measured(each, request_goodput=10.0 + n / 10) for n, each in enumerate(
        compared.repeated((1000, 1005, 1010), experiment="old"))]  # fmt: skip
    new = [measured(each, request_goodput=good) for each, good in zip(
        compared.repeated((1000, 1005, 1010), experiment="new"), goodput, strict=True)]  # fmt: skip
    section, outcome = judged(new, old, "request_goodput<0.97")
    assert section.table["goodput (requests/s)"].tolist() == ["none: 0 in a run"]
    assert outcome.exit_code == 3
    assert "has no ratio at 1 point, because it is 0 in a run" in outcome.line


def test_a_gate_on_what_only_one_side_has_says_so():
    old = [measured(each, request_goodput=10.0) for each in compared.repeated((1000, 1005), experiment="old")]
    _, outcome = judged(compared.repeated((1000, 1005), experiment="new"), old, "request_goodput<0.97")
    assert (outcome.exit_code, outcome.line) == (
        3, "request_goodput<0.97: no point that both sides measured has it on both",
    )  # fmt: skip


# ---- unlike runs


VERSIONS = [*compared.repeated((1000, 1010), experiment="a", engine_version="vllm 0.25.0"),
            *compared.repeated((2000, 2020), experiment="a", engine_version="vllm 0.27.0")]  # fmt: skip


def test_two_versions_of_one_side_are_two_ratios_and_no_mean():
    other = compared.repeated((500, 505), experiment="b", engine_version="vllm 0.24.0")
    section, outcome = judged(VERSIONS, other, "output_throughput<3")
    ratios = section.data[section.data["metric"] == "output_throughput"]
    assert dict(zip(ratios["system_label"], ratios["value"], strict=True)) == {
        "1xh100 · tp1 · vllm 0.25.0": pytest.approx(2),
        "1xh100 · tp1 · vllm 0.27.0": pytest.approx(4),
    }
    assert "vllm 0.25.0 is 2.000" in outcome.line
    assert outcome.exit_code == 1
    assert section.notes[0].startswith("No mean over all: the points differ in engine_version (")


def test_two_versions_of_the_baseline_are_two_ratios():
    other = compared.repeated((500, 505), experiment="b", engine_version="vllm 0.24.0")
    section = compare(other, VERSIONS)
    assert set(section.data["system_label"]) == {
        "1xh100 · tp1 against vllm 0.25.0", "1xh100 · tp1 against vllm 0.27.0",
    }  # fmt: skip


def test_two_values_of_an_option_are_two_ratios():
    new = [
        run for n in (64, 128) for run in compared.repeated((1000, 1010), experiment="a", engine={"max_num_seqs": n})
    ]
    old = compared.repeated((500, 505), experiment="b", engine={"max_num_seqs": 256})
    assert set(compare(new, old).data["system_label"]) == {
        "1xh100 · tp1 · max_num_seqs=64", "1xh100 · tp1 · max_num_seqs=128",
    }  # fmt: skip


PCIE = dataclasses.replace(records.H100, product="H100 PCIe")


def test_two_products_of_one_kind_of_gpu_are_two_kinds():
    sections, _ = asked(
        records.record(output_throughput=8000.0),
        records.record(gpu=PCIE, output_throughput=5000.0),
        records.record(gpu=compared.A100, output_throughput=4000.0),
    )
    ratios = {slug: each.data for slug, each in sections.items() if slug.startswith("gpus-")}
    assert {slug: data[data["metric"] == "output_throughput"]["value"].tolist() for slug, data in ratios.items()} == {
        "gpus-h100-NVIDIA-H100-a100": [pytest.approx(2)],
        "gpus-h100-NVIDIA-H100-PCIe-a100": [pytest.approx(1.25)],
        "gpus-h100-NVIDIA-H100-h100-NVIDIA-H100-PCIe": [pytest.approx(1.6)],
    }


def test_sizes_on_two_products_of_one_kind_do_not_scale():
    sections, _ = asked(records.record(), records.record(gpus=2, tp=2, gpu=PCIE, output_throughput=12_000.0))
    assert "scaling" not in sections
    assert sections["throughput-latency"].table.index.tolist() == [
        "1xh100 · tp1 · NVIDIA H100", "2xh100 · tp2 · NVIDIA H100 PCIe",
    ]  # fmt: skip


# ---- prices


def test_costs_at_two_prices_of_one_gpu_are_not_averaged():
    made = [priced(each, price) for each, price in zip(compared.repeated((1000, 1010)), (2.0, 3.0), strict=True)]
    sections, _ = asked(*made, y="dollars_per_million_tokens")
    assert sections["throughput-latency"].table["llama8b"].tolist() == ["none / 20.0"]
    assert "Dollars need one price of each GPU" in sections["curves-llama8b"].notes[0]
    given, _ = asked(*made, y="dollars_per_million_tokens", prices={"h100": 2.0})
    assert given["throughput-latency"].table["llama8b"].tolist()[0].startswith("0.55")


def test_costs_at_unlike_prices_are_not_divided():
    new = [priced(each, 3.0) for each in compared.repeated((1000, 1010), experiment="new")]
    old = [priced(each, 2.0) for each in compared.repeated((1000, 1010), experiment="old")]
    gate = "dollars_per_million_tokens>1.1"
    section, outcome = judged(new, old, gate)
    assert "$ a million tokens out" not in section.table
    told = "the runs recorded several prices of a GPU hour (h100 $2, $3)"
    assert told in section.notes[0]
    assert told in outcome.line
    assert outcome.exit_code == 3
    given = compare(new, old, prices={"h100": 2.0}, y="dollars_per_million_tokens")
    assert given.data["value"].iloc[0] == pytest.approx(1)


@pytest.mark.parametrize("price", ["0", "-1", ".inf", ".nan"])
def test_a_price_is_above_0(price):
    with pytest.raises(Refused, match=r"prices: h100: .* must be above 0"):
        parse_options([f"prices={{h100: {price}}}"])


# ---- searches


def searched(level, seed=0, low=None, high=None, **what):
    load = {"search": "max_concurrency", "slo": Slo(ttft_ms=500.0), "seed": seed}
    made = records.record(workload=load, **what)
    found = {"slo_max_concurrency": level, "probes": 20.0}
    return dataclasses.replace(
        made, metrics=found | ({} if low is None else {"slo_capacity_low": low, "slo_capacity_high": high})
    )


def said_of(*made):
    sections, said = asked(*made)
    return sections["within-slo"].table, said["Which system gives the most"][-1]


def test_repeats_of_a_search_are_one_system_with_an_interval():
    table, sentence = said_of(searched(20.0), searched(22.0, 1), searched(24.0, 2))
    assert len(table) == 1
    assert table[["highest", "between", "searches", "probes"]].to_numpy().tolist() == [["22 at once", "17–27", 3, "60"]]
    assert sentence == (
        "llama8b within TTFT ≤ 500 ms: 1xh100 · tp1, 22 requests at once (mean of 3 searches, 95 % interval 17–27)."
    )


def test_a_search_that_no_load_met_has_no_winner():
    assert said_of(searched(0.0))[1] == (
        "llama8b within TTFT ≤ 500 ms: no system met it with 99 % of requests, not even at the lowest load."
    )


@pytest.mark.parametrize(
    ("low", "decided"),
    [(23.0, "(20–24); not decided: their intervals overlap"), (25.0, "(20–24); their intervals do not overlap")],
)
def test_searches_are_compared_by_their_intervals(low, decided):
    both = searched(22.0, low=20.0, high=24.0), searched(26.0, low=low, high=28.0, gpus=2, tp=2)
    sentence = said_of(*both)[1]
    assert f"2xh100 · tp2, 26 requests at once (99 % of requests meet it up to {low:g}–28, 90 % sure)" in sentence
    assert sentence.endswith(f"The next: 1xh100 · tp1, 22 {decided}.")


# ---- words


def test_each_bound_of_a_system_has_its_own_grounds():
    watched = {"server_max_requests_running": 90.0, "server_frontend_limited": 0.6, "client_busiest_cpu_share": 0.95}
    _, said = asked(measured(records.record(), **watched))
    client, front_end = said["What bounds the systems"]
    what = "at its highest load: llama8b · 1xh100 · tp1."
    assert client == f"Client, {what} A process of the load client used 95% of a core: the server may bear more."
    grounds = "The event loop of a front end (an HTTP process of the server) filled a core for 60% of the run."
    assert front_end == f"Front end, {what} {grounds}"


def test_an_interval_is_never_said_to_be_0():
    assert f"{Interval(54.66, 0.04, 3):,.1f}" == "54.7 ± 0.04"
    assert f"{Interval(54.66, 0.06, 3):,.1f}" == "54.7 ± 0.1"


def test_a_speed_up_has_its_interval():
    one, two = compared.repeated((1000, 1010)), compared.repeated((1900, 1930), gpus=2, tp=2)
    sections, _ = asked(*one, *two)
    cell = sections["scaling"].table["2 GPUs"].iloc[0]
    assert cell.startswith("1.91 [1.")
    assert cell.endswith("] · 95%")
    assert "in brackets its 95 % interval" in sections["scaling"].caption


def test_a_result_without_a_load_is_said_to_have_none():
    unknown = records.record(model="other", num_prompts=None, source="imported")
    unknown.metrics["output_throughput"] = 700.0
    sections, _ = asked(records.record(), unknown)
    assert sections["throughput-latency"].notes == ("[a] its load is not known",)


def test_what_there_is_instead_of_an_itl_is_named():
    made = measured(records.record(num_prompts=320))
    made.metrics.pop("median_itl_ms")
    sections, _ = asked(made)
    assert "What they have: x=p99_itl_ms, x=median_tpot_ms, x=" in sections["curves-llama8b"].notes[0]


def test_points_that_lack_an_axis_are_said_not_to_be_drawn():
    made = [records.record(num_prompts=n, output_throughput=100.0 * n) for n in (10, 80, 320)]
    made[1].metrics.pop("median_itl_ms")
    sections, _ = asked(*made)
    assert "Not drawn: 1 of 3 points without median ITL in ms." in sections["curves-llama8b"].notes
    sections, _ = asked(*made, x="p99_itl_ms")
    told = "Not drawn: 2 of 3 points without p99 ITL in ms (A p99 needs 299 replies)."
    assert told in sections["curves-llama8b"].notes


def test_a_slow_system_is_not_said_to_give_0():
    assert f"{Interval(0.41, math.nan, 1):,.0f}" == "0.41"
    assert f"{Interval(12.4, math.nan, 1):,.0f}" == "12"


def test_an_empty_list_that_earlier_records_lack_is_no_difference():
    new = compared.repeated((1000, 1010), experiment="new")
    old = [
        dataclasses.replace(
            each,
            config=each.config
            | {"engine": {key: value for key, value in each.config["engine"].items() if value != []}},
        )
        for each in compared.repeated((1000, 1010), experiment="old")
    ]
    assert "They differ in nothing that was asked for." in compare(new, old).caption
    sections, _ = asked(*new, *old)
    assert set(sections["throughput-latency"].table.index) == {
        "1xh100 · tp1 · experiment=new",
        "1xh100 · tp1 · experiment=old",
    }


@pytest.mark.parametrize(("columns", "lines"), [(90, False), (200, True)])
def test_a_table_too_wide_for_the_terminal_keeps_its_words_whole(columns, lines):
    names = ["sessions", "measured", "infinite", "lost to eviction", "turn 1", "computed prompts", "users a GPU"]
    table = pd.DataFrame([["1,000,000"] * len(names)], columns=names, index=pd.Index(["1xh200"], name="system"))
    console = Console(width=columns, file=io.StringIO())
    print_section(console, Section("s", "title", "caption", table))
    written = console.file.getvalue()
    assert "1,000,000" in written
    assert "eviction" in written
    assert ("│" in written) == lines
