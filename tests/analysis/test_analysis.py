"""Tables have the cells that a hand computation gives, figures what was measured, and nothing is mixed in silence."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import subprocess
import sys

import pandas as pd
import pytest
import records
from matplotlib.text import Annotation

from vbench import tracking
from vbench.analysis import __main__ as door
from vbench.analysis import comparisons, figures, frame, labels
from vbench.analysis import points as mean
from vbench.analysis.axes import axis
from vbench.analysis.comparisons import excluded, max_context
from vbench.analysis.comparisons import repeats as repetition
from vbench.analysis.options import Options, parse_options
from vbench.analysis.pareto import pareto_front
from vbench.schema import Lengths, Weights
from vbench.schema.errors import Refused
from vbench.schema.record import Failure, Reason

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow's own
ITL, RATE = axis("median_itl_ms"), axis("output_throughput")
OOM = Failure("oom_load", "CUDA out of memory")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


@pytest.fixture
def runs(tmp_path):
    """Files records and gives the analysis' view of all that is filed."""

    def file(*made):
        for record in made:
            tracking.file(records.saved(record, tmp_path / "multirun"))
        return frame.runs(tracking.query())

    return file


def curve(loads=(10, 80, 320), slower=1.0, **what):
    return [
        records.record(num_prompts=n, output_throughput=30 * n / slower, median_itl_ms=slower * (5 + n / 16), **what)
        for n in loads
    ]


def section(found, slug):
    return next(each for each in found if each.slug == slug)


def annotations(figure):
    return [text for text in figure.axes[0].texts if isinstance(text, Annotation) and text.get_text()]


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


# ---- the frame


def test_runs_are_named_by_model_hardware_parallelism_and_load(runs):
    found = runs(records.record(gpus=4, tp=2, dp=2, num_prompts=80))
    [row] = found.valid.to_dict("records")
    named = {"model": "llama8b", "hardware": "4xh100", "gpus": 4, "parallelism": "tp2dp2", "num_prompts": 80}
    assert named.items() <= row.items()
    assert row["device"] == "NVIDIA H100"
    assert row["output_throughput"] == 9600


def test_only_the_latest_valid_run_of_a_key_counts(runs):
    found = runs(
        records.record(experiment="monday", output_throughput=9000),
        records.record(experiment="tuesday", output_throughput=9100, started="2026-11-21T10:00:00Z"),
        records.record(experiment="friday", invalid=[Reason("late_sends", "")], started="2026-11-22T10:00:00Z"),
    )
    assert found.valid["output_throughput"].tolist() == [9100]
    assert found.left_out.empty  # its point was measured


def test_runs_of_other_tools_are_counted_and_left_alone(runs):
    from mlflow import MlflowClient

    found = MlflowClient(tracking.store())
    found.create_run(found.create_experiment("theirs"))
    assert runs(records.record()).foreign == 1
    assert len(runs().valid) == 1


# ---- what is never mixed in silence


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"engine_version": "vllm 0.32.0"}, {"1xh100 · tp1 · vllm 0.26.0", "1xh100 · tp1 · vllm 0.32.0"}),
        ({"weights": Weights.dummy}, {"1xh100 · tp1 · hub weights", "1xh100 · tp1 · dummy weights"}),
        ({"lengths": Lengths.random}, {"1xh100 · tp1 · ShareGPT lengths", "1xh100 · tp1 · random lengths"}),
        ({"workload": {"request_rate": 4.0}}, {"1xh100 · tp1 · request_rate=inf", "1xh100 · tp1 · request_rate=4"}),
        ({"engine": {"max_num_seqs": 64}}, {"1xh100 · tp1", "1xh100 · tp1 · max_num_seqs=64"}),
        (
            {"engine": {"max_model_len": "auto"}},
            {"1xh100 · tp1 · max_model_len=2000", "1xh100 · tp1 · max_model_len=auto"},
        ),
        (
            {"engine": {"command": ["python", "tests/fake_vllm.py"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · not vLLM's own server: python tests/fake_vllm.py"},
        ),
        (
            {"engine": {"command": ["python", "-m", "vllm.entrypoints.cli.main", "serve"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · vllm serve"},
        ),
        (
            {"engine": {"command": ["/opt/b/python", "-m", "vllm.entrypoints.openai.api_server"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · /opt/b/python -m vllm.entrypoints.openai.api_server"},
        ),
        (
            {"engine": {"extra_args": ["--api-server-count", "4"]}},
            {"1xh100 · tp1", "1xh100 · tp1 · --api-server-count 4"},
        ),
        (
            {"gpu": dataclasses.replace(records.H100, product="H100 PCIe")},
            {"1xh100 · tp1 · NVIDIA H100", "1xh100 · tp1 · NVIDIA H100 PCIe"},
        ),
    ],
    ids=["engine", "weights", "lengths", "rate", "option", "context", "fake", "serve", "other", "args", "product"],
)
def test_runs_that_differ_in_what_shapes_a_result_are_series_of_their_own(runs, change, names):
    found = runs(records.record(), records.record(**change))
    assert set(labels.add_labels(found.valid, found.conditions)["system_label"]) == names


def test_seeds_make_repeats_and_repeats_give_means_and_intervals(runs):
    made = [
        records.record(workload={"seed": seed}, output_throughput=rate) for seed, rate in enumerate((900, 1000, 1400))
    ]
    found = runs(*made, records.record(num_prompts=10))
    alone, point = mean.mean_points(labels.add_labels(found.valid, found.conditions)).to_dict("records")
    assert (point["runs"], point["output_throughput"]) == (3, 1100)
    assert point["output_throughput_half_width"] == pytest.approx(657.2, abs=0.1)  # 4.3027 · 264.58 / √3
    assert point["median_itl_ms_half_width"] == 0
    assert alone["runs"] == 1
    assert math.isnan(alone["output_throughput_half_width"])


def test_what_differs_only_between_models_is_said_of_the_model(runs):
    found = runs(records.record(), records.record(model="llama70b", engine={"max_model_len": 8000}))
    rows = labels.add_labels(found.valid, found.conditions)
    assert set(rows["model_label"]) == {"llama8b · max_model_len=2000", "llama70b · max_model_len=8000"}
    assert set(rows["system_label"]) == {"1xh100 · tp1"}


def test_dummies_cpus_and_fakes_are_always_said(runs):
    found = runs(
        records.record(gpus=0, weights=Weights.dummy, engine={"command": ["python", "fake.py"], "enforce_eager": True})
    )
    said = labels.shared_conditions(found.valid)
    for word in ("EPYC 9654", "dummy weights", "vllm 0.26.0", "enforce_eager", "not vLLM's own server: python fake.py"):
        assert word in said


# ---- tables


def test_the_table_has_the_cells_of_a_hand_computation(runs):
    found = runs(
        records.record(gpus=1, output_throughput=9612.3, median_itl_ms=21.44),
        records.record(gpus=2, tp=2, output_throughput=13000.0, median_itl_ms=14.0),
        records.record(gpus=2, dp=2, output_throughput=12500.4, median_itl_ms=20.06),
        records.record(model="llama70b", gpus=2, tp=2, output_throughput=2100.0, median_itl_ms=44.0),
        records.record(model="llama70b", gpus=1, failure=OOM),
        records.record(model="llama70b", gpus=4, tp=4, num_prompts=80),
        records.record(model="llama70b", gpus=2, dp=2, invalid=[Reason("late_sends", "")]),
    )
    table = section(comparisons.sections(found, Options(num_prompts=320)), "throughput-latency")
    expected = pd.DataFrame(
        {
            "llama70b": ["N/A [a]", "N/A [b]", "2,100 / 44.0", "N/A [c]"],
            "llama8b": ["9,612 / 21.4", "12,500 / 20.1", "★ 13,000 / 14.0", "N/A [d]"],
        },
        index=pd.Index(["1xh100 · tp1", "2xh100 · dp2", "2xh100 · tp2", "4xh100 · tp4"], name="hardware · parallelism"),
    )
    pd.testing.assert_frame_equal(table.table, expected, check_column_type=False, check_index_type=False)
    assert table.notes == (
        "[a] FAILED: oom_load",
        "[b] INVALID: late_sends",
        "[c] measured only at num_prompts=80",
        "[d] not measured",
    )


@pytest.mark.parametrize(
    ("loads", "asked", "load", "says"),
    [
        ([(10, 80, 320), (10, 320)], None, 320, "num_prompts=320. "),
        ([(10, 80, 320), (10, 80)], None, 80, "num_prompts=80 (the largest load that all systems share"),
        ([(10, 80, 320), (10, 80)], 320, 320, "num_prompts=320. "),
        ([(10, 80), (10, 80)], 64, 80, "num_prompts=80 (the largest load that all systems share"),
        ([(10, 320), (80,)], None, 320, "no load is shared by all"),
        ([(10, 40), (40,), (80,)], None, 40, "the load that most systems have"),
    ],
)
def test_the_load_of_the_table_is_shared_or_asked_for_and_said(runs, loads, asked, load, says):
    found = runs(*(record for gpus, some in enumerate(loads, 1) for record in curve(some, gpus=gpus, dp=gpus)))
    table = section(comparisons.sections(found, Options(num_prompts=asked)), "throughput-latency")
    assert set(table.data["load"]) == {load}
    assert says in table.caption


def test_what_is_left_out_is_counted_by_reason(runs):
    late, hits = Reason("late_sends", ""), Reason("prefix_hits", "")
    found = runs(
        records.record(gpus=1, failure=OOM),
        records.record(gpus=2, tp=2, failure=OOM),
        records.record(gpus=4, tp=4, invalid=[late, hits]),
        records.record(gpus=8, tp=8, invalid=[late]),
    )
    table = excluded.count_by_reason(found.left_out)
    assert table[["verdict", "reason", "runs"]].to_numpy().tolist() == [
        ["FAILED", "oom_load", 2],
        ["INVALID", "late_sends", 2],
        ["INVALID", "prefix_hits", 1],
    ]


# ---- repeats


def repeated(**what):
    """Three runs of a point: tok/s 9000, 9600, 9900 and ITL 21, 20, 19."""
    return [
        records.record(workload={"seed": seed}, output_throughput=rate, median_itl_ms=itl, **what)
        for seed, (rate, itl) in enumerate(((9000, 21.0), (9600, 20.0), (9900, 19.0)))
    ]


def test_repeats_have_means_and_intervals_of_a_hand_computation(runs):
    found = runs(*repeated(), records.record(num_prompts=80), records.record(num_prompts=80, workload={"seed": 1}))
    repeats = section(comparisons.sections(found, Options()), "repeats")
    rows = dict(zip(repeats.table.index, repeats.table.to_numpy().tolist(), strict=True))
    assert rows == {
        # 9500 ± 4.30265 · 458.26 / √3; the latencies are the ITL's 20 ± 4.30265 · 1 / √3 times 8, 1 and 2.1
        "llama8b · 1xh100 · tp1 · n320": ["9,500 ± 1,138", "160.0 ± 19.9", "20.00 ± 2.48", "42.00 ± 5.22", 3, "12.0%"],
        "llama8b · 1xh100 · tp1 · n80": ["9,600 ± 0", "160.0 ± 0.0", "20.00 ± 0.00", "42.00 ± 0.00", 2, "0.0%"],
    }
    assert "Student's t" in repeats.caption
    numbers = repeats.data.set_index(["load", "metric"])
    assert numbers.loc[(320, "output_throughput"), ["mean", "half_width", "n"]].tolist() == pytest.approx(
        [9500, 1138.37, 3], rel=1e-4
    )
    assert numbers.loc[(320, "p95_e2el_ms"), "mean"] == pytest.approx(1.5 * 210 * 20)
    assert set(numbers.loc[80].index) == set(repetition.KEY_METRICS)


def test_without_repeats_there_is_no_word_of_them(runs):
    found = comparisons.sections(runs(*curve()), Options())
    assert "repeats" not in {each.slug for each in found}
    assert not any("±" in each.caption for each in found)


def test_an_invalid_repeat_is_in_no_mean(runs):
    late = records.record(workload={"seed": 3}, output_throughput=10, invalid=[Reason("late_sends", "")])
    repeats = section(comparisons.sections(runs(*repeated(), late), Options()), "repeats")
    assert repeats.table["n"].tolist() == [3]


def test_the_table_says_what_repeats_say_and_of_how_many(runs):
    found = runs(*repeated(), records.record(gpus=2, tp=2, output_throughput=13000.0, median_itl_ms=14.0))
    table = section(comparisons.sections(found, Options()), "throughput-latency")
    assert table.table["llama8b"].tolist() == ["9,500 ± 1,138 / 20.0 ± 2.5", "★ 13,000 / 14.0"]
    assert "mean ± half of its 95 % interval, n = 1 to 3 repeats" in table.caption


def test_a_curve_has_a_bar_for_each_interval(runs):
    found = runs(*repeated(), records.record(num_prompts=10, output_throughput=300, median_itl_ms=5.0))
    curves = section(comparisons.sections(found, Options()), "curves-llama8b")
    [axes] = curves.figure.axes
    [bars] = axes.collections
    across, up = (bar.tolist() for bar in bars.get_segments())
    assert across == [pytest.approx([20 - 2.484, 9500], abs=1e-3), pytest.approx([20 + 2.484, 9500], abs=1e-3)]
    assert up == [pytest.approx([20, 9500 - 1138.37], abs=0.01), pytest.approx([20, 9500 + 1138.37], abs=0.01)]
    assert axes.get_xlim()[1] > 22.484
    assert axes.get_ylim()[1] > 10639
    assert "n = 1 to 3 repeats" in curves.caption
    assert "bars: 95 % interval, n = 1 to 3" in [text.get_text() for text in curves.figure.texts]


# ---- figures


def test_a_figure_has_each_systems_points_at_latency_and_throughput_named_and_numbered(runs):
    found = runs(*curve(), *curve(gpus=2, tp=2, slower=0.6))
    figure = section(comparisons.sections(found, Options()), "curves-llama8b").figure
    [axes] = figure.axes
    drawn = {line.get_label(): line.get_xydata().round(3).tolist() for line in axes.lines}
    assert drawn["1xh100 · tp1"] == [[5.625, 300], [10, 2400], [25, 9600]]
    assert drawn["2xh100 · tp2"] == [[3.375, 500], [6, 4000], [15, 16000]]
    written = [text.get_text() for text in annotations(figure)]
    assert sorted(written) == sorted(["1xh100 · tp1", "2xh100 · tp2", *["10", "80", "320"] * 2])
    said = [text.get_text() for text in figure.texts]
    assert "llama8b: throughput against latency" in said
    assert "output throughput (tokens/s)" in said
    assert any("up and left is better" in text for text in said)
    assert any("vllm 0.26.0 · NVIDIA H100 · hub weights · ShareGPT lengths" in text for text in said)
    assert axes.get_xlabel() == "median inter-token latency (ms)"


@pytest.mark.parametrize("noise", [math.nan, 0.04])
@pytest.mark.parametrize("curves", [1, 3, 8])
def test_no_two_words_of_a_figure_overlap(curves, noise):
    names = [f"{2**rank}xh100 · tp{2**rank}" for rank in range(curves)]
    drawn = points(names, noise=noise)
    figure = figures.curves(drawn.assign(pareto=pareto_front(drawn, ITL, RATE)), "m", "what", ITL, RATE)
    figure.canvas.draw()
    edge = figure.bbox
    boxes = [text.get_window_extent() for text in annotations(figure)]
    assert len(boxes) >= 2 * curves
    around = [text for text in (*figure.texts, figure.axes[0].xaxis.label) if text.get_text()]
    boxes += [text.get_window_extent() for text in around]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    for box in boxes:
        assert box.x0 >= edge.x0
        assert box.x1 <= edge.x1
        assert box.y0 >= edge.y0
        assert box.y1 <= edge.y1


def test_curves_too_close_for_their_names_get_a_key():
    names = [f"2xh100 · tp2dp2 · max_model_len={k}000 · enforce_eager=false" for k in range(10)]
    figure = figures.curves(points(names, spread=0.01), "m", "what", ITL, RATE)
    [key] = figure.legends
    assert {text.get_text() for text in key.get_texts()} == set(names)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 10
    figure.canvas.draw()
    assert key.get_window_extent().y1 <= figure.axes[0].xaxis.label.get_window_extent().y0


def test_a_single_point_is_a_picture_and_says_so(runs):
    found = section(comparisons.sections(runs(records.record()), Options()), "curves-llama8b")
    assert len(found.figure.axes[0].lines) == 1
    assert found.notes == ("One load a system: points, not yet curves.",)


def test_runs_without_an_itl_say_so_instead_of_an_empty_picture(runs):
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


def test_starts_without_load_give_the_longest_context_and_the_cache_behind_it(runs):
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
    assert section(made, "kv-cache").table["llama8b"].tolist() == ["65,536 / 1.5", "65,536 / 2.0", ""]
    # They are no points of a curve, and no reason for a row of the table.
    assert section(made, "throughput-latency").table.index.tolist() == ["1xh100 · tp1"]


def test_one_length_that_was_served_under_load_is_no_longest_context(runs):
    loaded = {"engine": {"max_model_len": 2000}}
    found = runs(start(43_690), records.record(**loaded), records.record(gpus=2, tp=2, **loaded))
    made = comparisons.sections(found, Options())
    assert section(made, "max-context").table["llama8b"].tolist() == ["43,690", "≥ 2,000"]
    assert section(made, "kv-cache").table["llama8b"].tolist() == ["65,536 / 1.5"]


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


def test_a_length_that_fails_says_nothing_of_shorter_ones_that_were_not_tried(runs):
    long, short = {"max_model_len": 64_000}, {"max_model_len": 2000}
    found = runs(records.record(engine=long, failure=OOM), records.record(gpus=2, tp=2, engine=short))
    contexts = section(comparisons.sections(found, Options()), "max-context")
    assert contexts.table["llama8b"].tolist() == ["", "≥ 2,000"]
    assert contexts.notes == ("1xh100 · tp1 · llama8b: FAILED: oom_load at 64000, and nothing shorter was tried",)


# ---- the door


def test_the_report_is_whole_and_fetches_nothing(runs, tmp_path, capsys):
    runs(*curve(), *curve(gpus=2, tp=2, slower=0.6), records.record(gpus=4, tp=4, failure=OOM))
    assert door.main(["experiment=grid", "out=made/here"]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "made" / "here"
    names = [
        "curves-llama8b.csv",
        "curves-llama8b.png",
        "curves-llama8b.svg",
        "left-out.csv",
        "report.html",
        "report.md",
    ]
    assert sorted(path.name for path in out.iterdir()) == [*names, "scaling.csv", "throughput-latency.csv"]
    assert "made/here/report.html" in said
    assert "oom_load" in said
    page = (out / "report.html").read_text()
    assert page.count("<svg ") == 1
    assert not re.search(r"<(script|link|img|iframe)\b|@import|src=", page)
    text = (out / "report.md").read_text()
    assert "command: python -m vbench.analysis experiment=grid out=made/here" in text
    assert "6 VALID used, 1 INVALID or FAILED left out" in text
    assert all(run in text and run in page for run in frame.runs(tracking.query()).valid["run_id"])
    read = pd.read_csv(out / "curves-llama8b.csv")
    assert read["output_throughput"].tolist() == [300, 2400, 9600, 500, 4000, 16000]


def test_an_empty_experiment_says_what_to_do(runs, capsys):
    runs(records.record())
    assert door.main(["experiment=Default"]) == 2
    assert capsys.readouterr().err == (
        "vbench: experiment=Default has no runs yet; measure (python -m vbench) or file records "
        "(python -m vbench.ingest PATH)\n"
    )


def test_a_filter_that_nothing_passes_says_so(runs, capsys):
    runs(records.record())
    assert door.main(["where=metrics.output_throughput > 99999"]) == 2
    assert "passes where=" in capsys.readouterr().err


def test_failures_only_give_their_table_and_a_sentence(runs, capsys):
    runs(records.record(failure=OOM), records.record(gpus=2, tp=2, invalid=[Reason("late_sends", "")]))
    assert door.main(["out=made"]) == 0
    said = capsys.readouterr().out
    assert "No VALID run yet" in said
    assert "late_sends" in said


def test_a_missing_store_is_one_line(store, capsys):
    store.unlink()
    assert door.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("vbench: nothing is tracked yet")
    assert said.count("\n") == 1


def test_a_store_that_fails_is_one_line_and_another_exit_code(tmp_path, capsys, monkeypatch):
    (tmp_path / "broken.db").write_text("no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/broken.db")
    assert door.main([]) == 1
    assert "not a database" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("experimnt=grid", "experimnt: no such option; did you mean experiment=?"),
        ("report", "report: options are key=value"),
        ("num_prompts=many", "num_prompts=many: Value 'many'"),
    ],
)
def test_a_wrong_option_is_one_line_with_the_way_out(argument, line):
    with pytest.raises(Refused) as refused:
        parse_options([argument])
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_options_are_taken_as_typed():
    where = "params.`model.name` = 'llama70b' and tags.x = ': [#'"
    assert parse_options([f"where={where}", "num_prompts=80", "experiment=7"]) == Options(
        experiment="7", where=where, num_prompts=80
    )
    assert parse_options(["experiment=null"]) == Options()


def test_help_teaches_with_three_examples():
    help_text = subprocess.check_output([sys.executable, "-m", "vbench.analysis", "--help"], text=True, cwd=ROOT)
    assert help_text.partition("Examples")[2].count("python -m vbench.analysis") >= 3


ROOT = __file__.rpartition("/tests/")[0]


# ---- the report in MLflow


def filed_reports():
    from mlflow import MlflowClient

    client = MlflowClient(tracking.store())
    experiment = client.get_experiment_by_name("grid")
    found = client.search_runs([experiment.experiment_id], "tags.`vbench.report` = 'true'")
    return found, experiment.tags["mlflow.note.content"], client


def test_the_report_of_a_campaign_is_filed_with_it_and_its_table_is_the_description(runs, capsys):
    runs(*curve(), records.record(model="llama70b", failure=OOM))
    for _ in range(2):
        assert door.main(["experiment=grid"]) == 0
    [run], note, client = filed_reports()
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "report.md", "curves-llama8b.png", "curves-llama8b.svg", "throughput-latency.csv"} <= files
    assert "| 1xh100 · tp1 | N/A [a] | 9,600 / 25.0 |" in note
    assert f"| FAILED | {OOM.kind} | 1 |" in note


def test_a_report_of_a_part_or_of_several_campaigns_is_filed_with_none(runs):
    runs(*curve())
    assert door.main(["experiment=grid", "where=params.`workload.num_prompts` = '80'"]) == 0
    runs(*curve(experiment="other"))
    assert door.main([]) == 0
    reports, note, _ = filed_reports()
    assert reports == []
    assert "9,600" not in note


def test_a_report_that_cannot_be_filed_is_written_all_the_same(runs, tmp_path, capsys):
    runs(*curve())
    artifacts = tmp_path / "mlruns" / "artifacts" / "grid"
    artifacts.rename(tmp_path / "elsewhere")
    artifacts.write_text("in the way")
    assert door.main(["experiment=grid"]) == 0
    assert "not filed in MLflow: cannot file the report of grid" in capsys.readouterr().out
    assert (tmp_path / "report" / "grid" / "report.html").exists()


def test_a_second_report_leaves_no_file_of_the_first_and_none_of_others_out(runs, tmp_path, capsys):
    runs(*curve(), *curve(model="llama70b"))
    out = tmp_path / "made"
    out.mkdir()
    (out / "mine.png").write_text("not a report's")
    assert door.main(["experiment=grid", "out=made"]) == 0
    assert (out / "curves-llama70b.png").exists()
    assert door.main(["where=params.`model.name` = 'llama8b'", "out=made"]) == 0
    left = {path.name for path in out.iterdir()}
    assert {"curves-llama8b.png", "mine.png"} <= left
    assert not [name for name in left if "llama70b" in name or name.startswith(".")]


def test_a_report_that_cannot_be_drawn_leaves_the_earlier_one_whole(runs, tmp_path, monkeypatch, capsys):
    runs(*curve())
    assert door.main(["experiment=grid", "out=made"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    monkeypatch.setattr(figures, "render", broken)
    assert door.main(["experiment=grid", "out=made"]) == 2
    assert "out=made: cannot write the report: No space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()} == before


def broken(*_):
    raise OSError(28, "No space left on device")


def test_a_report_goes_to_a_folder_of_its_experiment(runs, tmp_path, capsys):
    assert Options().folder == "report"
    assert Options(experiment="grid").folder == "report/grid"
    assert Options(experiment="../up").folder == "report/up"
    assert Options(experiment="..").folder == "report/experiment"
    assert Options(experiment="grid", out="here").folder == "here"


def test_a_store_of_a_search_only_has_an_answer_and_whole_probes(runs, tmp_path, capsys):
    slo = {"search": "max_concurrency", "slo": {"ttft_ms": 500.0, "tpot_ms": 50.0}}
    made = records.record(metrics={"slo_max_concurrency": 22, "probes": 22, "slo_request_goodput": 3.0})
    made.config["workload"] |= slo
    runs(made)
    assert door.main(["experiment=grid", "figures=[]"]) == 0
    said = capsys.readouterr().out
    assert "No VALID run yet" not in said
    assert "TTFT ≤ 500 ms, TPOT ≤ 50 ms" in said
    assert "22.0" not in said
    assert ",22\n" in (tmp_path / "report" / "grid" / "within-slo.csv").read_text()
