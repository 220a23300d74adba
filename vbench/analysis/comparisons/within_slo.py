"""The highest load of each system that met its objectives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.section import Section
from vbench.metrics.intervals import interval
from vbench.metrics.names import metric_name
from vbench.schema.text import short_number

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

OBJECTIVES = {"workload.slo.ttft_ms": "TTFT", "workload.slo.tpot_ms": "TPOT", "workload.slo.e2el_ms": "E2EL"}
USERS = {"users_per_gpu": "{:,.1f}", "users_per_dollar": "{:,.1f}"}  # of a search for sessions; $ of an hour
UNITS = {"max_concurrency": " at once", "request_rate": " req/s", "sessions": " sessions"}
RATES = {"request_goodput": "{:,.2f}", "output_throughput": "{:,.0f}"}
CAPACITY = ("slo_capacity_low", "slo_capacity_high")  # of a search: between them lies the load that 99 % met
POINT = ["model_label", "system_label", "objectives", "search"]
AT_MOST = (
    "≤: measured by an earlier version, which counted requests at both ends of the window: these rates are up to a "
    "tenth too high. rerun=all measures them again."
)


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each system and search; no section if nothing was searched for."""
    if runs.searches.empty:
        return []
    data = best_within_slo(add_labels(runs.searches, runs.conditions))
    caption = (
        "The highest load at which 99 % of requests met every objective (0: not even the lowest load did), found by "
        "probes of several levels, which are judged together; each probe is a separate run. Between: where the load "
        "that 99 % still meet lies, 90 % sure by the probes of one search; of several searches the highest is their "
        f"mean, between the ends of its 95 % interval. {shared_conditions(runs.searches)}."
    )
    notes = (AT_MOST,) if data["at_most"].any() else ()
    return [Section("within-slo", "Highest load within the SLO", caption, _table(data), data, notes=notes)]


def best_within_slo(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each system and search: POINT, the highest load that met the objectives, its metrics.

    Repeated searches are one row: `searches` of them, the means of what they found, `low` and `high` of the mean's 95 %
    interval; of a single one they are CAPACITY. `at_most`: whether rates are those of an earlier version, and too high.
    """
    known = {column: short for column, short in OBJECTIVES.items() if column in rows}

    def objectives(row: pd.Series) -> str:
        return ", ".join(f"{short} ≤ {row[column]:g} ms" for column, short in known.items() if pd.notna(row[column]))

    def metric(key: str) -> pd.Series:
        return rows[key] if key in rows else pd.Series(float("nan"), index=rows.index)

    found = [row for _, row in rows.iterrows()]
    users = [key for key in USERS if metric(key).notna().any()]
    single = pd.DataFrame(
        {
            "model_label": rows["model_label"],
            "system_label": rows["system_label"],
            "objectives": [objectives(row) for row in found],
            "search": rows["search"],
            "highest": [row.get(f"slo_{row['search']}", float("nan")) for row in found],
            "low": metric(CAPACITY[0]),
            "high": metric(CAPACITY[1]),
            "request_goodput": metric("slo_request_goodput"),
            "output_throughput": metric("slo_output_throughput"),
            "at_most": metric("slo_window_s").isna() & metric("slo_output_throughput").notna(),
            **{key: metric(key) for key in users},
            "probes": metric("probes"),
        }
    )
    made = [_join_searches(searches, users) for _, searches in single.groupby(POINT, sort=False)]
    return pd.DataFrame(made).astype({"probes": "Int64"})


def _join_searches(searches: pd.DataFrame, users: list[str]) -> dict[str, Any]:
    first = searches.iloc[0]
    low, high = first["low"], first["high"]
    if len(searches) > 1:
        found = interval(searches["highest"].dropna())
        low, high = max(found.mean - found.half_width, 0.0), found.mean + found.half_width
    means = {key: searches[key].mean() for key in ("highest", *RATES, *users)}
    return {
        **{key: first[key] for key in POINT},
        **means,
        "low": low,
        "high": high,
        "at_most": searches["at_most"].any(),
        "searches": len(searches),
        "probes": searches["probes"].sum(min_count=1),
    }


def say_between(row: Any) -> str:
    """`22–23`; "" where nothing was found but the highest load."""
    low, high = row["low"], row["high"]
    return "" if math.isnan(low) or math.isnan(high) else f"{short_number(low)}–{short_number(high)}"


def _table(data: pd.DataFrame) -> pd.DataFrame:
    def cells(key: str, form: str) -> pd.Series:
        return data[key].map(form.format).where(data[key].notna(), "")

    units = data["search"].map(UNITS).fillna("")
    columns = {"system": data["system_label"], "within": data["objectives"]}
    columns |= {"highest": data["highest"].map(short_number) + units, "between": data.apply(say_between, axis=1)}
    for key, form in RATES.items():
        words = cells(key, form)
        columns[metric_name(key)] = words.where(~data["at_most"] | (words == ""), "≤ " + words)
    columns |= {metric_name(key): cells(key, form) for key, form in USERS.items() if key in data}
    columns |= {"searches": data["searches"]} if (data["searches"] > 1).any() else {}
    columns |= {"probes": cells("probes", "{:.0f}")}
    table = pd.DataFrame(columns)
    return table.set_index(pd.Index(data["model_label"], name="model"))
