"""The Pareto front: the points that no other point beats. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from vbench.analysis.axes import Axis


def pareto_front(points: pd.DataFrame, x: Axis, y: Axis) -> pd.Series:
    """Whether each point is on the Pareto front: no other is as good in both and better in one."""
    costs = np.column_stack([points[each.key] * (1 if each.less_is_better else -1) for each in (x, y)])
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    on_front, lowest, best = np.zeros(len(points), dtype=bool), np.inf, np.inf
    for place in order:  # by x, and of equal x by y: a point is beaten if an earlier one has a lower y, or as low a one
        across, up = costs[place]
        equal = up == lowest and across == best
        if up < lowest or equal:
            on_front[place], lowest, best = True, up, across
    return pd.Series(on_front, index=points.index)
