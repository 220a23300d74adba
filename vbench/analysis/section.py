"""One comparison, ready to be written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """A title, and below it a table, a figure, both, or the sentence that says why there is none."""

    slug: str  # the name of its files
    title: str
    caption: str = ""  # what was measured and how to read it
    table: pd.DataFrame | None = None  # as people read it: text cells
    data: pd.DataFrame | None = None  # as programs read it: one value a cell
    figure: Figure | None = None
    notes: tuple[str, ...] = field(default=())


def slug(*words: str) -> str:
    """The words as one name of a file."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words)).strip("-")
