"""What bounds each system at its highest load, as far as the record of a run can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.frame import ensure_columns
from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.loads import load_axis_named
from vbench.analysis.section import Section
from vbench.metrics.bounds import (
    CLIENT,
    COMMUNICATION,
    COMPUTE,
    FACTS,
    FRONT_END,
    GAUGES,
    HOST_CPU,
    KV_BANDWIDTH,
    KV_CAPACITY,
    NOT_TOLD,
    OVERHEAD,
    SCHEDULER,
    TOO_FEW,
    WEIGHTS,
    Bound,
    describe_row,
    describe_server,
    find_bounds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SYSTEM = ["model_label", "system_label"]
CAPTION = "At each system's highest load, what its servers, GPUs and load client recorded beside the replies."
SHORT = "Where a number stands behind `of`, that was its highest load, which ended before its server was looked at."
UNTOLD = "At no system's highest load was anything that was recorded at its limit."
AT_SPEED = "at the data sheet's speed this alone takes three tenths of the run or more, and more than the others"
MEANINGS = {
    CLIENT: "a process of the load client used nine tenths of a core or more, so the server may bear more",
    FRONT_END: "its event loop filled a core for a fifth of the run or more",
    HOST_CPU: "the server itself used nine tenths of the time of its cores or more",
    KV_CAPACITY: "the cache was full while requests waited",
    SCHEDULER: "max_num_seqs requests ran while others waited",
    WEIGHTS: AT_SPEED,
    KV_BANDWIDTH: AT_SPEED,
    COMMUNICATION: AT_SPEED,
    COMPUTE: f"{AT_SPEED}; or at the speed seen in the rehearsal, the prompts took half of the run",
    TOO_FEW: "the GPUs were idle and nothing waited",
    OVERHEAD: "the GPUs were busy, but with none of weights, KV cache, FLOPs and all-reduces",
    NOT_TOLD: "nothing that was recorded was at its limit",
}


def sections(runs: Runs, _: Options) -> list[Section]:
    """One row for each system; no section if no run recorded what its server did."""
    rows = ensure_columns(runs.valid, (*GAUGES, *FACTS))
    watched = rows[["server_max_requests_running", "server_frontend_limited"]].notna().any(axis=1)
    if not watched.any():
        return []
    every = add_labels(rows, runs.conditions)
    every["highest"] = every.groupby(SYSTEM)["load"].transform("max")
    labels = every[watched]
    data = bounds(labels)
    words = data["load_axis"].map(lambda column: load_axis_named(column).name) + "=" + data["load"].map("{:g}".format)
    short = data["load"] < data["highest"]
    words += data["highest"].map(" of {:g}".format).where(short, "")
    table = pd.DataFrame({"at": words, "bounded by": data["bound"], "grounds": data["grounds"]})
    table.index = pd.Index(data["model_label"] + " · " + data["system_label"], name="system")
    told = f"{CAPTION} {explain(data['bound'])}" if set(data["bound"]) != {NOT_TOLD} else UNTOLD
    caption = f"{told} {f'{SHORT} ' if short.any() else ''}{shared_conditions(labels)}."
    return [Section("bounds", "What bounds each system", caption, table, data)]


def explain(bounds: Iterable[str]) -> str:
    """What the bounds of these cells mean, those with one meaning together: `KV capacity: the cache was full …`."""
    named = {name for cell in bounds for name in cell.split(", ")}
    names: dict[str, list[str]] = {}
    for name, meaning in MEANINGS.items():
        if name in named:
            names.setdefault(meaning, []).append(name)
    told = [f"{', '.join(each)}: {meaning}." for meaning, each in names.items()]
    return " ".join(each[0].upper() + each[1:] for each in told)


def bounds(labels: pd.DataFrame) -> pd.DataFrame:
    """One row for each system at its highest load of these: SYSTEM, load, highest, load_axis, unseen, bound, grounds.

    Takes labelled VALID rows with GAUGES and FACTS, and `highest`, the load of its highest run, watched or not. `bound`
    is NOT_TOLD if nothing recorded is at its limit; the grounds then say what was looked at. `unseen`:
    why little can be told of its server.
    """
    top = labels[labels["load"] == labels.groupby(SYSTEM)["load"].transform("max")]
    gauges = top[[*SYSTEM, *GAUGES]].astype(dict.fromkeys(GAUGES, float)).groupby(SYSTEM).mean()
    facts = top.groupby(SYSTEM)[["load", "highest", "load_axis", *FACTS]].first()
    made = []
    for (model, system), row in gauges.join(facts).iterrows():
        found = find_bounds(row.to_dict()) or [Bound(NOT_TOLD, describe_row(row.to_dict()))]
        made.append({
            "model_label": model, "system_label": system, "load": row["load"], "highest": row["highest"],
            "load_axis": row["load_axis"],
            "unseen": describe_server(row.to_dict()),
            "bound": ", ".join(each.what for each in found), "grounds": "; ".join(each.grounds for each in found),
        })  # fmt: skip
    return pd.DataFrame(made)
