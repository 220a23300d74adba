"""Results as others publish them: read, told apart, and never called VALID where they measured nothing."""

from __future__ import annotations

import csv
import json

import pytest
import records
import results

from vbench import ingest, tracking
from vbench.analysis import __main__ as analysis

pytestmark = [
    pytest.mark.slow,  # files 64 runs and reports them
]


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


def tree_path(model, chip, size, num_prompts=320, length=2000):
    hub_name = results.HUB[model].rpartition("/")[2]
    return f"results/prompt_{num_prompts}/{size}x{results.CHIPS[chip]}/{hub_name}_tp{size}_len{length}.json"


def compared(capsys, *arguments):
    """What the analysis prints of everything below `results`, and its CSV of one load."""
    assert ingest.main(["results", "experiment=x", *arguments]) == 0
    assert analysis.main(["experiment=x", "out=rep"]) == 0
    return capsys.readouterr().out


def at_one_load(tmp_path):
    with (tmp_path / "rep" / "throughput-latency.csv").open() as file:
        return {row["series"]: float(row["output_throughput"]) for row in csv.DictReader(file)}


def test_a_result_that_says_nothing_of_its_hardware_is_drawn_under_a_name(tmp_path, capsys):
    results.written(results.summary("facebook/opt-125m"), tmp_path, "results/openai-infqps-opt-125m.json")
    assert "unknown system" in compared(capsys)
    assert (tmp_path / "rep" / "curves-opt-125m.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"completed": 0, "failed": 320, "output_throughput": 0.0, "duration": 0.005}, "failed_requests"),
        ({"completed": 0, "failed": 0, "output_throughput": 0.0}, "failed_requests"),
        ({"output_throughput": 0.0, "total_output_tokens": 0}, "no_tokens"),
        ({"duration": 0.0}, "no_duration"),
    ],
)
def test_a_result_that_measured_nothing_is_invalid_beside_others_that_did(tmp_path, capsys, changes, reason):
    zero = {key: 0.0 for key in results.summary() if key.endswith("_ms")} if changes.get("completed") == 0 else {}
    results.written(results.summary(**zero, **changes), tmp_path, tree_path("mistral7b", "h100", 1))
    results.written(results.summary(output_throughput=4800.0), tmp_path, tree_path("mistral7b", "h100", 2))
    assert reason in compared(capsys)
    assert at_one_load(tmp_path) == {"2xh100 · tp2": 4800}


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        ({"framework": "sglang"}, {"framework": "vllm"}, "framework=sglang"),
        ({"label": "night"}, {"label": None}, "label=night"),
        ({"backend": "tgi"}, {}, "backend=tgi"),
        ({"total_input_tokens": 320_000}, {"total_input_tokens": 32_000}, "input_len=1000"),
        ({"total_output_tokens": 320_000}, {"total_output_tokens": 32_000}, "output_len=1000"),
    ],
)
def test_unlike_results_are_no_repeats(tmp_path, capsys, one, other, word):
    results.written(results.summary(**one, output_throughput=300.0), tmp_path, "results/one.json")
    results.written(results.summary(**other, output_throughput=600.0), tmp_path, "results/other.json")
    said = compared(capsys)
    assert word in said
    assert "n = 2" not in said
    assert sorted(at_one_load(tmp_path).values()) == [300, 600]


def test_results_whose_prompts_differ_by_chance_only_are_repeats(tmp_path, capsys):
    for seed, tokens in enumerate((70_000, 70_900, 69_500)):
        given = results.summary(seed=seed, total_input_tokens=tokens, total_output_tokens=tokens - 10_000)
        results.written(given, tmp_path, f"results/{seed}.json")
    assert "n = 3 repeats" in compared(capsys)


def test_the_goodput_of_older_versions_is_read(tmp_path):
    results.written(results.summary(**{"request_goodput:": 3.5}), tmp_path, "results/a.json")
    ingest.main(["results", "experiment=x"])
    assert tracking.query("x")["metrics.request_goodput"].tolist() == [3.5]


def test_models_whose_names_have_no_letter_of_a_file_name_have_a_figure_each(tmp_path, capsys):
    for place, model in enumerate(("模型", "通义")):
        results.written(results.summary(model, output_throughput=50.0 + place), tmp_path, f"results/{place}.json")
    compared(capsys)
    assert len(list((tmp_path / "rep").glob("curves-*.png"))) == 2


def test_options_that_differ_beyond_what_mlflow_keeps_are_told_apart(tmp_path, capsys):
    sizes = [list(range(2000)), [*range(1999), 4000]]
    for place, some in enumerate(sizes):
        swept = {"run_number": 0, "compilation_config": {"cudagraph_capture_sizes": some}}
        results.written(
            results.summary(**swept, output_throughput=80.0 * (1 + place)), tmp_path, f"results/{place}/run=0.json"
        )
    said = compared(capsys)
    assert "cudagraph_capture_sizes=sha256:" in said
    assert "n = 2" not in said
    assert sorted(at_one_load(tmp_path).values()) == [80, 160]


def test_a_result_without_num_prompts_stands_at_what_was_completed(tmp_path, capsys):
    given = results.summary(max_concurrency=16, backend="sglang", request_rate=float("inf"))
    lines = [{**given, "max_concurrency": n, "output_throughput": 300.0 + n} for n in (16, 32)]
    for line in lines:
        del line["num_prompts"]
    results.written("\n".join(json.dumps(line) for line in lines), tmp_path, "results/llama8b_1xh100.jsonl")
    said = compared(capsys, r"pattern=(?P<model>\w+)_(?P<gpus>\d)x(?P<gpu>\w+)\.jsonl")
    assert "nan" not in said
    assert "at max_concurrency=32" in said
    assert "320 prompts" in said
    assert at_one_load(tmp_path) == {"1xh100": 332}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"model_id": "\\ud800", "duration": 1, "completed": 1, "output_throughput": 1}',
        "\x00",
        "[{}, 3]",
    ],
)
def test_a_file_that_is_no_result_is_one_line(tmp_path, capsys, text):
    results.written(text, tmp_path, "results/odd.json")
    assert ingest.main(["results"]) == 1
    said = capsys.readouterr().err.strip()  # a progress bar came and went
    assert said.startswith("unreadable: ")
    assert "\n" not in said
