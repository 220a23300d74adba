"""The curves of a figure: of each system its points by load, the best system first. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vbench.analysis.loads import load_axis_named
from vbench.analysis.points import HALF_WIDTH
from vbench.schema.text import one_line

if TYPE_CHECKING:
    import numpy.typing as npt

    from vbench.analysis.axes import Axis


@dataclass(frozen=True)
class Curve:
    """One system: n points by load."""

    name: str
    means: npt.NDArray[np.float64]  # (n, 2): x and y
    half_widths: npt.NDArray[np.float64]  # (n, 2): of the intervals of both; 0 where a point has no repeats
    loads: list[str]  # as they are written beside the points
    load_name: str
    runs: npt.NDArray[np.int64]  # (n,)
    ringed: npt.NDArray[np.bool_]  # (n,)
    ideal: bool

    @property
    def intervals(self) -> npt.NDArray[np.float64]:
        """The ends of the intervals, (m, 2, 2): of each point along x, then along y, where it has one."""
        widths = self.half_widths[:, :, None] * np.eye(2)
        ends = np.stack([self.means[:, None] - widths, self.means[:, None] + widths], axis=2)
        return np.asarray(ends[self.half_widths > 0])


def best_curves(points: pd.DataFrame, x: Axis, y: Axis, most: int) -> tuple[list[Curve], int]:
    """The `most` curves with the best y, the best first, and how many there are."""
    codes, names = pd.factorize(points["system_label"], sort=True)
    values = points[y.key].to_numpy(dtype=np.float64) * (-1 if y.less_is_better else 1)
    best = np.full(len(names), -np.inf)
    np.maximum.at(best, codes, values)
    ranked = np.argsort(-best, kind="stable")
    by_load = np.argsort(points["load"].to_numpy(dtype=np.float64), kind="stable")
    shown = [by_load[codes[by_load] == code] for code in ranked[:most]]
    means = points[[x.key, y.key]].to_numpy(dtype=np.float64)
    half_widths = np.nan_to_num(points[[x.key + HALF_WIDTH, y.key + HALF_WIDTH]].to_numpy(dtype=np.float64))
    runs, loads = points["runs"].to_numpy(dtype=np.int64), points["load"].to_numpy(dtype=np.float64)
    ringed, ideal = _flags(points, "pareto"), _flags(points, "ideal")
    columns = points["load_axis"].tolist()
    curves = []
    for code, places in zip(ranked, shown, strict=False):
        axes = [load_axis_named(columns[place]) for place in places]
        curve = Curve(
            name=one_line(names[code]),
            means=means[places],
            half_widths=half_widths[places],
            loads=[axis.describe_point(load) for axis, load in zip(axes, loads[places].tolist(), strict=True)],
            load_name=axes[0].name,
            runs=runs[places],
            ringed=ringed[places],
            ideal=bool(ideal[places].any()),
        )
        curves.append(curve)
    return curves, len(names)


def _flags(points: pd.DataFrame, column: str) -> Any:
    if column not in points:
        return np.zeros(len(points), dtype=bool)
    return (points[column] == True).to_numpy(dtype=bool)  # noqa: E712  NaN, where one of two frames had no such column
