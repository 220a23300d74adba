"""The highest load of each system that met its objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.labels import labelled, measured
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

OBJECTIVES = {"workload.slo.ttft_ms": "TTFT", "workload.slo.tpot_ms": "TPOT", "workload.slo.e2el_ms": "E2EL"}
FORMATS = {"highest": "{:g}", "request_goodput": "{:,.2f}", "output_throughput": "{:,.0f}"}


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row a search; none where nothing was searched for."""
    if runs.searches.empty:
        return []
    data = within_slo(labelled(runs.searches, runs.conditions))
    words = {key: data[key].map(form.format).where(data[key].notna(), "") for key, form in FORMATS.items()}
    shown = data.assign(**words).set_index("system")
    caption = (
        "The highest load at which 99 % of requests met every objective (0: not even the lowest did), found by "
        f"doubling and bisection; each probe is a run of its own. {measured(runs.searches)}."
    )
    return [Section("within-slo", "Highest load within the SLO", caption, shown, data)]


def within_slo(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a search: system, series, the objectives, the highest load that met them, and what it gave."""
    known = {column: short for column, short in OBJECTIVES.items() if column in rows}

    def said(row: pd.Series) -> str:
        return ", ".join(f"{short} ≤ {row[column]:g} ms" for column, short in known.items() if pd.notna(row[column]))

    highest = [row.get(f"slo_{row['search']}", float("nan")) for _, row in rows.iterrows()]
    return pd.DataFrame(
        {
            "system": rows["system"],
            "series": rows["series"],
            "objectives": [said(row) for _, row in rows.iterrows()],
            "search": rows["search"],
            "highest": highest,
            "request_goodput": rows["slo_request_goodput"] if "slo_request_goodput" in rows else float("nan"),
            "output_throughput": rows["slo_output_throughput"] if "slo_output_throughput" in rows else float("nan"),
            "probes": rows["probes"],
        }
    )
