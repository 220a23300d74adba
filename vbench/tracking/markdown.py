"""Text for Markdown pages: names from records and others' files are shown literally, never as markup. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from vbench.schema.text import one_line

# What CommonMark, GitHub and MLflow interpret as markup within a line: code, emphasis, tables, formulas, links, HTML.
MARKUP = re.compile(r"[\\`*|$~<]|(?<=\])\(|(?<!\w)_|_(?!\w)|&(?=#?\w+;)")
ENTITIES = {"<": "&lt;", "&": "&amp;"}


def escape_markdown(text: object) -> str:
    """The text as one line that Markdown shows literally."""
    return MARKUP.sub(lambda found: ENTITIES.get(found[0], f"\\{found[0]}"), one_line(text))


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]], words: Sequence[bool]) -> str:
    """A table; columns of `words` are left-aligned, the others right-aligned."""
    rule = f"|{'|'.join('---' if each else '---:' for each in words)}|"
    return "\n".join([_row(head), rule, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(escape_markdown(cell) for cell in cells)} |"
