"""What a figure shows, as data: `vbench.analysis.figures` draws it and needs matplotlib, nothing else here does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.axes import Axis


@dataclass(frozen=True)
class Plot:
    """One curve for each system_label, one point for each load.

    Rows that are `ideal` were computed, not measured; `pareto` marks the points of the Pareto front. `subtitle` says
    what was measured: engine, device, weights, load.
    """

    points: pd.DataFrame  # rows of `mean_points`, each with a value on both axes
    title: str
    subtitle: str
    x: Axis
    y: Axis
