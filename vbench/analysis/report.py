"""Sections to files: report.md, report.html (one file, nothing fetched), a CSV a table, PNG and SVG a figure."""

from __future__ import annotations

import html
import io
import platform
import re
import shlex
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import vbench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

    from vbench.analysis.frame import Runs
    from vbench.analysis.section import Section

TITLE = "vbench report"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem } figure { margin: 1rem 0 } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto } th, td { padding: .35rem .8rem; border-bottom: 1px solid #ddd }
th, td { text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #888 }
.caption, .notes, details { color: #555; font-size: .9rem } .best { font-weight: bold } code { font-size: .85rem }
"""


@dataclass(frozen=True)
class Provenance:
    """Where the numbers of a report come from: name -> what, and the ids of all runs used."""

    facts: dict[str, str]
    run_ids: tuple[str, ...]


def provenance(runs: Runs, command: Sequence[str], store: str) -> Provenance:
    """Says how the report came to be, and from what."""
    used = runs.all

    def seen(column: str) -> str:
        return ", ".join(sorted({str(value) for value in used[column].dropna()})) or "unknown"

    facts = {
        "made": f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by vbench {vbench.__version__}, "
        f"Python {platform.python_version()}",
        "command": shlex.join(command),
        "store": re.sub(r"//[^/@]*@", "//", store),  # not the password that may be in it
        "experiments": seen("experiment"),
        "measured": f"{used['start_time'].min():%Y-%m-%d} to {used['start_time'].max():%Y-%m-%d}",
        "engine": seen("engine_version"),
        "device": seen("device"),
        "weights": seen("engine.weights") if "engine.weights" in used else "unknown",
        "recorded by": f"vbench {seen('vbench')}",
        "runs": f"{len(runs.used)} VALID used, {len(runs.left_out)} INVALID or FAILED left out",
    }
    ids = set(runs.used["run_id"])
    if runs.baseline is not None:
        facts["baseline"] = f"{len(runs.baseline.used)} VALID runs"
        ids |= set(runs.baseline.used["run_id"])
    return Provenance(facts, tuple(sorted(ids)))


def write(sections: list[Section], origin: Provenance, out: Path, formats: Sequence[str]) -> list[Path]:
    """Writes all files below `out` and returns their paths, the figures first and the reports last.

    Figures are written in the `formats`; none leaves them out of the reports too.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawings = {each.slug: _svg(each.figure) for each in sections if each.figure and formats}
    written = [
        _drawn(section.figure, drawings[section.slug], out / f"{section.slug}.{kind}")
        for section in sections
        for kind in formats
        if section.figure
    ]
    for section in sections:
        if section.data is not None:
            section.data.to_csv(out / f"{section.slug}.csv", index=False)
            written.append(out / f"{section.slug}.csv")
    pages = {"report.md": _markdown(sections, origin, formats), "report.html": _html(sections, origin, drawings)}
    for name, text in pages.items():
        (out / name).write_text(text, encoding="utf-8")
        written.append(out / name)
    return written


def described(sections: Iterable[Section]) -> list[str]:
    """Each section that has a table, in Markdown: for a page that shows the tables only."""
    return [
        "\n\n".join([f"### {section.title}", _markdown_table(section.table), section.caption, *section.notes])
        for section in sections
        if section.table is not None
    ]


def _drawn(figure: Figure, drawing: str, path: Path) -> Path:
    if path.suffix == ".svg":
        path.write_text(drawing, encoding="utf-8")  # drawn once, for the page needs it too
    else:
        figure.savefig(path)
    return path


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg")
    return written.getvalue()


def _markdown(sections: Iterable[Section], origin: Provenance, formats: Sequence[str]) -> str:
    kind = next((each for each in ("svg", "png", "pdf") if each in formats), "")
    parts = [f"# {TITLE}"]
    for section in sections:
        parts += [f"## {section.title}", *([section.caption] if section.caption else [])]
        parts += [f"![{section.title}]({section.slug}.{kind})"] if section.figure and kind else []
        parts += [_markdown_table(section.table)] if section.table is not None else []
        parts += ["\n".join(f"- {note}" for note in section.notes)] if section.notes else []
    parts += ["## Provenance", "\n".join(f"- {name}: {what}" for name, what in origin.facts.items())]
    parts += [f"Runs: {', '.join(f'`{run}`' for run in origin.run_ids)}"] if origin.run_ids else []
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: pd.DataFrame) -> str:
    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    head = line([table.index.name, *table.columns])
    rule = "|---|" + "---:|" * len(table.columns)
    return "\n".join([head, rule, *(line([name, *cells]) for name, cells in _rows(table))])


def _html(sections: Iterable[Section], origin: Provenance, drawings: Mapping[str, str]) -> str:
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>{TITLE}</title>"]
    parts += ['<meta name="viewport" content="width=device-width">', f"<style>{STYLE}</style>", f"<h1>{TITLE}</h1>"]
    for section in sections:
        parts += [f"<h2>{html.escape(section.title)}</h2>", f'<p class="caption">{html.escape(section.caption)}</p>']
        parts += [_inline(drawings[section.slug], section.title)] if section.slug in drawings else []
        parts += [_html_table(section.table)] if section.table is not None else []
        parts += [f'<ul class="notes">{_items(section.notes, html.escape)}</ul>'] if section.notes else []
    facts = [f"{name}: {what}" for name, what in origin.facts.items()]
    parts += [f'<h2>Provenance</h2><ul class="notes">{_items(facts, html.escape)}</ul>']
    ids = _items(origin.run_ids, lambda run: f"<code>{html.escape(run)}</code>")
    parts += [f"<details><summary>{len(origin.run_ids)} MLflow runs</summary><ul>{ids}</ul></details></html>"]
    return "\n".join(parts) + "\n"


def _inline(drawing: str, title: str) -> str:
    bare = re.sub(r"^.*?(?=<svg )", "", drawing, flags=re.DOTALL)
    return f'<figure role="img" aria-label="{html.escape(title)}">{bare}</figure>'


def _html_table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in (table.index.name, *table.columns))
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in (name, *cells))}</tr>" for name, cells in _rows(table))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: object) -> str:
    text = html.escape(str(cell))
    return f'<td class="best">{text}</td>' if text.startswith("★") else f"<td>{text}</td>"


def _rows(table: pd.DataFrame) -> Iterable[tuple[object, list[object]]]:
    return zip(table.index, table.to_numpy().tolist(), strict=True)


def _items(texts: Iterable[str], show: Callable[[str], str]) -> str:
    return "".join(f"<li>{show(text)}</li>" for text in texts)
