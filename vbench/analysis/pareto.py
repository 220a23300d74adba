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
    as_good = (costs[:, None] <= costs[None]).all(axis=2)
    better = (costs[:, None] < costs[None]).any(axis=2)
    return pd.Series(~(as_good & better).any(axis=0), index=points.index)
