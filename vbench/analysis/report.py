"""Sections to files: report.md, report.html (one file, nothing fetched), a CSV a table, PNG and SVG a figure.

The files are written as a whole beside the earlier ones and then take their place, so that a folder never holds figures
of one report and tables of another. Other files in the folder stay as they are.
"""

from __future__ import annotations

import platform
import re
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

import vbench
from vbench.analysis import rendering
from vbench.analysis.page import PAGE, Points, render_page, table_head, table_rows, text_columns
from vbench.schema.errors import Refused
from vbench.schema.secrets import redact
from vbench.tracking.markdown import escape_markdown, markdown_table

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.answers import Answer
    from vbench.analysis.frame import Runs
    from vbench.analysis.section import Section

FILES = re.compile(r'<meta name="files" content="([\w.\- ]*)">')  # the names that a report wrote, in its page
CSV_NAMES = {"model_label": "system", "system_label": "series", "conditions_label": "beyond"}  # as scripts read them


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a report come from: facts by name, and the ids of all runs used."""

    facts: dict[str, str]
    run_ids: tuple[str, ...]


def provenance(runs: Runs, command: Sequence[str], store: str) -> Provenance:
    """How the report was made, and from what."""
    used = runs.all

    def values(column: str) -> str:
        return ", ".join(sorted({str(value) for value in used[column].dropna()})) or "unknown"

    facts = {
        "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by vbench {vbench.__version__}, "
        f"Python {platform.python_version()}",
        "command": redact(shlex.join(command)),
        "store": redact(store),
        "experiments": values("experiment"),
        "measured": f"{used['start_time'].min():%Y-%m-%d} to {used['start_time'].max():%Y-%m-%d}",
        "engine": values("engine_version"),
        "device": values("device"),
        "weights": values("engine.weights") if "engine.weights" in used else "unknown",
        "recorded by": f"vbench {values('vbench')}",
        "runs": f"{len(runs.used_runs)} VALID used, {len(runs.left_out)} INVALID or FAILED left out",
    }
    ids = set(runs.used_runs["run_id"])
    if runs.baseline is not None:
        facts["baseline"] = f"{len(runs.baseline.used_runs)} VALID runs"
        ids |= set(runs.baseline.used_runs["run_id"])
    return Provenance(facts, tuple(sorted(ids)))


def write(
    answer: Answer,
    sections: list[Section],
    origin: Provenance,
    out: Path,
    formats: Sequence[str],
    points: Points | None = None,
) -> list[Path]:
    """Writes all files below `out` and returns their paths, the figures first and the reports last.

    Figures are written in the `formats`; without any, the reports have no figures either. Files of an earlier report
    that this one does not write are removed once it is complete. `points` (`explorer.collect_points`) become the page's
    interactive figure. Raises Refused if the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(mkdtemp(prefix=".report-", dir=out))
        try:
            names = _write_files(answer, sections, origin, staging, formats, points)
            _swap(staging, out, names)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise Refused(f"out={out}: cannot write the report: {error.strerror or error}") from error
    return [out / name for name in names]


def markdown_parts(answer: Answer, sections: Iterable[Section]) -> list[str]:
    """The answer, then each section that has a table, in Markdown, for a page that shows only tables."""
    tables = [
        "\n\n".join(
            [
                f"### {escape_markdown(section.title)}",
                _markdown_table(section.table),
                escape_markdown(section.caption),
                *map(escape_markdown, section.notes),
            ]
        )
        for section in sections
        if section.table is not None
    ]
    return ["\n\n".join(_markdown_answer(answer, "###")), *tables]


def _write_files(
    answer: Answer,
    sections: list[Section],
    origin: Provenance,
    folder: Path,
    formats: Sequence[str],
    points: Points | None,
) -> list[str]:
    plots = {each.slug: each.figure for each in sections if each.figure and formats}
    drawings = rendering.render_all(plots, folder, formats)
    names = [f"{slug}.{kind}" for slug in plots for kind in formats]
    for section in sections:
        if section.data is not None:
            names.append(f"{section.slug}.csv")
            data = section.data.drop(columns="load_axis", errors="ignore").rename(
                columns=CSV_NAMES | _load_name(section.data)
            )
            data.to_csv(folder / names[-1], index=False, errors="replace")
    names += ["report.md", PAGE]
    _write_text(folder / "report.md", _markdown(answer, sections, origin, formats))
    _write_text(folder / PAGE, render_page(answer, sections, origin, drawings, names, points))
    return names


def _load_name(data: pd.DataFrame) -> dict[str, str]:
    """The load's column under the name of what was swept, where it is the same for all rows."""
    swept = data["load_axis"].unique() if "load_axis" in data else []
    return {"load": str(swept[0]).rpartition(".")[2]} if len(swept) == 1 else {}


def _swap(staging: Path, out: Path, names: Sequence[str]) -> None:
    """Moves the files into `out`, over earlier ones of their names, and removes what only the earlier report wrote."""
    page = out / PAGE
    listed = FILES.search(page.read_text("utf-8", errors="replace")) if page.is_file() else None
    earlier = set(listed[1].split()) if listed else set()
    for name in names:
        (staging / name).replace(out / name)
    for name in earlier - set(names):
        (out / name).unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")  # a name may hold half of a surrogate pair


def _markdown_answer(answer: Answer, heading: str) -> list[str]:
    parts = [escape_markdown(answer.measured)]
    for question, sentences in answer.parts:
        parts += [f"{heading} {question}", "\n".join(f"- {escape_markdown(sentence)}" for sentence in sentences)]
    return parts


def _markdown(answer: Answer, sections: list[Section], origin: Provenance, formats: Sequence[str]) -> str:
    kind = next((each for each in ("svg", "png", "pdf") if each in formats), "")
    parts = [f"# {escape_markdown(answer.title)}", *_markdown_answer(answer, "##"), "## Contents"]
    parts += ["\n".join(f"{number}. {escape_markdown(each.title)}" for number, each in enumerate(sections, 1))]
    for section in sections:
        title = escape_markdown(section.title)
        parts += [f"## {title}", *([escape_markdown(section.caption)] if section.caption else [])]
        parts += (
            [f"![{title.replace('[', '').replace(']', '')}]({section.slug}.{kind})"] if section.figure and kind else []
        )
        parts += [_markdown_table(section.table)] if section.table is not None else []
        parts += ["\n".join(f"- {escape_markdown(note)}" for note in section.notes)] if section.notes else []
    parts += ["## Provenance", "\n".join(f"- {name}: {escape_markdown(fact)}" for name, fact in origin.facts.items())]
    parts += [f"Runs: {', '.join(f'`{run}`' for run in origin.run_ids)}"] if origin.run_ids else []
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: pd.DataFrame) -> str:
    return markdown_table(table_head(table), table_rows(table), text_columns(table))
