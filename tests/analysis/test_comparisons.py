"""Ratios and tables equal a computation by hand, use matched points only, and say what they cannot."""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
import pytest
import records
from compared import A100, GPUS, found, repeated, runs

from vbench.analysis import placement
from vbench.analysis.axes import axis
from vbench.analysis.comparisons import splits
from vbench.analysis.labels import add_labels
from vbench.metrics.intervals import t_quantile
from vbench.schema import Lengths
from vbench.schema.record import Failure


def test_gpu_time_is_from_the_lease_to_the_last_load_times_the_gpus():
    there = records.record().environment | {"held_since": "2026-11-20T09:58:00+00:00"}
    loads = [(10, "2026-11-20T10:00:00+00:00"), (320, "2026-11-20T10:01:00+00:00")]
    made = [
        records.record(gpus=2, tp=2, num_prompts=n, output_throughput=1000, started=start, environment=there)
        for n, start in loads
    ]
    (row,) = found(*made, records.record(gpus=4, tp=4))["gpu-time"].data.to_dict("records")  # one does not say
    load_s = [2.0, 64.0]  # 200 tokens a prompt at 1,000 a second
    assert row["points"] == 2
    assert row["measuring GPU s"] == pytest.approx(2 * sum(load_s))
    assert row["held GPU s"] == pytest.approx(2 * (180 + load_s[1]))
    assert row["share"] == pytest.approx(sum(load_s) / (180 + load_s[1]))


def test_gpus_are_under_load_during_the_warm_up_too():
    there = records.record().environment | {"held_since": "2026-11-20T09:58:00+00:00"}
    warm = records.record(gpus=2, tp=2, output_throughput=1000, workload={"warmup_s": 30.0}, environment=there)
    failed = records.record(num_prompts=10, gpus=2, tp=2, workload={"warmup_s": 30.0}, environment=there,
                            failure=Failure("engine_error", "gone"))  # fmt: skip
    (row,) = found(warm, failed)["gpu-time"].data.to_dict("records")
    assert row["measuring GPU s"] == pytest.approx(2 * (30 + 64))
    assert row["held GPU s"] == pytest.approx(2 * (120 + 30 + 64))


@pytest.mark.parametrize(("held_since", "told"), [("10:00:00", True), ("10:00:01", False), ("11:00:00", False)])
def test_gpus_cannot_be_held_for_less_time_than_their_loads_took(held_since, told):
    """As if the host's clock had been set back by an hour between the two."""
    there = records.record().environment | {"held_since": f"2026-11-20T{held_since}+00:00"}
    sections = found(records.record(environment=there), records.record(gpus=2, tp=2))
    assert ("gpu-time" in sections) is told


def test_a_run_that_only_starts_a_server_holds_its_gpus_while_it_starts():
    there = records.record().environment | {"held_since": "2026-11-20T09:59:58+00:00"}
    start = records.record(gpus=2, tp=2, num_prompts=0, lengths=Lengths.none, environment=there)  # of 42.5 s
    (row,) = found(start)["gpu-time"].data.to_dict("records")
    assert row["held GPU s"] == pytest.approx(2 * (2 + 42.5))
    assert row["measuring GPU s"] == 0


def test_speed_ups_at_a_load_that_all_sizes_share_need_no_excuse():
    made = found(records.record(), records.record(gpus=2, tp=2), records.record(gpus=2, dp=2))
    assert "at num_prompts=320. " in made["scaling"].caption


def test_a_name_stands_at_the_greatest_load_though_that_point_is_ringed():
    paper = placement.Paper(placement.Box(0, 0, 1000, 1000))
    spots = np.array([[500.0, 500.0], [300.0, 200.0]])
    paper.draw_line(spots)
    paper.draw_rings(spots[:1])
    assert paper.place_name(100, 20, spots).spot.tolist() == [500, 500]


# ---- eight models on eight systems


def speed(model, gpus, kind):
    """Tokens/s and ITL of one of 64 summaries: numbers without a pattern that an error could hide in."""
    rate = (1000 + 137 * model) * gpus**0.83 * (1.9 if kind == "h100" else 1.0) + 7 * ((3 * model + gpus) % 5)
    return round(rate, 1), round(1e5 / rate + model, 2)


@pytest.fixture(scope="module")
def published():
    """One summary a cell, of model7 none on one GPU, where it does not fit."""
    made = []
    for model in range(8):
        for kind, gpu in GPUS.items():
            for gpus in (1, 2, 4, 8):
                rate, itl = speed(model, gpus, kind)
                failure = Failure("oom_load", "CUDA out of memory") if (model, gpus) == (7, 1) else None
                system = {"model": f"model{model}", "gpus": gpus, "gpu": gpu, "tp": gpus, "failure": failure}
                made.append(records.record(output_throughput=rate, median_itl_ms=itl, **system))
    return found(*made)


def test_64_summaries_give_the_table_of_a_hand_computation(published):
    table = published["throughput-latency"].table
    assert table.shape == (8, 8)
    for model in range(8):
        best = max((speed(model, gpus, kind)[0], gpus, kind) for kind in GPUS for gpus in (1, 2, 4, 8))[1:]
        for kind in GPUS:
            for gpus in (1, 2, 4, 8):
                rate, itl = speed(model, gpus, kind)
                cell = f"{'★ ' if (gpus, kind) == best else ''}{rate:,.0f} / {itl:.1f}"
                expected = "N/A [a]" if (model, gpus) == (7, 1) else cell
                assert table.loc[f"{gpus}x{kind} · tp{gpus}", f"model{model}"] == expected
    assert published["throughput-latency"].notes == ("[a] FAILED: oom_load",)


def test_64_summaries_give_the_gpu_ratios_of_a_hand_computation(published):
    table = published["gpus-h100-a100"].table
    ratios = {}
    for model in range(8):
        cells = [(speed(model, gpus, "h100"), speed(model, gpus, "a100")) for gpus in (1, 2, 4, 8)]
        ratios[model] = [[one / other for one, other in zip(*each, strict=True)] for each in cells[model == 7 :]]
        rate, itl = (statistics.geometric_mean(each) for each in zip(*ratios[model], strict=True))
        row = table.loc[f"model{model}"]
        assert row["output tokens/s"].split()[0] == f"{rate:.3f}"
        assert row["median ITL in ms"].split()[0] == f"{itl:.3f}"
        assert row["points"] == len(ratios[model])
    pooled = [rate for each in ratios.values() for rate, _ in each]
    assert table.loc["all models", "output tokens/s"].split()[0] == f"{statistics.geometric_mean(pooled):.3f}"
    assert table.loc["all models", "points"] == 31


def test_64_summaries_give_speed_up_and_efficiency(published):
    table = published["scaling"].table
    for model in range(7):
        up = speed(model, 8, "h100")[0] / speed(model, 1, "h100")[0]
        assert table.loc[f"model{model} · h100 · tp", "8 GPUs"] == f"{up:.2f} · {up / 8:.0%}"
    four, eight = (speed(7, gpus, "h100")[0] / speed(7, 2, "h100")[0] for gpus in (4, 8))
    said = [f"{four:.2f} · {four / 2:.0%}", f"{eight:.2f} · {eight / 4:.0%}"]
    assert table.loc["model7 · h100 · tp"].tolist() == ["2 GPUs", "", *said]


# ---- ratios


def test_ratios_use_matched_points_only():
    pairs = [records.record(gpu=gpu, output_throughput=rate) for gpu, rate in ((A100, 1000), (records.H100, 2000))]
    alone = records.record(gpu=records.H100, num_prompts=80, output_throughput=9)
    table = found(*pairs, alone)["gpus-h100-a100"].table
    assert table.loc["llama8b"].tolist() == ["2.000", "1.000", "1.000", 1]


def test_a_ratio_of_repeats_has_welchs_interval():
    made = repeated((1000, 1010, 1020), gpu=A100) + repeated((2000, 2100, 1900, 2050), gpu=records.H100)
    rows = found(*made)["gpus-h100-a100"].data.to_dict("records")
    [row] = (row for row in rows if row["metric"] == "output_throughput")
    slow, fast = ([math.log(x) for x in rates] for rates in ((1000, 1010, 1020), (2000, 2100, 1900, 2050)))
    parts = statistics.variance(fast) / 4, statistics.variance(slow) / 3
    df = sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2)
    assert 3 < df < 4
    half = t_quantile(df) * math.sqrt(sum(parts))
    middle = statistics.mean(fast) - statistics.mean(slow)
    assert row["value"] == pytest.approx(math.exp(middle))
    assert (row["low"], row["high"]) == pytest.approx((math.exp(middle - half), math.exp(middle + half)), rel=1e-5)
    assert row["interval_from"] == "repeats"


def test_without_repeats_the_interval_is_the_scatter_over_the_points():
    rates = {10: (100, 200), 80: (500, 1100), 320: (900, 1700)}
    made = [
        records.record(gpu=gpu, num_prompts=n, output_throughput=rate)
        for n, pair in rates.items()
        for gpu, rate in zip((A100, records.H100), pair, strict=True)
    ]
    section = found(*made)["gpus-h100-a100"]
    logs = [math.log(fast / slow) for slow, fast in rates.values()]
    half = 4.30265 * statistics.stdev(logs) / math.sqrt(3)
    ends = [math.exp(statistics.mean(logs) + sign * half) for sign in (-1, 1)]
    assert (
        section.table.loc["llama8b", "output tokens/s"]
        == f"{statistics.geometric_mean([2, 2.2, 17 / 9]):.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
    )
    assert "from the scatter of the ratios over the points" in section.caption


def test_what_was_measured_under_different_conditions_is_not_divided_and_the_difference_is_named():
    section = found(
        records.record(gpu=A100), records.record(gpu=records.H100, engine_version="vllm 0.32.0")
    )["gpus-h100-a100"]  # fmt: skip
    assert section.table is None
    assert section.notes == (
        "No point was measured on both: they differ in engine_version (vllm 0.32.0 against vllm 0.26.0).",
    )


def test_kinds_that_were_measured_in_several_campaigns_are_divided_campaign_by_campaign():
    rates = {
        ("a", A100): {80: 500, 320: 900},
        ("b", A100): {80: 550, 320: 800},
        ("c", records.H100): {80: 1100, 320: 1700},
    }
    made = [
        records.record(gpu=gpu, experiment=name, num_prompts=n, output_throughput=rate)
        for (name, gpu), each in rates.items()
        for n, rate in each.items()
    ]
    section = found(*made)["gpus-h100-a100"]
    cells = section.table["output tokens/s"].str.split().str[0].to_dict()
    assert cells == {
        "llama8b · c / a": f"{math.sqrt(1100 / 500 * 1700 / 900):.3f}",
        "llama8b · c / b": f"{math.sqrt(1100 / 550 * 1700 / 800):.3f}",
    }
    assert section.notes[0] == "No experiment of the a100 belongs to one of the h100: each row is one of each."
    other = records.record(gpu=records.H100, experiment="c", engine_version="vllm 0.32.0")
    unlike = found(*(each for each in made if each.experiment != "c"), other)["gpus-h100-a100"]
    assert unlike.table is None  # of a campaign with another engine as little as within one


def test_kinds_of_one_campaign_are_divided_within_it_whatever_else_was_measured():
    both = [
        records.record(gpu=gpu, experiment="a", output_throughput=r) for gpu, r in ((A100, 500), (records.H100, 1000))
    ]
    later = records.record(gpu=records.H100, experiment="b", output_throughput=3000)
    table = found(*both, later)["gpus-h100-a100"].table
    assert table["output tokens/s"].to_dict() == {"llama8b · experiment=a": "2.000"}


def test_a_mean_over_versions_is_refused_and_says_how_to_choose_while_its_rows_stand():
    section = found(
        *(records.record(gpu=gpu, engine_version=version, model=model)
          for gpu in GPUS.values() for version in ("vllm 0.26.0", "vllm 0.32.0") for model in ("llama8b", "llama70b"))
    )["gpus-h100-a100"]  # fmt: skip
    assert len(section.table) == 4
    assert "all models" not in section.table.index
    [note] = section.notes
    assert "engine_version (vllm 0.26.0, vllm 0.32.0" in note
    assert "where=\"tags.`vbench.engine_version` = 'vllm 0.26.0'\"" in note


# ---- tensor against data parallel


def two_ways(load=lambda n: {}, lengths=Lengths.sharegpt):
    """One GPU, and two as tp2 and as dp2: 30 n tokens/s at 10 ms; tp2 1.5 times as fast; dp2 loses a tenth of two.

    `load` gives the workload's other keys for n prompts.
    """

    def record(n, throughput, itl_ms, **split):
        given = {"num_prompts": n, "output_throughput": throughput, "median_itl_ms": itl_ms}
        return records.record(**given, **split, workload=load(n), lengths=lengths)

    made = [record(n, 30 * n, 10 + n / 10) for n in (40, 80, 160)]
    for n in (80, 160, 320):
        made.append(record(n, 45 * n, 8 + n / 12, gpus=2, tp=2))
        made.append(record(n, 27 * n, 10 + n / 20, gpus=2, dp=2))
    return made


def test_data_parallel_is_divided_by_tensor_parallel_and_by_whole_copies_at_matched_load_a_replica():
    made = found(*two_ways())
    summary = made["splits"].table.loc["llama8b · 2xh100 · dp2 / tp2"]
    assert summary["output tokens/s"].startswith("0.600")
    assert summary["points"] == 3
    by_load = made["splits-llama8b-2xh100"].table
    assert by_load.index.tolist() == ["80", "160", "320"]
    assert by_load["dp2 of ideal"].tolist() == ["90%", "90%", "90%"]
    assert by_load["dp2 / tp2: output tokens/s"].tolist() == ["0.600"] * 3


def test_the_winner_at_equal_limits_keeps_them():
    # At 20 ms tp2 bears 80 (14.7 ms), dp2 160 (18 ms); at 50 ms both bear 320.
    summary = found(*two_ways(), slo=[5.0, 20.0, 50.0])["splits"].table.loc["llama8b · 2xh100 · dp2 / tp2"]
    assert summary["median ITL in ms ≤ 5"] == "none"
    assert summary["median ITL in ms ≤ 20"] == "dp2: 4,320"
    assert summary["median ITL in ms ≤ 50"] == "tp2: 14,400"


def test_the_ideal_is_the_smaller_system_doubled_at_twice_the_load():
    of_all = runs(*two_ways())
    labels = add_labels(of_all.valid, of_all.conditions, ["parallelism"])
    ideal = splits.ideals(labels[labels["gpus"] == 2], labels, axis("output_throughput"))
    assert ideal[["load", "output_throughput", "median_itl_ms"]].to_numpy().tolist() == [
        [80, 2400, 14], [160, 4800, 18], [320, 9600, 26],
    ]  # fmt: skip
    assert set(ideal["system_label"]) == {"2 copies of 1xh100 · tp1, ideal"}


def test_engines_that_share_experts_are_a_split_of_their_own_beside_records_older_than_that_key():
    older, newer = two_ways(), []
    for record in older:
        del record.config["parallelism"]["attention_data_parallel_size"]
    for n in (80, 160, 320):
        made = records.record(num_prompts=n, output_throughput=54 * n, median_itl_ms=8 + n / 12, gpus=2)
        split = made.config["parallelism"] | {"attention_data_parallel_size": 2, "enable_expert_parallel": True}
        name = made.name.replace("tp1", "adp2ep")
        newer.append(dataclasses.replace(made, config=made.config | {"parallelism": split}, name=name, run_key=name))
    table = found(*older, *newer)["splits"].table
    assert table.loc["llama8b · 2xh100 · adp2ep / tp2", "output tokens/s"].startswith("1.20")
    assert table.loc["llama8b · 2xh100 · dp2 / tp2", "output tokens/s"].startswith("0.600")


@pytest.mark.parametrize(
    ("load", "lengths", "grows"),
    [
        (lambda n: {}, Lengths.sharegpt, True),
        (lambda n: {"request_rate": n / 10}, Lengths.sharegpt, True),
        (lambda n: {"max_concurrency": n // 4}, Lengths.sharegpt, True),
        (lambda n: {"request_rate": 10.0}, Lengths.sharegpt, False),  # each of two copies gets half of it
        (lambda n: {"max_concurrency": 64}, Lengths.sharegpt, False),
        (lambda n: {"request_rate": n / 10, "max_concurrency": 64}, Lengths.sharegpt, False),
        (lambda n: {}, Lengths.trace, False),
    ],
)
def test_there_is_no_ideal_of_a_load_that_does_not_double_with_its_axis(load, lengths, grows):
    of_all = runs(*two_ways(load, lengths))
    labels = add_labels(of_all.valid, of_all.conditions, ["parallelism"])
    ideal = splits.ideals(labels[labels["gpus"] == 2], labels, axis("output_throughput"))
    assert (len(ideal) == 3) == grows
    assert ("dp2 of ideal" in found(*two_ways(load, lengths))["splits-llama8b-2xh100"].table) == grows
