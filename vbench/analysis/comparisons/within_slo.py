"""The highest load of each system that met its objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

OBJECTIVES = {"workload.slo.ttft_ms": "TTFT", "workload.slo.tpot_ms": "TPOT", "workload.slo.e2el_ms": "E2EL"}
USERS = {"users_per_gpu": "{:,.1f}", "users_per_dollar": "{:,.1f}"}  # of a search for sessions; $ of an hour
FORMATS = {"highest": "{:g}", "request_goodput": "{:,.2f}", "output_throughput": "{:,.0f}", **USERS, "probes": "{:.0f}"}
RATES = ("request_goodput", "output_throughput")
AT_MOST = (
    "≤: measured by an earlier version, which counted requests at both ends of the window: these rates are up to a "
    "tenth too high. rerun=all measures them again."
)


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each search; no section if nothing was searched for."""
    if runs.searches.empty:
        return []
    data = best_within_slo(add_labels(runs.searches, runs.conditions))
    words = {
        key: data[key].map(form.format).where(data[key].notna(), "") for key, form in FORMATS.items() if key in data
    }
    for key in RATES:
        words[key] = words[key].where(~data["at_most"] | (words[key] == ""), "≤ " + words[key])
    notes = (AT_MOST,) if data["at_most"].any() else ()
    table = (
        data.drop(columns="at_most").assign(**words).rename(columns={"system_label": "system"}).set_index("model_label")
    )
    table.index.name = "model"
    caption = (
        "The highest load at which 99 % of requests met every objective (0: not even the lowest load did), found by "
        "probes of several levels, which are judged together; each probe is a separate run. "
        f"{shared_conditions(runs.searches)}."
    )
    return [Section("within-slo", "Highest load within the SLO", caption, table, data, notes=notes)]


def best_within_slo(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each search: model_label, system_label, objectives, the highest load that met them, its metrics.

    `at_most`: whether its rates are those of an earlier version, and too high.
    """
    known = {column: short for column, short in OBJECTIVES.items() if column in rows}

    def objectives(row: pd.Series) -> str:
        return ", ".join(f"{short} ≤ {row[column]:g} ms" for column, short in known.items() if pd.notna(row[column]))

    def metric(key: str) -> pd.Series:
        return rows[key] if key in rows else pd.Series(float("nan"), index=rows.index)

    found = [row for _, row in rows.iterrows()]
    return pd.DataFrame(
        {
            "model_label": rows["model_label"],
            "system_label": rows["system_label"],
            "objectives": [objectives(row) for row in found],
            "search": rows["search"],
            "highest": [row.get(f"slo_{row['search']}", float("nan")) for row in found],
            "request_goodput": metric("slo_request_goodput"),
            "output_throughput": metric("slo_output_throughput"),
            "at_most": metric("slo_window_s").isna() & metric("slo_output_throughput").notna(),
            **{key: metric(key) for key in USERS if metric(key).notna().any()},
            "probes": metric("probes").astype("Int64"),
        }
    )
