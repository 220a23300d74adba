"""Which system bears the most within an SLO, by the searches for it. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vbench.analysis.comparisons.within_slo import say_between
from vbench.schema.text import short_number

UNITS = {"max_concurrency": "requests at once", "sessions": "sessions at once"}


def sentences(data: pd.DataFrame) -> list[str]:
    """One for each model, SLO and searched load. Takes the data of the section `within-slo`."""
    if data.empty:
        return []
    told = []
    for (model, objectives, search), rows in data.groupby(["model_label", "objectives", "search"]):
        ranked = rows.dropna(subset=["highest"]).sort_values("highest", ascending=False, kind="stable")
        name = f"{model} within {objectives or 'its SLO'}"
        if ranked.empty or not ranked.iloc[0]["highest"]:
            told.append(f"{name}: no system met it with 99 % of requests, not even at the lowest load.")
            continue
        best = ranked.iloc[0]
        rest = f" The next: {_compare(best, ranked.iloc[1])}." if len(ranked) > 1 else ""
        told.append(f"{name}: {best['system_label']}, {_describe(best, UNITS.get(search, 'requests/s'))}.{rest}")
    return told


def _describe(row: Any, unit: str) -> str:
    """`22 requests at once, 1,000 output tokens/s (99 % of requests meet it up to 22–23, 90 % sure)`."""
    most = "at most " if row["at_most"] else ""
    served = row["output_throughput"]
    rate = f", {most}{served:,.0f} output tokens/s" if pd.notna(served) else ""
    grounds, between = f"{row['probes']} probes" if pd.notna(row["probes"]) else "", say_between(row)
    if row["searches"] > 1:
        grounds = f"mean of {row['searches']} searches" + (f", 95 % interval {between}" if between else "")
    elif between:
        grounds = f"99 % of requests meet it up to {between}, 90 % sure"
    return f"{short_number(row['highest'])} {unit}{rate}" + (f" ({grounds})" if grounds else "")


def _compare(best: Any, other: Any) -> str:
    """The next system, and whether the intervals of both decide."""
    between = say_between(other)
    words = f"{other['system_label']}, {short_number(other['highest'])}" + (f" ({between})" if between else "")
    if not between or not say_between(best):
        return f"{words}; without an interval of both, whether they differ is not known"
    apart = best["low"] > other["high"] or other["low"] > best["high"]
    return f"{words}; {'their intervals do not overlap' if apart else 'not decided: their intervals overlap'}"
