"""A report as one HTML page that fetches nothing: its style, its figures and their library are in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from vbench.analysis.bokehjs import load_bokehjs
from vbench.analysis.explorer import encode
from vbench.analysis.figure_text import TITLE_ID

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.answers import Answer
    from vbench.analysis.report import Provenance
    from vbench.analysis.section import Section

Points = dict[str, Any]  # as `explorer.collect_points` gives them
PAGE = "report.html"
KIND = "vbench report"
BEST = "★"
NUMBER = re.compile(rf"(?:{BEST} ?)?[<>≤≥~$]? ?[-+−]?[\d.,]+(?!\w)|needs \d|none$")  # how a cell of a number begins
LONGEST_CELL = 32  # characters; a longer cell is text, and wraps
FOLDER = Path(__file__).parent / "templates"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
)


def render_page(
    answer: Answer,
    sections: list[Section],
    origin: Provenance,
    drawings: Mapping[str, str],
    files: Sequence[str],
    points: Points | None,
) -> str:
    """The page. `drawings` are SVG elements by slug; `points` go into an interactive figure, if there are any."""
    interactive = points is not None and bool(points["points"])
    return TEMPLATES.get_template(PAGE).render(
        kind=KIND,
        answer=answer,
        title_id=TITLE_ID,
        sections=sections,
        origin=origin,
        files=files,
        drawings=drawings,
        cell_class=_cell_class,
        text_columns=text_columns,
        table_head=table_head,
        table_rows=table_rows,
        points=encode(points) if points is not None and interactive else "",
        library=load_bokehjs() if interactive else "",
        explorer=(FOLDER / "explorer.js").read_text("utf-8") if interactive else "",
    )


def table_head(table: pd.DataFrame) -> list[object]:
    """The header cells of a section's table."""
    return [table.index.name, *table.columns]


def table_rows(table: pd.DataFrame) -> list[list[object]]:
    """The cells of each of its rows."""
    return [[name, *cells] for name, cells in zip(table.index, table.to_numpy().tolist(), strict=True)]


def text_columns(table: pd.DataFrame) -> list[bool]:
    """Of each column of `table_head`, whether it holds words: the first one, and those without any cell of a number."""
    rows = table_rows(table)
    cells = [[str(cell) for cell in column] for column in zip(*rows, strict=True)] or [[]] * len(table_head(table))
    worded = [any(cells) and not any(NUMBER.match(cell) for cell in column) for column in cells]
    return [True, *worded[1:]]


def _cell_class(cell: object, worded: bool = False) -> Markup:
    text = str(cell)
    kinds = ["best"] if text.startswith(BEST) else ["text"] if len(text) > LONGEST_CELL else []
    kind = " ".join([*kinds, *(["words"] if worded else [])])
    return Markup(f' class="{kind}"' if kind else "")  # noqa: S704  our own words
