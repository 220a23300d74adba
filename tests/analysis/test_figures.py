"""Figures show what was measured with its intervals; repeats and longest contexts are those of a hand computation."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import records
from compared import runs
from PIL import Image
from sections import OOM, curve, section

from vbench.analysis import comparisons, figures
from vbench.analysis.axes import axis
from vbench.analysis.comparisons import max_context
from vbench.analysis.comparisons import repeats as repetition
from vbench.analysis.options import Options
from vbench.analysis.pareto import pareto_front
from vbench.analysis.plot import Plot
from vbench.analysis.png import encode_png
from vbench.schema import Lengths
from vbench.schema.record import Failure, Reason

ITL, RATE = axis("median_itl_ms"), axis("output_throughput")


def values(drawing, pixels):
    """What points of a drawing stand for, rounded: the inverse of its scale."""
    box, ends = drawing.scale.box, np.array([drawing.scale.right, drawing.scale.top])
    size = np.array([box.right - box.left, box.top - box.bottom])
    return ((pixels - np.array([box.left, box.bottom])) / size * ends).round(3)


def within(drawing):
    """The words inside the axes."""
    return [each for each in drawing.words if each.box.overlaps(drawing.scale.box)]


def points(names, loads=(10, 40, 80, 160, 320, 640, 1280), spread=0.35, noise=math.nan):
    """Saturating curves as `points.points` has them."""
    rows = [
        {
            "model_label": "m",
            "system_label": name,
            "load": n,
            "load_axis": "num_prompts",
            "runs": 1 if math.isnan(noise) else 3,
        }
        | {"output_throughput": 1e3 * n / itl, "output_throughput_half_width": noise * 1e3 * n / itl}
        | {"median_itl_ms": itl, "median_itl_ms_half_width": noise * itl}
        for rank, name in enumerate(names)
        for n in loads
        for itl in [8 * (1 + n / (200 * (1 + spread * rank)))]
    ]
    return pd.DataFrame(rows)


# ---- repeats


def repeated(**what):
    """Three runs of a point: tok/s 9000, 9600, 9900 and ITL 21, 20, 19."""
    return [
        records.record(workload={"seed": seed}, output_throughput=rate, median_itl_ms=itl, **what)
        for seed, (rate, itl) in enumerate(((9000, 21.0), (9600, 20.0), (9900, 19.0)))
    ]


def test_repeats_have_means_and_intervals_of_a_hand_computation():
    found = runs(*repeated(), records.record(num_prompts=80), records.record(num_prompts=80, workload={"seed": 1}))
    repeats = section(comparisons.sections(found, Options()), "repeats")
    rows = dict(zip(repeats.table.index, repeats.table.to_numpy().tolist(), strict=True))
    assert rows == {
        # 9500 ± 4.30265 · 458.26 / √3; the latencies are the ITL's 20 ± 4.30265 · 1 / √3 times 8, 1 and 2.1
        "llama8b · 1xh100 · tp1 · 320 prompts": [
            "9,500 ± 1,138",
            "160.0 ± 19.9",
            "20.00 ± 2.48",
            "42.00 ± 5.22",
            3,
            1,
            "12.0%",
        ],
        "llama8b · 1xh100 · tp1 · 80 prompts": [
            "9,600",
            "160.0",
            "20.00",
            "needs 299",  # replies for a bound of the 99th percentile
            2,
            1,
            "",
        ],  # they agree: no spread is known
    }
    assert "Student's t" in repeats.caption
    numbers = repeats.data.set_index(["load", "metric"])
    assert numbers.loc[(320, "output_throughput"), ["mean", "half_width", "n"]].tolist() == pytest.approx(
        [9500, 1138.37, 3], rel=1e-4
    )
    assert numbers.loc[(320, "p95_e2el_ms"), "mean"] == pytest.approx(1.5 * 210 * 20)
    assert set(numbers.loc[80].index) == set(repetition.KEY_METRICS)


def test_without_repeats_there_is_no_word_of_them():
    found = comparisons.sections(runs(*curve()), Options())
    assert "repeats" not in {each.slug for each in found}
    assert not any("±" in each.caption for each in found)


def test_an_invalid_repeat_is_in_no_mean():
    late = records.record(workload={"seed": 3}, output_throughput=10, invalid=[Reason("late_sends", "")])
    repeats = section(comparisons.sections(runs(*repeated(), late), Options()), "repeats")
    assert repeats.table["n"].tolist() == [3]


def test_the_table_says_what_repeats_say_and_of_how_many():
    found = runs(*repeated(), records.record(gpus=2, tp=2, output_throughput=13000.0, median_itl_ms=14.0))
    table = section(comparisons.sections(found, Options()), "throughput-latency")
    assert table.table["llama8b"].tolist() == ["9,500 ± 1,138 / 20.0 ± 2.5", "★ 13,000 / 14.0"]
    assert "mean ± half of its 95 % interval, n = 1 to 3 repeats" in table.caption


def test_a_curve_has_a_bar_for_each_interval():
    found = runs(*repeated(), records.record(num_prompts=10, output_throughput=300, median_itl_ms=5.0))
    curves = section(comparisons.sections(found, Options()), "curves-llama8b")
    drawing = figures.draw(curves.figure)
    [bars] = drawing.bars
    across, up = values(drawing, bars.ends).tolist()
    assert across == [pytest.approx([20 - 2.484, 9500], abs=2e-3), pytest.approx([20 + 2.484, 9500], abs=2e-3)]
    assert up == [pytest.approx([20, 9500 - 1138.37], abs=0.01), pytest.approx([20, 9500 + 1138.37], abs=0.01)]
    assert drawing.scale.right > 22.484
    assert drawing.scale.top > 10639
    assert "n = 1 to 3 repeats" in curves.caption
    assert "bars: 95 % interval, n = 1 to 3" in [each.text for each in drawing.words]


# ---- figures


def test_a_figure_has_each_systems_points_at_latency_and_throughput_named_and_numbered():
    found = runs(*curve(), *curve(gpus=2, tp=2, slower=0.6))
    drawing = figures.draw(section(comparisons.sections(found, Options()), "curves-llama8b").figure)
    drawn = {line.name: values(drawing, line.points).tolist() for line in drawing.lines}
    assert drawn["1xh100 · tp1"] == [[5.625, 300], [10, 2400], [25, 9600]]
    assert drawn["2xh100 · tp2"] == [[3.375, 500], [6, 4000], [15, 16000]]
    written = [each.text for each in within(drawing)]
    assert sorted(written) == sorted(["1xh100 · tp1", "2xh100 · tp2", *["10", "80", "320"] * 2])
    said = [each.text for each in drawing.words]
    assert "llama8b: throughput against latency" in said
    assert "output throughput (tokens/s)" in said
    assert "median inter-token latency (ms)" in said
    assert any("up and left is better" in text for text in said)
    assert any("vllm 0.26.0 · NVIDIA H100 · hub weights · weights in BF16 · KV cache in BF16" in text for text in said)


@pytest.mark.parametrize(
    ("most", "numbers"),
    [
        (200_000, ["0", "40,000", "80,000", "120,000", "160,000", "200,000"]),
        (14.5, ["0", "2.5", "5", "7.5", "10", "12.5", "15"]),
        (0.9, ["0", "0.15", "0.3", "0.45", "0.6", "0.75", "0.9"]),
    ],
)
def test_the_numbers_at_an_axis_are_those_of_its_ticks(most, numbers):
    frame = points(["a"], loads=(10, 80))
    drawing = figures.draw(Plot(frame.assign(output_throughput=[most / 2, most]), "m", "what", ITL, RATE))
    left = [each for each in drawing.words if each.box.right < drawing.scale.box.left and each.size == 11]
    assert [each.text for each in left] == numbers
    heights = [(each.box.bottom + each.box.top) / 2 - drawing.scale.box.bottom for each in left]
    room = drawing.scale.box.top - drawing.scale.box.bottom
    told = [height / room * drawing.scale.top for height in heights]
    assert told == pytest.approx([float(text.replace(",", "")) for text in numbers], abs=most / 100)


@pytest.mark.parametrize("noise", [math.nan, 0.04])
@pytest.mark.parametrize("curves", [1, 3, 8])
def test_no_two_words_of_a_figure_overlap(curves, noise):
    names = [f"{2**rank}xh100 · tp{2**rank}" for rank in range(curves)]
    drawn = points(names, noise=noise)
    drawing = figures.draw(Plot(drawn.assign(pareto=pareto_front(drawn, ITL, RATE)), "m", "what", ITL, RATE))
    assert len(within(drawing)) >= 2 * curves
    for one, other in itertools.combinations(drawing.words, 2):
        assert not one.box.overlaps(other.box), (one.text, other.text)
    for box in (each.box for each in drawing.words):
        assert box.left >= 0
        assert box.right <= drawing.width
        assert box.bottom >= 0
        assert box.top <= drawing.height


def test_a_load_is_written_nearer_to_its_point_than_to_any_other_of_its_curve():
    loads = (8, 10, 12, 20, 30, 40, 60, 80, 640)  # the smallest lie close together
    drawing = figures.draw(Plot(points(["a", "b", "c"], loads, spread=0.6), "m", "what", ITL, RATE))
    for line in drawing.lines:
        written = [each for each in within(drawing) if each.colour == line.look.colour and each.text.isdigit()]
        assert written
        for each in written:
            distances = [math.dist(each.box.nearest(spot), spot) for spot in line.points]
            assert loads[distances.index(min(distances))] == int(each.text)


@pytest.mark.parametrize("length", [40, 60, 200])
def test_curves_too_close_for_their_names_get_a_key_that_fits(length):
    names = [f"2xh100 · tp2dp2 · {k} · {'long' * 50}"[:length] for k in range(10)]
    drawing = figures.draw(Plot(points(names, spread=0.01), "m", "what", ITL, RATE))
    assert {line.name for line in drawing.key} == set(names)
    assert len({line.look for line in drawing.lines}) == 10
    assert [line.look for line in drawing.key] == [line.look for line in drawing.lines]
    [label] = [each for each in drawing.words if each.text == ITL.label]
    key = [each for each in drawing.words if each.text.startswith("2xh100")]
    assert len({each.text for each in key}) == 10
    for words in key:
        assert 0 <= words.box.bottom < words.box.top <= label.box.bottom
        assert words.box.right <= drawing.width
    for one, other in itertools.combinations(key, 2):
        assert not one.box.overlaps(other.box)


def test_a_single_point_is_a_picture_and_says_so():
    found = section(comparisons.sections(runs(records.record()), Options()), "curves-llama8b")
    assert len(figures.draw(found.figure).lines) == 1
    assert found.notes == ("One load a system: points, not yet curves.",)


def test_runs_without_an_itl_say_so_instead_of_an_empty_picture():
    made = records.record()
    metrics = {key: value for key, value in made.metrics.items() if "itl" not in key}
    found = comparisons.sections(runs(dataclasses.replace(made, metrics=metrics)), Options())
    assert section(found, "curves-llama8b").figure is None
    assert "nothing to draw" in section(found, "curves-llama8b").notes[0]
    assert "9,600 / none" in section(found, "throughput-latency").table.to_string()


# ---- the longest context


def start(context, gpus=1, model="llama8b", requests=1.5, **what):
    """A run without load: what a server said of itself when it was ready."""
    said = {"start_s": 42.5, "max_model_len": context, "kv_cache_tokens": 65_536, "full_context_requests": requests}
    return records.record(
        model=model, gpus=gpus, tp=gpus, num_prompts=0, lengths=Lengths.none, engine={"max_model_len": "auto"},
        metrics={}, server={} if what.get("failure") else said, **what,
    )  # fmt: skip


def test_starts_without_load_give_the_longest_context_and_the_cache_behind_it():
    found = runs(
        start(43_690),
        start(131_072, gpus=2, requests=2.0),
        start(0, model="llama70b", failure=OOM),
        start(0, model="llama70b", gpus=2, failure=Failure("server_died", "killed by signal 9")),
        start(131_072, model="llama70b", gpus=4),
        *curve(),
    )
    made = comparisons.sections(found, Options())
    contexts = section(made, "max-context")
    assert contexts.table.index.tolist() == ["1xh100 · tp1", "2xh100 · tp2", "4xh100 · tp4"]
    assert contexts.table["llama8b"].tolist() == ["43,690", "131,072†", ""]
    assert contexts.table["llama70b"].tolist() == ["0", "", "131,072†"]
    assert contexts.notes == ("2xh100 · tp2 · llama70b: FAILED: server_died at auto",)
    assert section(made, "kv-cache").table["llama8b"].tolist() == [
        "1.5 requests · 65,536 tokens at 43,690",
        "2.0 requests · 65,536 tokens at 131,072",
        "",
    ]
    # They are no points of a curve, and no reason for a row of the table.
    assert section(made, "throughput-latency").table.index.tolist() == ["1xh100 · tp1"]


def test_one_length_that_was_served_under_load_is_no_longest_context():
    loaded = {"engine": {"max_model_len": 2000}}
    found = runs(start(43_690), records.record(**loaded), records.record(gpus=2, tp=2, **loaded))
    made = comparisons.sections(found, Options())
    assert section(made, "max-context").table["llama8b"].tolist() == ["43,690", "≥ 2,000"]
    assert section(made, "kv-cache").table["llama8b"].tolist() == ["1.5 requests · 65,536 tokens at 43,690"]


def test_the_cache_is_told_in_gib_where_the_log_has_them_and_its_tokens_by_their_length():
    made = start(8_192)
    server = made.server | {"kv_cache_tokens": 983_719, "kv_cache_gib": 67.61, "full_context_requests": 120.1}
    table = section(comparisons.sections(runs(dataclasses.replace(made, server=server)), Options()), "kv-cache").table
    assert table["llama8b"].tolist() == ["120.1 requests · 67.6 GiB · 983,719 tokens at 8,192"]


@pytest.mark.parametrize(
    ("scaling", "context", "shown"),
    [
        ({"rope_type": "linear", "factor": 2.0}, 262_144, "262,144†"),
        ({"rope_type": "linear", "factor": 2.0}, 131_072, "131,072"),
        ({"rope_type": "longrope", "original_max_position_embeddings": 4096, "factor": 8.0}, 4096, "4,096†"),
        ({"rope_type": "yarn", "original_max_position_embeddings": 65_536, "factor": 4.0}, 262_144, "262,144†"),
    ],
)
def test_the_models_own_limit_follows_its_rope_scaling(scaling, context, shown):
    made = start(context)
    config = {**made.config, "model": {**made.config["model"], "rope_scaling": scaling}}
    found = runs(dataclasses.replace(made, config=config))
    assert section(comparisons.sections(found, Options()), "max-context").table["llama8b"].tolist() == [shown]


LADDER = (2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000)


def test_a_ladder_of_fixed_lengths_gives_the_longest_that_started():
    """64 systems of 7 lengths: of each, the first `rung` lengths start, and the next runs out of memory."""
    rungs = {
        (model, gpus, kind): (3 * model + 2 * gpus + kind) % 8
        for model in range(8)
        for gpus in range(4)
        for kind in (0, 1)
    }
    rows = []
    for (model, gpus, kind), rung in rungs.items():
        for place, length in enumerate(LADDER):
            failure = "" if place < rung else "oom_kv" if place == rung else "skipped_larger"
            rows.append(
                {
                    "model_label": f"m{model}",
                    "system_label": f"{2**gpus}x{'ah'[kind]}100",
                    "gpus": 2**gpus,
                    "start_time": 0,
                }
                | {"verdict": "FAILED" if failure else "VALID", "failure": failure or None}
                | {"engine.max_model_len": length, "model.max_position_embeddings": 131_072}
                | {"server.max_model_len": math.nan, "server.kv_cache_tokens": math.nan}
                | {"server.full_context_requests": math.nan}
            )
    found = max_context.contexts(pd.DataFrame(rows))
    assert len(found) == 64
    for row in found.itertuples():
        gpus = int(math.log2(row.gpus))
        rung = rungs[int(row.model_label[1:]), gpus, "ah".index(row.system_label[2:3])]
        assert row.context == ([0, *LADDER][rung])


def test_a_length_that_fails_says_nothing_of_shorter_ones_that_were_not_tried():
    long, short = {"max_model_len": 64_000}, {"max_model_len": 2000}
    found = runs(records.record(engine=long, failure=OOM), records.record(gpus=2, tp=2, engine=short))
    contexts = section(comparisons.sections(found, Options()), "max-context")
    assert contexts.table["llama8b"].tolist() == ["", "≥ 2,000"]
    assert contexts.notes == ("1xh100 · tp1 · llama8b: FAILED: oom_load at 64000, and nothing shorter was tried",)


# ---- files


def test_a_png_holds_the_pixels_and_the_size_on_paper():
    pixels = np.arange(7 * 5 * 4, dtype=np.uint8).reshape(7, 5, 4)
    read = Image.open(io.BytesIO(encode_png(pixels, 150)))
    assert np.asarray(read).tolist() == pixels[:, :, :3].tolist()
    assert read.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_repeats_of_small_loads_show_a_percentile_that_can_be_quoted_and_keep_the_others_in_the_data():
    found = runs(*(records.record(num_prompts=80, workload={"seed": seed}) for seed in range(3)))
    repeats = section(comparisons.sections(found, Options()), "repeats")
    assert repeats.table["p95 ITL ms"].tolist() == ["30.00"]  # 1.5 times the median
    assert "p99 ITL ms" not in repeats.table
    assert "p99_itl_ms" in set(repeats.data["metric"])
