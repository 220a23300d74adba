"""The door: `python -m vbench.analysis [key=value …]`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vbench import tracking
from vbench.analysis import axes, frame, report
from vbench.analysis.comparisons import against, sections
from vbench.analysis.options import Options, options
from vbench.schema.errors import Refused, VbenchError

if TYPE_CHECKING:
    from vbench.analysis.section import Section

HELP = f"""\
python -m vbench.analysis [key=value ...]

Every table and figure from the tracked runs: shown here in short, written whole to a folder.

  experiment=NAME   runs of one experiment (default: of all)
  where="FILTER"    an MLflow filter (default: none)
  out=FOLDER        where report.html, report.md, figures and CSVs go (default: report)
  figures=png,svg   the formats of the figures, of png, svg, pdf; [] draws none (default: png,svg)
  num_prompts=N     the load of the tables (default: 320, or the largest load that all systems share)
  x=KEY  y=KEY      what curves and tables show (default: {axes.LATENCY} and {axes.THROUGHPUT}), of
                    {", ".join(each.key for each in axes.AXES[:6])},
                    {", ".join(each.key for each in axes.AXES[6:])}
  prices="{{h100: 2.5, a100: 1.8}}"
                    $ an hour of one GPU, for y=dollars_per_million_tokens (default: what the runs recorded)
  slo=20,50,100     the limits on x at which tensor and data parallel are compared
  against=NAME      a baseline: another experiment, or an engine version
  fail_if="output_throughput<0.97"
                    exit code 1 if a ratio to the baseline is beyond that, with its whole 95 % interval

Examples
  python -m vbench.analysis
  python -m vbench.analysis experiment=published num_prompts=80 out=report/published
  python -m vbench.analysis where="params.`model.name` = 'llama70b' and tags.`vbench.weights` = 'hub'"
  python -m vbench.analysis y=dollars_per_million_tokens x=median_tpot_ms prices="{{h100: 2.5, a100: 1.8}}"
  python -m vbench.analysis experiment=tonight against=lastweek fail_if="output_throughput<0.97"

Runs are read from MLFLOW_TRACKING_URI, or else from mlruns/mlflow.db below the current folder.
"""
PAGE = 200  # characters a line, where no terminal says how many it has


@dataclass(frozen=True)
class Report:
    """What was compared, and the files that hold it."""

    runs: frame.Runs
    sections: list[Section]
    files: list[Path]
    regressions: list[str]  # lines of what fails


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0; 1 where fail_if holds or the store failed; 2 where the question was wrong or empty."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")  # noqa: T201
        return 0
    try:
        chosen = options(arguments)
        made = make(chosen, ["python", "-m", "vbench.analysis", *arguments])
    except Refused as refusal:
        print(f"vbench: {refusal}", file=sys.stderr)  # noqa: T201
        return 2
    except VbenchError as error:
        print(f"vbench: {error}", file=sys.stderr)  # noqa: T201
        return 1
    show(made)
    for line in _filed(made, chosen):
        print(f"  {line}")  # noqa: T201
    return int(bool(made.regressions))


def make(chosen: Options, command: list[str]) -> Report:
    """Queries, compares and writes; `command` is what the report says makes it again.

    Raises Refused where the question is wrong or there is nothing to say, TrackingFailed where the store fails.
    """
    runs = _runs(chosen)
    if runs.all.empty:
        raise Refused(_nothing(chosen, runs.foreign))
    found = sections(runs, chosen)
    regressions = against.regressions(found, chosen.fail_if) if chosen.fail_if else []
    origin = report.provenance(runs, command, tracking.store())
    return Report(runs, found, report.write(found, origin, Path(chosen.out), chosen.figures), regressions)


def _runs(chosen: Options) -> frame.Runs:
    """What was asked for, apart from the baseline, which it carries with it."""
    table = tracking.query(chosen.experiment, chosen.where)
    if chosen.against is None:
        return frame.runs(table, chosen.prices)
    versions = table.get("tags.vbench.engine_version", pd.Series(index=table.index, dtype=object))
    if (versions == chosen.against).any():
        new, old = table[versions != chosen.against], table[versions == chosen.against]
    elif chosen.against == chosen.experiment:
        raise Refused(f"against={chosen.against}: it is the experiment itself; name another one, or an engine version")
    else:
        new, old = table[table["experiment"] != chosen.against], _baseline(chosen, versions)
    return dataclasses.replace(frame.runs(new, chosen.prices), baseline=frame.runs(old, chosen.prices))


def _baseline(chosen: Options, versions: pd.Series) -> pd.DataFrame:
    try:
        return tracking.query(chosen.against, chosen.where)
    except Refused as refusal:
        listed = ", ".join(sorted(set(versions.dropna()))) or "none"
        reason = str(refusal).removeprefix("experiment=")
        raise Refused(f"against={reason}; nor is it an engine version of these runs ({listed})") from refusal


def show(made: Report) -> None:
    """The short of it, for a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = PAGE
    for section in made.sections:
        _show(console, section)
    if made.runs.valid.empty and made.runs.starts.empty:
        console.print("No VALID run yet, so there is nothing to compare; what went wrong stands above.")
    for path in made.files:
        if path.suffix in (".png", ".html"):
            console.print(f"  {path}", highlight=False, soft_wrap=True)
    for line in made.regressions:
        console.print(f"[red]regression[/]: {escape(line)}", highlight=False, soft_wrap=True)


def _filed(made: Report, chosen: Options) -> list[str]:
    """Files the report with the campaign that is named, and says where it is seen; one of a part of it is of none."""
    if not chosen.experiment or chosen.where or chosen.against:
        return []
    try:
        pages = tracking.report(chosen.experiment, report.described(made.sections), made.files)
    except tracking.TrackingFailed as error:
        return [f"not filed in MLflow: {error}"]
    return [page for page in (pages.campaign, pages.report) if page]


def _show(console: Console, section: Section) -> None:
    if section.table is not None:
        shown = Table(title=escape(section.title), title_justify="left", title_style="bold", caption_justify="left")
        shown.add_column(escape(str(section.table.index.name)), overflow="fold")
        for column in section.table.columns:
            shown.add_column(escape(str(column)), justify="right", overflow="fold")
        for name, *cells in section.table.itertuples():
            shown.add_row(*(escape(str(cell)) for cell in (name, *cells)))
        console.print(shown)
        console.print(section.caption, style="dim", markup=False, highlight=False)
    elif section.notes and section.figure is None:
        console.print(f"[bold]{escape(section.title)}[/]")
    for note in section.notes:
        console.print(f"  {note}", markup=False, highlight=False)
    if section.table is not None:
        console.print()


def _nothing(chosen: Options, foreign: int) -> str:
    place = f"experiment={chosen.experiment}" if chosen.experiment else tracking.store()
    if chosen.where:
        return f'no run of {place} passes where="{chosen.where}"; leave it out to see all'
    if foreign:
        return f"{place} has {foreign} runs, but none of vbench's"
    return f"{place} has no runs yet; measure (python -m vbench) or file records (python -m vbench.ingest PATH)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
