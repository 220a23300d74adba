"""The summary of a campaign: a table of its points, its failures, and what to run next. Nothing is printed here."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table

from vbench.metrics.grades import find_grades, say_verdict
from vbench.metrics.intervals import interval
from vbench.metrics.quantiles import count_replies, needs_text, percentile_of, quotable, upper_key
from vbench.plan.naming import say_name
from vbench.schema.record import Record
from vbench.watch.markup import fill_markup, literal
from vbench.watch.searches import answer_line, is_probe, is_search, probe_line

COLUMNS = {
    "output tok/s": "output_throughput",
    "TTFT ms": "median_ttft_ms",
    "ITL ms": "median_itl_ms",
    "p99 ITL ms": "p99_itl_ms",
}
CANCELLED = "cancelled"  # the kind of failure that the user asked for
COLOURS = {"VALID": "green", "INVALID": "yellow", "FAILED": "red"}


def exit_code(records: Sequence[Record]) -> int:
    """0 if every record is VALID, else 1. Probes do not count: a search has a verdict of its own."""
    return int(any(record.verdict != "VALID" for record in records if not is_probe(record)))


def summary(records: Sequence[Record]) -> Iterator[RenderableType]:
    """A table of all points, measured now or earlier, then the failures. Repeats share a row: mean ± half-width."""
    points = _group_by_point(records)
    columns = _choose_columns(points)
    table = Table("run", *columns, "verdict", box=None, pad_edge=False)
    for column in table.columns[1:-1]:
        column.justify = "right"
    for column in (table.columns[0], table.columns[-1]):
        column.overflow = "fold"  # on a narrow terminal a long name goes on in the next line, whole
    cells = [_metric_cells(point, columns.values()) for point in points]
    for point, row in zip(points, cells, strict=True):
        table.add_row(literal(_row_name(point)), *row, _verdict_cell(point))
    yield table
    for few in sorted({cell for row in cells for cell in row if cell.startswith("needs ")}):
        yield f"{few}: so many replies are needed before this percentile can be told"
    bounded = [upper_key(key) for key in columns.values() if percentile_of(key)]
    if any(key in record.metrics for record in records for key in bounded):
        yield "(≤ …): the true percentile is not above this, with 95 % confidence"
    if any(len(_valid_records(point)) > 1 for point in points):
        several = any(len(_starts(point)) > 1 for point in points)
        starts = ", by the means of the server's starts where there are several" if several else ""
        yield f"±: half the 95 % t interval of the mean over VALID repeats{starts}"
    yield from _failure_lines(records)


def advice(records: Sequence[Record]) -> Iterator[str]:
    """Says how many runs the same command would measure again, for each value of `rerun`, and if given unchanged."""
    points = [record for record in records if not is_probe(record)]
    passing = [record.failure.kind for record in points if record.failure and not record.final]
    counts = {
        "add rerun=invalid to measure {} again: INVALID": sum(record.verdict == "INVALID" for record in points),
        "add rerun=failed to measure {} again: FAILED": sum(bool(record.failure) and record.final for record in points),
        "run the same command again to retry {}: a transient failure": sum(kind != CANCELLED for kind in passing),
        "run the same command again to measure {}: cancelled": sum(kind == CANCELLED for kind in passing),
    }
    for step, count in counts.items():
        if count:
            yield f"next: {step.format('1 run' if count == 1 else f'{count} runs')}"


def result_line(record: Record) -> str:
    """A record in one line: its key metrics and its verdict."""
    verdict = f"[{COLOURS[record.verdict]}]{say_verdict(record)}[/]"
    if is_search(record):
        return f"{answer_line(record)}  {verdict}"
    if is_probe(record) and "slo_level" in record.metrics:
        return f"{probe_line(record)}  {verdict}"
    if record.failure:
        return f"{verdict} {literal(record.failure.kind)}"
    if "output_throughput" not in record.metrics:
        return verdict
    metrics = record.metrics
    parts = [f"{metrics['output_throughput']:,.1f} tok/s"]
    parts += [f"ITL {metrics['median_itl_ms']:.2f} ms"] if "median_itl_ms" in metrics else []
    parts += [f"TTFT {metrics['median_ttft_ms']:.1f} ms"] if "median_ttft_ms" in metrics else []
    return f"{', '.join(parts)} (medians)  {verdict}"


def _failure_lines(records: Sequence[Record]) -> Iterator[str]:
    """One line for each session and reason, because the points of a session often fail together."""
    counts: dict[tuple[str, str, str], int] = {}
    for record in records:
        if record.failure:
            why = (record.session, record.failure.kind, record.failure.line)
            counts[why] = counts.get(why, 0) + 1
    for (session, kind, line), count in counts.items():
        runs = "1 run" if count == 1 else f"{count} runs"
        yield fill_markup("[red]{}[/]: {} of {}: {}", kind, runs, session, line)


def _group_by_point(records: Sequence[Record]) -> list[list[Record]]:
    """Groups records that differ only in their seed and in the start of their server, in order of the seed."""
    points: dict[str, list[Record]] = {}
    for record in records:
        workload, engine = ({**record.config.get(part, {})} for part in ("workload", "engine"))
        session = record.session if engine.pop("restart", None) is None else ""  # older records do not tell starts
        alike = {**record.config, "workload": {**workload, "seed": None}, "engine": engine}
        points.setdefault(json.dumps([record.experiment, session, alike], sort_keys=True), []).append(record)
    return [sorted(point, key=_seed) for point in points.values()]


def _row_name(records: list[Record]) -> str:
    if len(records) == 1:
        return say_name(records[0].name)
    return say_name(records[0].name.removesuffix(f" s{_seed(records[0])}"))


def _choose_columns(points: Iterable[list[Record]]) -> dict[str, str]:
    """COLUMNS, with a lower percentile where no point has replies enough for the 99th."""
    shown = [each for point in points for each in _shown_records(point)]
    known = {key for record in shown for key in record.metrics}
    counts = [record.metrics["completed"] for record in shown if "completed" in record.metrics]
    chosen = {name: quotable(key, counts, known) for name, key in COLUMNS.items()}
    return {name.replace("p99", f"p{percentile_of(key)}"): key for name, key in chosen.items()}


def _metric_cells(records: list[Record], keys: Iterable[str]) -> list[str]:
    shown = _shown_records(records)
    return [_metric_cell([each for each in shown if key in each.metrics], key) for key in keys]


def _shown_records(records: list[Record]) -> list[Record]:
    """The VALID ones; a single run is shown even if INVALID."""
    return records if len(records) == 1 else _valid_records(records)


def _metric_cell(records: list[Record], key: str) -> str:
    """The mean and its interval; of a percentile also the highest bound of the runs, or how many replies it needs.

    Repeats on one server share its start, so with several starts the interval is that of their means.
    """
    found = [each.metrics for each in records]
    starts = [[each.metrics[key] for each in start] for start in _starts(records)]
    mean = interval(map(statistics.fmean, starts) if len(starts) > 1 else itertools.chain(*starts))
    if math.isnan(mean.mean):
        return ""
    few = needs_text(key, min(count_replies(key, each) for each in found))
    if few:
        return few
    bound = max((each.get(upper_key(key), math.nan) for each in found), default=math.nan)
    return f"{mean:,.1f}" + ("" if math.isnan(bound) else f" (≤ {bound:,.1f})")


def _verdict_cell(records: list[Record]) -> str:
    reasons: list[str] = [each.failure.kind for each in records if each.failure]
    reasons += [reason.code for each in records if not each.failure for reason in each.invalid]
    why = literal(", ".join(dict.fromkeys(reasons)))
    if len(records) == 1:
        return f"[{COLOURS[records[0].verdict]}]{say_verdict(records[0])}[/] {why}"
    valid = len(_valid_records(records))
    grades = find_grades(each.code for record in _valid_records(records) for each in record.warnings)
    colour = COLOURS["VALID" if valid == len(records) else "INVALID" if valid else "FAILED"]
    told = ", ".join([f"{valid} of {len(records)} VALID", *grades])
    return f"[{colour}]{told}[/] {why}"


def _valid_records(records: list[Record]) -> list[Record]:
    return [record for record in records if record.verdict == "VALID"]


def _starts(records: list[Record]) -> list[list[Record]]:
    """The records of each server's start."""
    by_session: dict[str, list[Record]] = {}
    for record in records:
        by_session.setdefault(record.session, []).append(record)
    return list(by_session.values())


def _seed(record: Record) -> int:
    return int(record.config["workload"].get("seed") or 0)
