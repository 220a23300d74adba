"""A report in short, for a terminal. Names are printed as they are: neither markup nor control characters act."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vbench.analysis.gate import FAILED, PASSED, UNDECIDED, Outcome
from vbench.analysis.page import table_head, text_columns
from vbench.schema.text import one_line

if TYPE_CHECKING:
    from vbench.analysis.answers import Answer
    from vbench.analysis.section import Section

MOST_ROWS = 50  # of a table; more would drive the answer out of the window
WIDE = 10_000  # characters: no table is as wide
COLOURS = {FAILED: "red", PASSED: "green", UNDECIDED: "yellow"}


def print_answer(console: Console, answer: Answer) -> None:
    """Prints the campaign's name, what was measured, and the answers."""
    console.print(Text(one_line(answer.title), style="bold"))
    console.print(Text(one_line(answer.measured), style="dim"))
    for question, sentences in answer.parts:
        console.print()
        console.print(Text(question, style="bold"))
        for sentence in sentences:
            console.print(Padding(Text(one_line(sentence)), (0, 0, 0, 2), expand=False))
    console.print()


def print_section(console: Console, section: Section) -> None:
    """Prints a table with its caption and notes; a figure is only in the files."""
    if section.table is not None:
        console.print(_table(section, console))
        if len(section.table) > MOST_ROWS:
            console.print(Text(f"  {len(section.table) - MOST_ROWS:,} more rows: see the report", style="dim"))
        console.print(Text(one_line(section.caption)), style="dim")
    elif section.notes:
        console.print(Text(one_line(section.title), style="bold"))
    for note in section.notes:
        console.print(Text(f"  {one_line(note)}"))
    if section.table is not None:
        console.print()


def print_files(console: Console, files: Iterable[Path]) -> None:
    """Prints the paths of the figures and of the page, one a line."""
    for path in files:
        if path.suffix in (".png", ".html"):
            console.print(Text(f"  {path}"), soft_wrap=True)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints what the gate found, on one line."""
    line = Text.assemble((outcome.verdict, COLOURS[outcome.verdict]), f": {one_line(outcome.line)}")
    console.print(line, soft_wrap=True)


def _table(section: Section, console: Console) -> Table:
    """With lines between its columns, where it fits the terminal with them without breaking words."""
    shown = _draw(section, box.HEAVY_HEAD)
    if console.measure(shown, options=console.options.update(width=WIDE)).minimum > console.width:
        shown = _draw(section, box.SIMPLE_HEAD)
        shown.padding = (0, 1, 0, 0)
    return shown


def _draw(section: Section, lines: box.Box) -> Table:
    assert section.table is not None
    title = Text(one_line(section.title), style="bold")
    shown = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=lines)
    for name, worded in zip(table_head(section.table), text_columns(section.table), strict=True):
        shown.add_column(Text(one_line(name)), justify="left" if worded else "right", overflow="fold")
    for name, *cells in section.table.iloc[:MOST_ROWS].itertuples(name=None):
        shown.add_row(*(Text(one_line(cell)) for cell in (name, *cells)))
    return shown
