"""What bounds each system at its highest load, as far as the record of a run can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.frame import ensure_columns
from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.loads import load_axis_named
from vbench.analysis.section import Section
from vbench.metrics.bounds import FACTS, GAUGES, NOT_TOLD, Bound, describe_row, find_bounds

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

CAPTION = (
    "At each system's highest load, what its servers, GPUs and load client recorded beside the replies. Front end: its "
    "event loop filled a core for a fifth of the run or more. KV capacity: the cache was full while requests waited. "
    "Scheduler limit: max_num_seqs requests ran while others waited. Weights bandwidth, KV bandwidth, prefill compute, "
    "communication: at the data sheet's speed this alone takes three tenths of the run or more, and more than the "
    "others; or at the speed seen in the rehearsal, the prompts took half of the run. Too few requests: the GPUs were "
    "idle and nothing waited. Step overhead: they were busy with none of these."
)


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each system; no section if no run recorded what its server did."""
    rows = ensure_columns(runs.valid, (*GAUGES, *FACTS))
    rows = rows[rows[["server_max_requests_running", "server_frontend_limited"]].notna().any(axis=1)]
    if rows.empty:
        return []
    labels = add_labels(rows, runs.conditions)
    data = bounds(labels)
    words = data["load_axis"].map(lambda column: load_axis_named(column).name) + "=" + data["load"].map("{:g}".format)
    table = pd.DataFrame({"at": words, "bounded by": data["bound"], "grounds": data["grounds"]})
    table.index = pd.Index(data["model_label"] + " · " + data["system_label"], name="system")
    return [Section("bounds", "What bounds each system", f"{CAPTION} {shared_conditions(labels)}.", table, data)]


def bounds(labels: pd.DataFrame) -> pd.DataFrame:
    """One row for each system at its highest load: model_label, system_label, load, load_axis, bound, grounds.

    Takes labelled VALID rows with GAUGES and FACTS. `bound` is NOT_TOLD if nothing recorded is at its limit; the
    grounds then say what was looked at.
    """
    keys = ["model_label", "system_label"]
    highest = labels[labels["load"] == labels.groupby(keys)["load"].transform("max")]
    gauges = highest[[*keys, *GAUGES]].astype(dict.fromkeys(GAUGES, float)).groupby(keys).mean()
    facts = highest.groupby(keys)[["load", "load_axis", *FACTS]].first()
    made = []
    for (model, system), row in gauges.join(facts).iterrows():
        found = find_bounds(row.to_dict()) or [Bound(NOT_TOLD, describe_row(row.to_dict()))]
        made.append({
            "model_label": model, "system_label": system, "load": row["load"], "load_axis": row["load_axis"],
            "bound": ", ".join(each.what for each in found), "grounds": "; ".join(each.grounds for each in found),
        })  # fmt: skip
    return pd.DataFrame(made)
