"""What max_model_len costs, and the axes that tables and figures can have."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest
import records
from compared import found

from vbench.analysis import comparisons, frame
from vbench.analysis.axes import AXES, axis
from vbench.analysis.options import parse_options
from vbench.analysis.pareto import pareto_front
from vbench.metrics.intervals import t_quantile
from vbench.schema.errors import Refused

# ---- max_model_len


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ([(1000, 1010, 990), (1001, 1011, 991)], "no difference, within 2.4%"),
        ([(1000, 1010, 990), (900, 910, 890)], "differs at 32000"),
        ([(1000,), (1001,)], "not known: no repeats"),
    ],
)
def test_no_difference_is_said_only_where_the_interval_says_so(rates, verdict):
    made = [
        record
        for length, some in zip((2000, 32_000), rates, strict=True)
        for seed, rate in enumerate(some)
        for record in [
            records.record(workload={"seed": seed}, output_throughput=rate, engine={"max_model_len": length})
        ]
    ]
    section = found(*made)["context-length"]
    assert section.table["verdict"].tolist() == [verdict]
    assert ("does not cover what another start would change" in section.caption) is (len(rates[0]) > 1)


def of_starts(length, rates, us_per_token=20.0):
    """One run at each of two loads on each start of this length's server."""
    made = [
        records.record(
            num_prompts=n, session=f"{length}-{start}", output_throughput=rate * n / 320,
            workload={"seed": start}, engine={"max_model_len": length, "restart": start},
        )
        for start, rate in enumerate(rates)
        for n in (80, 320)
    ]  # fmt: skip
    for each in made:
        tokens = 100 * each.config["workload"]["num_prompts"]
        each.metrics.update(total_output_tokens=tokens, client_cpu_s=1e-6 * us_per_token * tokens)
    return made


def test_over_restarts_the_effect_has_an_interval_over_the_starts():
    section = found(*of_starts(2000, (1000, 1010, 990)), *of_starts(32_000, (900, 920, 910)))["context-length"]
    logs = [[math.log(rate) for rate in rates] for rates in ((900, 920, 910), (1000, 1010, 990))]
    parts = [statistics.variance(each) / 3 for each in logs]
    df = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    middle = statistics.mean(logs[0]) - statistics.mean(logs[1])
    half = t_quantile(df) * math.sqrt(sum(parts))
    ends = [math.exp(middle + sign * half) for sign in (0, -1, 1)]
    assert section.table["32000"].tolist() == ["{:.3f} [{:.3f}, {:.3f}]".format(*ends)]
    assert section.data["interval_from"].tolist() == ["starts"]
    assert "its 95 % interval from the starts of both servers." in section.caption
    assert section.table["verdict"].tolist() == ["differs at 32000"]
    assert not section.notes


def test_lengths_that_were_measured_on_slower_hosts_are_named():
    slow = of_starts(32_000, (900, 920, 910), us_per_token=30.0)
    [note] = found(*of_starts(2000, (1000, 1010, 990)), *slow)["context-length"].notes
    assert note == (
        "Hosts of unlike speed (llama8b · 1xh100 · tp1): a token cost the client 1.5 times as much CPU time on "
        "max_model_len=32000 as on max_model_len=2000, so the hosts may be part of the difference."
    )


def test_one_length_is_no_comparison_of_lengths():
    assert "context-length" not in found(records.record(), records.record(num_prompts=10))


# ---- axes


def test_dollars_and_gpus_are_on_the_axes_by_option():
    two = records.record(gpus=2, tp=2, output_throughput=4000.0)
    cells = found(two, y="output_throughput_per_gpu")["throughput-latency"].table
    assert cells.loc["2xh100 · tp2", "llama8b"] == "2,000 / 20.0"
    of_all = frame.runs(records.table([two]), {"h100": 2.5})
    chosen = parse_options(["y=dollars_per_million_tokens", "x=median_tpot_ms", "figures=[]"])
    [table] = (each for each in comparisons.sections(of_all, chosen) if each.slug == "throughput-latency")
    assert table.table.loc["2xh100 · tp2", "llama8b"] == "0.35 / 20.0"  # 2 · $ 2.5 / 3600 s / 4000 tokens/s · 1e6
    assert "$ a million tokens out / median TPOT in ms" in table.caption


def test_tokens_of_a_gpu_are_of_all_that_the_system_has_and_unknown_without_one():
    found = frame.runs(records.table([records.record(gpus=gpus) for gpus in (0, 1, 4)])).valid.set_index("gpus")
    assert found["output_throughput_per_gpu"].dropna().to_dict() == {1: 9600.0, 4: 2400.0}


def test_dollars_without_a_price_say_what_to_give():
    [note] = found(records.record(), y="dollars_per_million_tokens")["curves-llama8b"].notes
    assert "'prices={h100: 2.5}'" in note


@pytest.mark.parametrize(
    ("x", "y", "best"), [("median_itl_ms", "output_throughput", "abd"), ("median_itl_ms", "p99_itl_ms", "a")]
)
def test_the_front_is_what_no_point_beats(x, y, best):
    points = pd.DataFrame({x: [1, 2, 3, 4.0], y: [10, 20, 15, 30.0]}, index=list("abcd"))
    assert "".join(points.index[pareto_front(points, axis(x), axis(y))]) == best


def test_an_axis_label_leaves_room_for_the_legend_beside_it():
    assert max(len(each.label) for each in AXES) <= 31


def test_a_wrong_axis_is_one_line_with_the_way_out():
    with pytest.raises(Refused, match="y=output_thruput: no such axis; did you mean output_throughput"):
        parse_options(["y=output_thruput"])
