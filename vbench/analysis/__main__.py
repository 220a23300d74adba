"""The door: `python -m vbench.analysis [key=value …]`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench import tracking
from vbench.analysis import axes, explorer, frame, report
from vbench.analysis.answers import Answer, answer
from vbench.analysis.comparisons import against, sections
from vbench.analysis.gate import Outcome
from vbench.analysis.options import Options, parse_options
from vbench.analysis.terminal import print_answer, print_files, print_outcome, print_section
from vbench.analysis.unfinished import count_to_come
from vbench.schema.errors import Refused, VbenchError, describe_disk_fault
from vbench.schema.pasting import say_command
from vbench.watch.console import open_console
from vbench.watch.pipes import end_quietly

if TYPE_CHECKING:
    from vbench.analysis.section import Section

MULTIRUN = Path("multirun")  # what campaigns write here
STORE_FAILED = 4  # the exit code; 1 is a gate that failed, and a CI must tell the two apart

HELP = f"""\
python -m vbench.analysis [key=value ...]

Compares the tracked runs. Prints the answer and the tables, and writes all tables and figures to a folder.

  experiment=NAME   runs of one experiment (default: of all; a system that several measured is a curve for each)
  where="FILTER"    an MLflow filter (default: none)
  out=FOLDER        where report.html, report.md, figures and CSVs go (default: report/EXPERIMENT, or report for all)
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
                    a limit on the ratio to the baseline. The last line says failed (a whole 95 % interval lies
                    beyond the limit: exit code 1), passed (all lie within: 0) or undecided (3)

Examples
  python -m vbench.analysis
  python -m vbench.analysis experiment=published num_prompts=80
  python -m vbench.analysis where="params.`model.name` = 'llama70b' and tags.`vbench.weights` = 'hub'"
  python -m vbench.analysis y=dollars_per_million_tokens x=median_tpot_ms prices="{{h100: 2.5, a100: 1.8}}"
  python -m vbench.analysis experiment=tonight against=lastweek fail_if="output_throughput<0.97"

Runs are read from MLFLOW_TRACKING_URI, or else from mlruns/mlflow.db below the current folder.
Exit codes: 0; 1 if fail_if failed; 2 if the question is wrong or there are no runs; 3 if fail_if is undecided;
4 if the store cannot be read, which says nothing of the limit.
"""


@dataclass(frozen=True)
class Report:
    """What was compared, the files that hold it, and what the gate found if there is one."""

    runs: frame.Runs
    answer: Answer
    sections: list[Section]
    files: list[Path]
    outcome: Outcome | None


def main(arguments: list[str]) -> int:
    """Returns the exit code that HELP gives."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")  # noqa: T201
        return 0
    try:
        chosen = parse_options(arguments)
        made = make_report(chosen, ["python", "-m", "vbench.analysis", *arguments])
    except Refused as refusal:
        print(f"vbench: {refusal}", file=sys.stderr)  # noqa: T201
        return 2
    except VbenchError as error:
        print(f"vbench: {error}", file=sys.stderr)  # noqa: T201
        return STORE_FAILED
    except OSError as error:
        if (fault := describe_disk_fault(error)) is None:
            raise
        print(f"vbench: {fault}", file=sys.stderr)  # noqa: T201
        return STORE_FAILED
    print_report(made)
    for line in _file_report(made, chosen):
        print(f"  {line}")  # noqa: T201
    return made.outcome.exit_code if made.outcome else 0


def make_report(chosen: Options, command: list[str]) -> Report:
    """Queries, compares and writes; the report names `command` as what makes it again.

    Raises Refused if the question is wrong or there are no runs, TrackingFailed if the store fails.
    """
    runs = _query_runs(chosen)
    if runs.all.empty:
        raise Refused(_explain_empty(chosen, runs.foreign))
    found = sections(runs, chosen)
    outcome = None
    if chosen.fail_if:
        outcome = against.judge_sections(found, chosen.fail_if, against.advise_first(runs), against.find_lost(runs))
    origin = report.provenance(runs, command, tracking.store())
    first = answer(runs, found, chosen)
    files = report.write(first, found, origin, Path(chosen.folder), chosen.figures, _collect_points(found, chosen))
    return Report(runs, first, found, files, outcome)


def _collect_points(found: list[Section], chosen: Options) -> dict[str, Any] | None:
    """The points of the page's interactive figure; None without figures, or if nothing was measured."""
    runs = next((each.runs for each in found if each.runs is not None), None)
    if runs is None or not chosen.figures:
        return None
    return explorer.collect_points(runs, chosen, tracking.run_page)


def print_report(made: Report) -> None:
    """The answer, the tables, the paths of the files, and what the gate found."""
    console = open_console()
    print_answer(console, made.answer)
    for section in made.sections:
        print_section(console, section)
    if made.runs.used_runs.empty:
        console.print("No VALID run yet, so there is nothing to compare; what went wrong stands above.")
    print_files(console, made.files)
    if made.outcome:
        print_outcome(console, made.outcome)


def _query_runs(chosen: Options) -> frame.Runs:
    """The runs that were asked for, with their baseline."""
    table = tracking.query(chosen.experiment, chosen.where)
    if chosen.against is None:
        return _read(table, chosen, chosen.experiment)
    versions = table.get("tags.vbench.engine_version", pd.Series(index=table.index, dtype=object))
    if (versions == chosen.against).any():
        new, old = table[versions != chosen.against], table[versions == chosen.against]
    elif chosen.against == chosen.experiment:
        raise Refused(f"against={chosen.against}: it is the experiment itself; name another one, or an engine version")
    else:
        new, old = table[table["experiment"] != chosen.against], _query_baseline(chosen, versions)
    baseline = _read(old, chosen, None if len(old) and (versions == chosen.against).any() else chosen.against)
    return dataclasses.replace(_read(new, chosen, chosen.experiment), baseline=baseline)


def _read(table: pd.DataFrame, chosen: Options, experiment: str | None) -> frame.Runs:
    """The runs of the table; of a whole experiment also how many of its points are to come."""
    found = frame.runs(table, chosen.prices)
    if experiment is None or chosen.where:
        return found
    measured = {*found.all["run_key"], *found.superseded["run_key"]}
    return dataclasses.replace(found, to_come=count_to_come(MULTIRUN / experiment, measured))


def _query_baseline(chosen: Options, versions: pd.Series) -> pd.DataFrame:
    try:
        return tracking.query(chosen.against, chosen.where)
    except Refused as refusal:
        listed = ", ".join(sorted(set(versions.dropna()))) or "none"
        reason = str(refusal).removeprefix("experiment=")
        raise Refused(f"against={reason}; nor is it an engine version of these runs ({listed})") from refusal


def _file_report(made: Report, chosen: Options) -> list[str]:
    """Files the report with its campaign and returns the pages that show it; only a whole campaign has a report."""
    if not chosen.experiment or chosen.where or chosen.against:
        return []
    try:
        pages = tracking.report(chosen.experiment, report.markdown_parts(made.answer, made.sections), made.files)
    except tracking.TrackingFailed as error:
        return [f"not filed in MLflow: {error}"]
    return [page for page in (pages.campaign, pages.report) if page]


def _explain_empty(chosen: Options, foreign: int) -> str:
    place = f"experiment={chosen.experiment}" if chosen.experiment else tracking.store()
    if chosen.where:
        return f'no run of {place} passes where="{chosen.where}"; leave it out to see all'
    if foreign:
        return f"{place} has {foreign} runs, but none of vbench's"
    return f"{place} has no runs yet; measure (vbench model=…) or file records ({say_command('ingest', 'PATH')})"


if __name__ == "__main__":
    sys.exit(end_quietly(lambda: main(sys.argv[1:])))
