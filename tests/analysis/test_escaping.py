"""Names come from records and files of others: none of them is markup in a page, a figure or a terminal."""

from __future__ import annotations

import dataclasses
import io
import re
from html.parser import HTMLParser

import pytest
import records

from vbench.analysis import comparisons, figures, frame, report, terminal
from vbench.analysis.answers import answer
from vbench.analysis.axes import axis
from vbench.analysis.options import Options
from vbench.analysis.plot import Plot
from vbench.analysis.section import Section, slug
from vbench.schema.record import Failure, Reason
from vbench.tracking.mapping import flatten
from vbench.tracking.markdown import escape_markdown, markdown_table
from vbench.watch.console import open_console

pytestmark = pytest.mark.slow  # takes seconds

NAMES = [
    "<script>alert(1)</script>",
    "a $x_{1$ b",
    "$\\frac{",
    "a|b | c",
    "`code` **bold** ~~gone~~",
    "line\nbreak\r\nand\ttab",
    "[red]alert[/] [/] \\",
    "\x1b[31mred\x1b[0m",
    "_hidden",
    "[text](javascript:alert(1))",
    "&lt;b&gt; &amp;",
    "../../up",
    "模型",
    "x" * 400,
]


def named(name):
    return [
        records.record(model=name, num_prompts=n, gpus=gpus, tp=gpus, output_throughput=n * 30.0, median_itl_ms=n / 8)
        for n in (10, 80)
        for gpus in (1, 2)
    ]


class Tags(HTMLParser):
    """The names of all elements, and all text."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_markup_nowhere(name, tmp_path, capsys):
    failed = records.record(model=name, gpus=4, tp=4, failure=Failure("server_died", name))
    runs = frame.runs(records.table([*named(name), failed]))
    found = comparisons.sections(runs, Options(figures=["png", "svg"]))
    origin = report.provenance(runs, ["python", name], f"sqlite:///{name}")
    first = answer(runs, found, Options())
    files = report.write(first, found, origin, tmp_path / "out", ["png", "svg"])
    assert {path.parent for path in files} == {tmp_path / "out"}
    assert all(path.exists() for path in files)

    page = Tags()
    page.feed((tmp_path / "out" / "report.html").read_text())
    assert not {"script", "b"} & set(page.found)
    shown = " ".join("".join(page.text).split())
    assert " ".join(name.split()) in shown

    lines = (tmp_path / "out" / "report.md").read_text().splitlines()
    assert not [line for line in lines if "<" in line or (re.search(r"(?<!\\)[$`](?!run\d)", line.replace("`, `", ""))
                and not line.startswith("Runs: "))]  # fmt: skip
    tables = [line for line in lines if line.startswith("| ")]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "hardware" in line or "h100" in line}
    assert len(widths) <= 3  # of each table one

    console = open_console()
    terminal.print_answer(console, first)
    for section in found:
        terminal.print_section(console, section)
    assert "\x1b" not in capsys.readouterr().out


def test_a_report_says_where_its_runs_are_from_without_a_password():
    runs = frame.runs(records.table(named("m")))
    origin = report.provenance(runs, ["vbench", "analyze", "--api-key", "0a1B2c"], "http://me:p@55@mlflow:5000")
    assert origin.facts["store"] == "http://***@mlflow:5000"
    assert origin.facts["command"] == "vbench analyze --api-key ***"


def test_a_figure_shows_dollars_and_a_first_underscore_as_they_are():
    points = frame.runs(records.table(named("m"))).valid
    rows = comparisons.curves.mean_points(comparisons.curves.add_labels(points, []))
    names = dict(zip(rows["system_label"].unique(), ("$a$ and $b", "_under"), strict=True))
    drawn = rows.assign(system_label=rows["system_label"].map(names))
    drawing = figures.draw(Plot(drawn, "$t_{", "$s", axis("median_itl_ms"), axis("output_throughput")))
    assert {"$a$ and $b", "_under", "$t_{", "$s"} <= {each.text for each in drawing.words}
    written = io.StringIO()
    figures.render(drawing, written, "svg")
    assert {"<!-- $a$ and $b -->", "<!-- $t_{ -->"} <= {
        line.strip() for line in written.getvalue().splitlines()
    }  # matplotlib names texts so


def test_a_terminal_shows_brackets_as_they_are(capsys):
    section = Section("s", "[bold]title[/]", notes=("[rank0]: out of memory",))
    terminal.print_section(open_console(), section)
    assert capsys.readouterr().out == "[bold]title[/]\n  [rank0]: out of memory\n"


def test_a_markdown_table_has_one_line_a_row_and_one_cell_a_column():
    table = markdown_table(["a", "b"], [["x|y", "1\n2"], ["`", "<i>"]], [True, False])
    assert table.splitlines() == ["| a | b |", "|---|---:|", "| x\\|y | 1 2 |", "| \\` | &lt;i> |"]
    assert escape_markdown("num_prompts=8 [a] _x_") == "num_prompts=8 [a] \\_x\\_"


def test_a_note_of_mlflow_is_no_markup():
    reasons = [Reason("late_sends", "<img src=x onerror=alert(1)> | `x`")]
    made = dataclasses.replace(records.record(invalid=reasons), name="<b>name</b>")
    note = flatten(made).tags["mlflow.note.content"]
    assert "<" not in note
    assert "&lt;b>name&lt;/b>" in note


def test_names_that_differ_only_in_what_a_file_cannot_hold_have_files_of_their_own():
    assert slug("curves", "模型") != slug("curves", "通义")
    assert len(slug("curves", "x" * 400)) < 150
    runs = frame.runs(records.table([*named("a b"), *named("a/b"), *named("A-b")]))
    made = [each.slug for each in comparisons.sections(runs, Options(figures=[])) if each.slug.startswith("curves-A")
            or each.slug.startswith("curves-a")]  # fmt: skip
    assert len({name.casefold() for name in made}) == len(made) == 3


def test_a_key_that_runs_have_as_parameter_and_as_metric_is_one_column():
    made = [records.record(num_prompts=count) for count in (20, 80)]
    table = records.table(made).assign(**{"params.odd": ["a", "b"], "metrics.odd": [1.0, 2.0]})
    runs = frame.runs(table)
    assert runs.all["odd"].tolist() in (["a", "b"], ["b", "a"])
    assert comparisons.sections(runs, Options(figures=[]))
