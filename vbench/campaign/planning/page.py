"""plan.md: the page that people read before they grant the GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vbench.campaign.planning.summary import (
    describe_bases,
    describe_coverage,
    describe_left_out,
    describe_waiting,
    name_session,
)
from vbench.campaign.planning.wording import count, show_number, show_range, show_span
from vbench.plan.forecast.campaign import Forecast, PlannedRun, PlannedSession, list_pool_sizes, pack_pool
from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.forecast.packing import wall_s
from vbench.plan.naming import load_name, say_load

NAME = "plan.md"
MEANING = {
    Basis.measured: "records of the same system under the same load",
    Basis.interpolated: "between records of the same system under a lower and a higher load; the range is theirs",
    Basis.predicted: (
        "a model of the engine, fitted to records of other systems; the range is two median errors either way, of "
        "systems left out of the fit, and no confidence interval"
    ),
    Basis.assumed: "no record answers: the source says what is assumed",
}


def write(found: Forecast, sizes: Mapping[str, int], experiment: str, figures: Sequence[tuple[str, str]]) -> str:
    """The page in Markdown; `figures` are (file, caption)."""
    parts = [
        _overview(found, experiment),
        *(f"![{caption}]({file})\n\n*{caption}*" for file, caption in figures),
        _wall_times(found, sizes),
        _sessions(found.started),
        _expected(found),
        _left_out(found),
        _bases(found),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def draw_figures(found: Forecast, sizes: Mapping[str, int], folder: Path) -> list[tuple[str, str]]:
    """Draws the figures into the folder; returns their file names and captions."""
    if not found.started:
        return []
    from vbench.campaign.planning import figures  # matplotlib takes a second

    return figures.draw_all(found, sizes, folder)


def _overview(found: Forecast, experiment: str) -> str:
    started, dollars = found.started, found.dollars
    points = sum(len(each.missing) for each in started)
    rows = [
        ("sessions to start", str(len(started))),
        ("points to measure", f"{points:,}"),
        *_count_left_out(found),
        ("GPU hours", f"{show_range(found.gpu_hours)}{describe_bases(found)}"),
        ("dollars", show_range(dollars) if dollars else "no price is set (`'prices={h100: 2.5}'`)"),
    ]
    lines = [f"# Plan of {experiment}", "", "Nothing was started for this page. Ranges in parentheses.", ""]
    return "\n".join([*lines, *_table(("", ""), rows)])


def _count_left_out(found: Forecast) -> Iterator[tuple[str, str]]:
    """Rows on what is recorded, and on what cannot work; none where there is none of it."""
    infeasible = [each for each in found.sessions if each.infeasible]
    recorded = sum(len(each.runs) - len(each.missing) for each in found.sessions if not each.infeasible)
    if recorded:
        yield "points that are recorded, so skipped", f"{recorded:,}"
    if infeasible:
        points = count(sum(len(each.runs) for each in infeasible), "point")
        yield "sessions that cannot work, so not started", f"{len(infeasible)}, with {points} (below: what is left out)"


def _wall_times(found: Forecast, sizes: Mapping[str, int]) -> str:
    rows = []
    for pool, sessions in found.pools.items():
        if pool in ("cpu", "external"):
            rows.append((pool, "", show_span(sum(each.seconds.value for each in sessions)), ""))
            continue
        for size in list_pool_sizes(sessions, sizes.get(pool)):
            slots = pack_pool(sessions, size)
            busy = sum(len(slot.gpus) * (slot.end_s - slot.start_s) for slot in slots)
            wall = wall_s(slots)
            rows.append((pool, str(size), show_span(wall), f"{busy / wall / size:.0%}"))
    if not rows:
        return ""
    head = ("GPU", "GPUs", "wall time", "GPUs held")
    return "\n".join(["## Wall time", "", "Largest sessions first, then longest.", "", *_table(head, rows)])


def _sessions(started: Sequence[PlannedSession]) -> str:
    if not started:
        return ""
    rows = [
        (
            name_session(each),
            f"{each.fit.kv_cache_tokens:,} ({each.fit.verdict.value})" if each.fit else "",
            show_range(each.start),
            each.start.basis.name,
            show_range(each.rehearsal),
            str(len(each.missing)),
            show_number(sum(run.seconds.value for run in each.missing if run.seconds)),
            each.basis.name if each.basis else "",
            show_range(each.gpu_hours),
            show_number(each.dollars.value) if each.dollars else "",
        )
        for each in started
    ]
    head = (
        "session",
        "KV cache, tokens",
        "start, s",
        "basis",
        "rehearsal, s",
        "points",
        "points, s",
        "basis",
        "GPU hours",
        "$",
    )
    told = "KV cache: of one replica, estimated as `vbench fit` does; what is near the edge is tried."
    return "\n".join(["## Sessions", "", told, "", *_table(head, rows)])


def _expected(found: Forecast) -> str:
    rows = [row for each in found.sessions for row in _expected_rows(each)]
    if not rows:
        return ""
    head = ("session", "load", "output, tokens/s", "TTFT, ms", "TPOT, ms", "basis")
    told = "Medians over requests, at the lowest and the highest load of each session; plan.json has every point."
    waiting = describe_waiting(found)
    return "\n".join(["## What it should show", "", told, "", *([waiting, ""] if waiting else []), *_table(head, rows)])


def _expected_rows(each: PlannedSession) -> Iterator[tuple[str, ...]]:
    known = [run for run in each.runs if run.expected is not None]
    for run in known[:1] + known[1:][-1:]:
        assert run.expected is not None
        yield (name_session(each), say_load(load_name(run.run.config)), *_numbers(run))


def _numbers(run: PlannedRun) -> tuple[str, ...]:
    assert run.expected is not None
    shown = (run.expected.output_throughput, run.expected.ttft_ms, run.expected.tpot_ms)
    return (*map(show_range, shown), shown[0].basis.name)


def _left_out(found: Forecast) -> str:
    lines = [f"- {line}" for line in describe_left_out(found)]
    return "\n".join(["## What is left out", "", *lines]) if lines else ""


def _bases(found: Forecast) -> str:
    used: dict[Basis, dict[str, int]] = {}
    for estimate in _estimates(found):
        sources = used.setdefault(estimate.basis, {})
        sources[estimate.source] = sources.get(estimate.source, 0) + 1
    coverage = describe_coverage(found)
    lines = ["## What the numbers rest on", "", *([coverage, ""] if coverage else [])]
    for basis in Basis:
        if basis in used:
            lines.append(f"- **{basis.name}**: {MEANING[basis]}")
            top = sorted(used[basis].items(), key=lambda item: -item[1])
            lines += [f"  - {source} ({count(times, 'number')})" for source, times in top[:6]]
            lines += [f"  - and {count(len(top) - 6, 'other source')}, in plan.json"] if len(top) > 6 else []
    return "\n".join(lines) if used else ""


def _estimates(found: Forecast) -> Iterator[Estimate]:
    for each in found.started:
        yield from (each.start, each.rehearsal)
        for run in each.missing:
            if run.seconds:
                yield run.seconds


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(each.replace('|', chr(92) + '|') for each in row)} |" for row in cells]
