"""`python -m vbench.ingest`: records and results on disk reach the store, whatever was there before."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import records
import results

from vbench import compose, ingest, tracking
from vbench.analysis import __main__ as analysis
from vbench.schema import to_plain

pytestmark = [
    pytest.mark.slow,
]  # MLflow's own


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return records.empty_store(tmp_path)


def measured(tmp_path, *loads):
    for n in loads:
        records.saved(records.record(num_prompts=n), tmp_path / "multirun")
    return tmp_path / "multirun"


def test_records_below_a_path_are_filed_once_however_often(tmp_path, capsys):
    measured(tmp_path, 10, 80)
    assert ingest.main(["multirun"]) == 0
    assert capsys.readouterr().out.startswith("filed 2, already there 0, unreadable 0 · sqlite:///")
    measured(tmp_path, 320)
    assert ingest.main(["multirun"]) == 0
    assert capsys.readouterr().out.startswith("filed 1, already there 2, unreadable 0")
    assert sorted(tracking.query("grid")["params.workload.num_prompts"]) == [10, 80, 320]


def test_a_record_can_be_named_itself_and_paths_may_overlap(tmp_path, capsys):
    root = measured(tmp_path, 10)
    [path] = root.rglob("record.json")
    assert ingest.main([str(path), str(path.parent), "multirun"]) == 0
    assert capsys.readouterr().out.startswith("filed 1, already there 0")


def test_the_stores_own_copies_are_not_taken_for_records(tmp_path, capsys):
    measured(tmp_path, 10)
    ingest.main(["."])
    capsys.readouterr()
    assert ingest.main(["."]) == 0
    assert capsys.readouterr().out.startswith("filed 0, already there 1")


def test_an_unreadable_record_is_named_and_the_others_are_filed(tmp_path, capsys):
    root = measured(tmp_path, 10, 80)
    torn = root / "torn"
    torn.mkdir()
    (torn / "record.json").write_text('{"run_key": "12')
    later = root / "later"
    later.mkdir()
    (later / "record.json").write_text(json.dumps({"verdict": "VALID", "colour": "blue"}))
    assert ingest.main(["multirun"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("filed 2, already there 0, unreadable 2")
    assert "torn/record.json: JSONDecodeError" in said.err
    assert "later/record.json: KeyError" in said.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "vbench: ingest: name a path to look below, such as multirun (--help has examples)\n"),
        (["nowhere"], "vbench: nowhere: no such file or folder\n"),
        (
            ["mlruns", "experimnt=x"],
            "vbench: experimnt: no such option, nor is experimnt=x a path; did you mean experiment=?\n",
        ),
        (["mlruns"], "vbench: mlruns: no record.json there or below, nor another JSON file\n"),
    ],
)
def test_a_bad_path_is_one_line_and_exit_code_two(capsys, arguments, line):
    assert ingest.main(arguments) == 2
    assert capsys.readouterr().err == line


def test_a_store_that_fails_is_one_line_and_exit_code_one(tmp_path, capsys, monkeypatch):
    measured(tmp_path, 10, 20)
    (tmp_path / "broken.db").write_text("no database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/broken.db")
    assert ingest.main(["multirun"]) == 1
    said = capsys.readouterr()
    [line] = [line for line in said.err.splitlines() if line.startswith("not filed:")]
    assert "not a database (and 1 more for this reason)" in line
    assert said.out.startswith("filed 0, already there 0, unreadable 0, refused by the store 2")


def test_a_record_that_the_store_refuses_is_named_and_the_others_are_filed(tmp_path, capsys):
    measured(tmp_path, 10)
    gone = records.saved(records.record(num_prompts=20, experiment="it's gone"), tmp_path / "multirun")
    records.saved(records.record(num_prompts=40, experiment="kept"), tmp_path / "multirun")
    assert ingest.main([str(gone)]) == 0
    assert "-m vbench analyze 'experiment=it'\"'\"'s gone'" in capsys.readouterr().out
    from vbench.tracking.opening import connect

    client = connect()
    client.delete_experiment(client.get_experiment_by_name("it's gone").experiment_id)
    assert ingest.main(["multirun"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("filed 2, already there 0, unreadable 0, refused by the store 1")
    [line] = [line for line in said.err.splitlines() if line.startswith("not filed:")]
    assert line.startswith(f"not filed: {gone.resolve()}: experiment ")


def test_help_teaches_with_examples(capsys):
    assert ingest.main(["--help"]) == 0
    assert capsys.readouterr().out.count("python -m vbench.ingest") == 7


# ---- what vLLM's own benchmark measured

SIZES = (1, 2, 4, 8)
LADDER = (2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000)
T_95 = {4: 3.182446, 32: 2.039513}  # Student's t at 97.5 %, by the number of samples
HARDWARE = list(itertools.product(results.CHIPS, SIZES))


def tree_path(model, chip, size, num_prompts=320, length=2000):
    hub_name = results.HUB[model].rpartition("/")[2]
    return f"results/prompt_{num_prompts}/{size}x{results.CHIPS[chip]}/{hub_name}_tp{size}_len{length}.json"


@pytest.fixture
def study(tmp_path):
    """64 summaries, 8 models on 8 kinds of hardware: (model, chip, size) -> (output tokens/s, median ITL in ms)."""
    rng = np.random.default_rng(20240819)
    cells = {}
    for model, (chip, size) in itertools.product(results.HUB, HARDWARE):
        rate, gap = float(rng.uniform(80, 40_000)), float(rng.uniform(4, 160))
        cells[model, chip, size] = rate, gap
        summary = results.summary(results.HUB[model], output_throughput=rate, median_itl_ms=gap)
        results.written(summary, tmp_path, tree_path(model, chip, size))
    return cells


def test_the_table_and_the_gpu_ratios_of_64_imported_summaries_are_those_computed_by_hand(study, tmp_path, capsys):
    assert ingest.main(["results", "experiment=study"]) == 0
    assert capsys.readouterr().out.startswith("filed 64, already there 0, unreadable 0")
    assert analysis.main(["experiment=study", "out=report", "figures=[]"]) == 0

    best = {model: max(rate for (other, *_), (rate, _) in study.items() if other == model) for model in results.HUB}
    by_hand = {
        (f"{size}x{chip} · tp{size}", label(model)): f"{'★ ' if rate == best[model] else ''}{rate:,.0f} / {gap:.1f}"
        for (model, chip, size), (rate, gap) in study.items()
    }
    assert table(tmp_path / "report" / "report.md", "Throughput and latency") == by_hand
    with (tmp_path / "report" / "throughput-latency.csv").open() as file:
        rows = {(row["series"], row["system"]): row for row in csv.DictReader(file)}
    assert len(rows) == 64
    for (model, chip, size), (rate, gap) in study.items():
        row = rows[f"{size}x{chip} · tp{size}", label(model)]
        assert float(row["output_throughput"]) == pytest.approx(rate, rel=1e-8)
        assert float(row["median_itl_ms"]) == pytest.approx(gap, rel=1e-8)
    check_ratios(table(tmp_path / "report" / "report.md", "h100 against a100"), study)


def check_ratios(found, study):
    """Geometric means over the sizes, and over all, with the interval that the scatter of the ratios gives."""
    pairs = {
        label(model): [np.divide(study[model, "h100", size], study[model, "a100", size]) for size in SIZES]
        for model in results.HUB
    }
    pairs["all models"] = [ratio for ratios in pairs.values() for ratio in ratios]
    for model, ratios in pairs.items():
        assert found[model, "points"] == str(len(ratios))
        for metric, column in zip(("output tokens/s", "median ITL in ms"), np.log(ratios).T, strict=True):
            mean, half = column.mean(), T_95[len(column)] * column.std(ddof=1) / len(column) ** 0.5
            by_hand = [np.exp(mean), np.exp(mean - half), np.exp(mean + half)]
            assert found[model, metric] == "{:.3f} [{:.3f}, {:.3f}]".format(*by_hand)


@pytest.mark.slow  # 448 runs are filed
def test_a_ladder_of_lengths_of_which_some_failed_gives_the_longest_contexts(tmp_path, capsys):
    """7 lengths on 64 systems: each serves up to a length of its own, some none."""
    rng = np.random.default_rng(7)
    limits = {model.name: model.max_position_embeddings for model in compose.known_models()}
    by_hand = {}
    for model, (chip, size) in itertools.product(results.HUB, HARDWARE):
        longest = int(rng.choice([0, *(length for length in LADDER if length <= limits[model])]))
        by_hand[f"{size}x{chip} · tp{size}", label(model)] = f"{longest:,}"
        for length in LADDER:
            found = rung(model, length, longest, limits[model])
            results.written(found, tmp_path, tree_path(model, chip, size, length=length))
    assert ingest.main(["results", "experiment=ladder"]) == 0
    assert capsys.readouterr().out.startswith("filed 448, already there 0, unreadable 0")
    assert analysis.main(["experiment=ladder", "out=report", "figures=[]"]) == 0
    assert table(tmp_path / "report" / "report.md", "Longest context") == by_hand


def rung(model, length, longest, limit):
    """What is found at one length by who serves `longest` at most, of a model that knows `limit`."""
    if length <= longest:
        return results.summary(results.HUB[model])
    if length > limit:
        return {"reason": f"ValueError: User-specified max_model_len ({length}) is greater than the derived {limit}"}
    if longest == 0:
        return {"reason": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB"}
    return {
        "reason": f"ValueError: max seq len ({length}) is larger than the maximum number of tokens that can be "
        f"stored in KV cache ({longest})"
    }


def label(model):
    """A model's column where models of both precisions are compared: the study's Llamas were served in FP8."""
    return f"{model} · {'FP8' if model.startswith('llama') else 'BF16'} weights"


def table(report, title):
    """The cells of a report's table: (row, column) -> text."""
    _, _, section = report.read_text().partition(f"## {title}\n")
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in itertools.takewhile(
            lambda line: line.startswith("|"), re.split(r"\n(?=\|)|\n", section[section.index("|") :])
        )
    ]
    return {(name, column): cell for name, *cells in rows for column, cell in zip(head[1:], cells, strict=True)}


def test_imported_results_keep_their_dates_and_are_filed_once(study, tmp_path, capsys):
    ingest.main(["results"])
    capsys.readouterr()
    assert ingest.main([str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out.startswith("filed 0, already there 64, unreadable 0")
    runs = tracking.query("imported")
    assert len(runs) == 64
    assert {f"{moment:%Y-%m-%d %H:%M:%S}" for moment in runs["start_time"]} == {"2024-08-19 06:18:52"}
    assert set(runs["tags.vbench.source"]) == {"imported"}


def test_reasons_are_failures_that_the_report_counts(tmp_path, capsys):
    results.written(results.summary(), tmp_path, tree_path("mistral7b", "h100", 1))
    results.written({"reason": "CUDA out of memory"}, tmp_path, tree_path("llama70b", "h100", 1))
    ingest.main(["results"])
    analysis.main(["out=report"])
    cells = table(tmp_path / "report" / "report.md", "Throughput and latency")
    assert cells["1xh100 · tp1", label("llama70b")] == "N/A [a]"
    assert "[a] FAILED: oom_load" in capsys.readouterr().out


def test_arrays_come_with_the_run_as_its_raw_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "server.log").write_text("of a server of somebody else, in /tmp")
    results.written(results.detailed([(0.5, [0.1, 0.1], 3)] * 4), tmp_path, "one.json")
    assert ingest.main(["one.json"]) == 0
    [run] = tracking.query("imported").to_dict("records")
    assert run["metrics.median_e2el_ms"] == pytest.approx(700)
    assert sorted(path.name for path in (tmp_path / "mlruns" / "artifacts").rglob("*.*")) == [
        "record.json",
        "requests.npz",
    ]


def test_an_appended_file_is_as_many_runs_and_a_sweeps_folder_is_read_once(tmp_path, capsys):
    lines = "\n".join(json.dumps(results.summary(num_prompts=n)) for n in (10, 20, 40))
    results.written(lines, tmp_path, "results/appended.json")
    swept = [results.summary(run_number=n, max_num_seqs=64, date=f"20240819-06190{n}") for n in range(2)]
    for n, run in enumerate(swept):
        results.written(run, tmp_path, f"results/SERVE--max_num_seqs=64/run={n}.json")
    results.written(swept, tmp_path, "results/SERVE--max_num_seqs=64/summary.json")
    results.written(results.summary(run_number=-1), tmp_path, "results/SERVE--max_num_seqs=64/warmup.json")
    assert ingest.main(["results", "results/SERVE--max_num_seqs=64/run=0.json"]) == 0
    assert capsys.readouterr().out.startswith("filed 5, already there 2, unreadable 0")


def test_a_file_that_is_neither_is_named_and_does_not_stop_the_rest(tmp_path, capsys):
    results.written(results.summary(), tmp_path, "results/good.json")
    results.written({"name": "web", "version": "1"}, tmp_path, "results/package.json")
    results.written('{"duration": 1', tmp_path, "results/torn.json")
    assert ingest.main(["results"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("filed 1, already there 0, unreadable 2")
    unreadable = dict(line.removeprefix("unreadable: ").split(": ", 1) for line in said.err.split("\n") if line)
    assert {Path(path).name for path in unreadable} == {"package.json", "torn.json"}


def test_files_that_vbench_writes_beside_its_records_are_not_taken_for_results(tmp_path, capsys):
    root = measured(tmp_path, 10)
    [record] = root.rglob("record.json")
    (record.parents[1] / "session.json").write_text("{}")
    (record.parent / "other.json").write_text("{}")
    assert ingest.main(["."]) == 0
    assert capsys.readouterr().out.startswith("filed 1, already there 0, unreadable 0")


def test_imported_and_measured_runs_are_told_apart_by_their_source_alone(tmp_path, capsys):
    [mistral] = [to_plain(model) for model in compose.known_models() if model.name == "mistral7b"]
    ours = records.record(model="mistral7b", engine={"max_num_seqs": 64})
    ours = dataclasses.replace(ours, config=ours.config | {"model": mistral})
    tracking.file(records.saved(ours, tmp_path / "multirun"))
    results.written(results.summary(), tmp_path, tree_path("mistral7b", "h100", 1))
    ingest.main(["results", "experiment=grid"])
    analysis.main(["experiment=grid", "out=report"])
    cells = table(tmp_path / "report" / "report.md", "Throughput and latency")
    assert {row for row, _ in cells} == {"1xh100 · tp1 · measured", "1xh100 · tp1 · imported"}
