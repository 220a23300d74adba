"""One comparison, ready to be written."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.plot import Plot

LONGEST_SLUG = 100  # characters; a file name may have 255 bytes


@dataclass(frozen=True)
class Section:
    """A title with a table, a figure, both, or a sentence that says why there is neither."""

    slug: str  # the name of its files, without a suffix
    title: str
    caption: str = ""  # what was measured and how to read it
    table: pd.DataFrame | None = None  # for people: text cells
    data: pd.DataFrame | None = None  # for programs: one value a cell
    figure: Plot | None = None
    notes: tuple[str, ...] = field(default=())
    runs: pd.DataFrame | None = None  # the labelled runs behind it, where the interactive figure shows them


def slug(*words: str) -> str:
    """The words as one file name; with a digest if characters other than separators are lost, or if it is cut."""
    whole = "-".join(words)
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", whole).strip("-")
    lost = re.search(r"[^\x00-\x7f·]", whole)
    if lost or len(name) > LONGEST_SLUG:
        digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = f"{name[:LONGEST_SLUG]}-{digest}"
    return name
