"""`python -m vbench.analysis`: its files, its lines and what it files in MLflow."""

from __future__ import annotations

import re
import subprocess
import sys

import pandas as pd
import pytest
import records
from sections import OOM, curve

from vbench import tracking
from vbench.analysis import __main__ as door
from vbench.analysis import figures, frame
from vbench.analysis.answers import within_slo as within_slo_answers
from vbench.analysis.comparisons import within_slo
from vbench.analysis.inline import inline_svg
from vbench.analysis.options import Options, parse_options
from vbench.schema.errors import Refused
from vbench.schema.pasting import say_command
from vbench.schema.record import Reason

pytestmark = [
    pytest.mark.usefixtures("store"),
]


# ---- the door


def test_the_report_is_whole_and_fetches_nothing(file, tmp_path, capsys):
    file(*curve(), *curve(gpus=2, tp=2, slower=0.6), records.record(gpus=4, tp=4, failure=OOM))
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
    assert page.count("<figure ") == 1
    own = re.sub(r"(<script[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)  # test_explorer runs the scripts
    assert not re.search(r"<(link|img|iframe)\b|@import|src=", own)
    text = (out / "report.md").read_text()
    assert "command: python -m vbench.analysis experiment=grid out=made/here" in text
    assert "6 VALID used, 1 INVALID or FAILED left out" in text
    assert all(run in text and run in page for run in frame.runs(tracking.query()).valid["run_id"])
    read = pd.read_csv(out / "curves-llama8b.csv")
    assert read["output_throughput"].tolist() == [300, 2400, 9600, 500, 4000, 16000]


def test_an_empty_experiment_says_what_to_do(file, capsys):
    file(records.record())
    assert door.main(["experiment=Default"]) == 2
    assert capsys.readouterr().err == (
        "vbench: experiment=Default has no runs yet; measure (vbench model=…) or file records "
        f"({say_command('ingest', 'PATH')})\n"
    )


def test_a_filter_that_nothing_passes_says_so(file, capsys):
    file(records.record())
    assert door.main(["where=metrics.output_throughput > 99999"]) == 2
    assert "passes where=" in capsys.readouterr().err


def test_failures_only_give_their_table_and_a_sentence(file, capsys):
    file(records.record(failure=OOM), records.record(gpus=2, tp=2, invalid=[Reason("late_sends", "")]))
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
    assert door.main([]) == 4  # not 1: no gate failed
    assert "not a database" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("experimnt=grid", "experimnt: no such option; did you mean experiment=?"),
        ("report", "report: options are key=value"),
        ("num_prompts=many", "num_prompts=many: must be a whole number of prompts"),
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


def test_the_report_of_a_campaign_is_filed_with_it_and_its_table_is_the_description(file, capsys):
    file(*curve(), records.record(model="llama70b", failure=OOM))
    for _ in range(2):
        assert door.main(["experiment=grid"]) == 0
    [run], note, client = filed_reports()
    files = {each.path for each in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "report.md", "curves-llama8b.png", "curves-llama8b.svg", "throughput-latency.csv"} <= files
    assert "| 1xh100 · tp1 | N/A [a] | 9,600 / 25.0 |" in note
    assert f"| FAILED | {OOM.kind} | 1 |" in note


def test_a_report_of_a_part_or_of_several_campaigns_is_filed_with_none(file):
    file(*curve())
    assert door.main(["experiment=grid", "where=params.`workload.num_prompts` = '80'"]) == 0
    file(*curve(experiment="other"))
    assert door.main([]) == 0
    reports, note, _ = filed_reports()
    assert reports == []
    assert "9,600" not in note


def test_a_report_that_cannot_be_filed_is_written_all_the_same(file, tmp_path, capsys):
    file(*curve())
    artifacts = tmp_path / "mlruns" / "artifacts" / "grid"
    artifacts.rename(tmp_path / "elsewhere")
    artifacts.write_text("in the way")
    assert door.main(["experiment=grid"]) == 0
    assert "not filed in MLflow: cannot file the report of grid" in capsys.readouterr().out
    assert (tmp_path / "report" / "grid" / "report.html").exists()


def test_a_second_report_leaves_no_file_of_the_first_and_none_of_others_out(file, tmp_path, capsys):
    file(*curve(), *curve(model="llama70b"))
    out = tmp_path / "made"
    out.mkdir()
    (out / "mine.png").write_text("not a report's")
    assert door.main(["experiment=grid", "out=made"]) == 0
    assert (out / "curves-llama70b.png").exists()
    assert door.main(["where=params.`model.name` = 'llama8b'", "out=made"]) == 0
    left = {path.name for path in out.iterdir()}
    assert {"curves-llama8b.png", "mine.png"} <= left
    assert not [name for name in left if "llama70b" in name or name.startswith(".")]


def test_a_report_that_cannot_be_drawn_leaves_the_earlier_one_whole(file, tmp_path, monkeypatch, capsys):
    file(*curve())
    assert door.main(["experiment=grid", "out=made"]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    monkeypatch.setattr(figures, "render", broken)
    assert door.main(["experiment=grid", "out=made"]) == 2
    assert "out=made: cannot write the report: No space left on device" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()} == before


def broken(*_):
    raise OSError(28, "No space left on device")


def test_a_report_goes_to_a_folder_of_its_experiment(file, tmp_path, capsys):
    assert Options().folder == "report"
    assert Options(experiment="grid").folder == "report/grid"
    assert Options(experiment="../up").folder == "report/up"
    assert Options(experiment="..").folder == "report/experiment"
    assert Options(experiment="grid", out="here").folder == "here"


@pytest.mark.parametrize(("window", "mark"), [({}, "≤ 1,000"), ({"slo_window_s": 30.0}, "1,000")])
def test_the_rates_of_a_search_by_an_earlier_version_are_called_too_high(window, mark):
    made = records.record(metrics={"slo_max_concurrency": 22, "slo_output_throughput": 1000.0, "probes": 22} | window)
    made.config["workload"] |= {"search": "max_concurrency", "slo": {"ttft_ms": 500.0}}
    found = frame.runs(records.table([made]))
    [section] = within_slo.sections(found, Options())
    assert section.table["output throughput (tokens/s)"].tolist() == [mark]
    assert bool(section.notes) == mark.startswith("≤")
    [sentence] = within_slo_answers.sentences(section.data)
    assert ("at most 1,000 output tokens/s" in sentence) == mark.startswith("≤")


def test_a_store_of_a_search_only_has_an_answer_and_whole_probes(file, tmp_path, capsys):
    slo = {"search": "max_concurrency", "slo": {"ttft_ms": 500.0, "tpot_ms": 50.0}}
    made = records.record(metrics={"slo_max_concurrency": 22, "probes": 22, "slo_request_goodput": 3.0})
    made.config["workload"] |= slo
    file(made)
    assert door.main(["experiment=grid", "figures=[]"]) == 0
    said = capsys.readouterr().out
    assert "No VALID run yet" not in said
    assert "TTFT ≤ 500 ms, TPOT ≤ 50 ms" in said
    assert "22.0" not in said
    assert ",22\n" in (tmp_path / "report" / "grid" / "within-slo.csv").read_text()


def test_a_figure_in_the_page_is_shorter_and_has_its_letters_where_they_were():
    glyph = '<use xlink:href="#DejaVuSans-1a" transform="translate(63.625 0)"/>\n  <use xlink:href="#DejaVuSans-1b"/>'
    defined = '<path id="DejaVuSans-1a" transform="scale(0.015625)"/>'
    drawing = (
        f'<?xml?><svg viewBox="0 0 100 90"><metadata>x</metadata>{defined}<path d="M 1.23456 2\nL 3 4"/>{glyph}</svg>'
    )
    assert inline_svg(drawing) == (
        '<svg viewBox="0 26 100 64"><path id="g1a" transform="scale(0.015625)"/><path d="M 1.23 2L 3 4"/>'
        '<use xlink:href="#g1a" x="63.62"/><use xlink:href="#g1b"/></svg>'
    )


def test_the_door_does_without_pyarrow_and_leaves_it_to_others():
    program = (
        "import sys, vbench.analysis.__main__, pandas\n"
        "assert 'pyarrow' not in sys.modules\n"
        "assert pandas.Series(['a', None]).isna().tolist() == [False, True]\n"
        "import pyarrow; print(pyarrow.__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "pyarrow\n"), ran.stderr
