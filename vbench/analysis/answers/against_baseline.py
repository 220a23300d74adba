"""How the campaign compares with its baseline: the ratios of `against=`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.analysis.answers.words import find_data, shorten
from vbench.analysis.comparisons.against import SLUG
from vbench.analysis.comparisons.ratio_table import SHORT
from vbench.analysis.hosts import UNLIKE
from vbench.analysis.ratios import ratio_text
from vbench.metrics.names import metric_name

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section


def sentences(_: Runs, found: list[Section], options: Options) -> list[str]:
    """One for each system, and for all of them, and hosts of unlike speed; why there is no ratio, if there is none."""
    data = find_data(found, SLUG)
    if data.empty:
        return [note for each in found if each.slug == SLUG for note in each.notes[:1]]
    named = data.assign(name=(data["model_label"] + " · " + data["system_label"]).str.strip(" ·"))
    told = []
    for name, rows in named.groupby("name", sort=False):
        ratios = ", ".join(
            f"{SHORT.get(row.metric) or metric_name(row.metric)} {ratio_text(row)}" for row in rows.itertuples()
        )
        most = rows["points"].max()
        points = "1 point" if most == 1 else f"{most:.0f} points"
        told.append(f"{name}, divided by {options.against} at {points}: {ratios}.")
    notes = [note for each in found if each.slug == SLUG for note in each.notes if note.startswith(UNLIKE)]
    return [*shorten(told, f"Against {options.against}"), *notes]
