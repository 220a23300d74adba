"""How every comparison writes ratios."""

from __future__ import annotations

import pandas as pd

from vbench.analysis.axes import AXES
from vbench.analysis.ratios import ratio_text
from vbench.metrics.names import metric_name

SHORT = {axis.key: axis.short for axis in AXES}


def ratio_table(data: pd.DataFrame, names: pd.Series, title: str) -> pd.DataFrame:
    """Rows of `mean_ratios` for people: a row a name, in their order, a column a metric, and the number of points."""
    order, metrics = list(dict.fromkeys(names)), list(dict.fromkeys(data["metric"]))
    cells = {(name, row.metric): ratio_text(row) for name, row in zip(names, data.itertuples(), strict=True)}
    table = pd.DataFrame(
        {
            SHORT.get(metric) or metric_name(metric): [cells.get((name, metric), "") for name in order]
            for metric in metrics
        },
        index=pd.Index(order, name=title),
    )
    return table.assign(points=data["points"].groupby(names.to_numpy()).max().reindex(order).to_numpy())


def ratio_caption(data: pd.DataFrame) -> str:
    """What the cells are, and where their intervals come from."""
    origins = set(data["interval_from"])
    words = {
        "starts": "from the starts of both servers",
        "repeats": "from repeats on one start of a server, which does not cover what another start would change",
        "points": "from the scatter of the ratios over the points, because few of them were repeated",
    }
    known = [words[each] for each in words if each in origins]
    brackets = f", in brackets its 95 % interval {'; or '.join(known)}" if known else "; without repeats no interval"
    return f"The geometric mean of the ratios at the matched points{brackets}."
