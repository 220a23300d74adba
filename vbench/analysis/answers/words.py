"""Words that several answers share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.loads import load_axis_named
from vbench.analysis.points import HALF_WIDTH
from vbench.metrics.intervals import Interval

if TYPE_CHECKING:
    from vbench.analysis.axes import Axis
    from vbench.analysis.section import Section

MOST_SENTENCES = 8  # for one question; the sections have the rest


def find_data(found: Iterable[Section], slug: str) -> pd.DataFrame:
    """The data of the section with that slug; empty if the report has none."""
    return next((each.data for each in found if each.slug == slug and each.data is not None), pd.DataFrame())


def describe_load(row: pd.Series) -> str:
    """`at num_prompts=320`."""
    return f"at {load_axis_named(row['load_axis']).name}={row['load']:g}"


def format_value(row: Any, of: Axis) -> str:
    """`9,612 ± 50 output tokens/s (n = 3)`, or `9,612 output tokens/s (n = 1)`."""
    mean = format(Interval(row[of.key], row[of.key + HALF_WIDTH], row["runs"]), of.digits)
    return f"{mean} {of.short} (n = {row['runs']:.0f})"


def join_names(names: Sequence[str], most: int = 6) -> str:
    """The names with commas; beyond `most`, how many more."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def shorten(sentences: list[str], where: str) -> list[str]:
    """At most MOST_SENTENCES, and where the others are."""
    more = len(sentences) - MOST_SENTENCES
    return [*sentences[:MOST_SENTENCES], f"{more} more: see {where}."] if more > 0 else sentences
