"""Speed-up and efficiency as one dimension of the parallelism grows and the others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.axes import THROUGHPUT, axis
from vbench.analysis.frame import SIZES
from vbench.analysis.labels import labelled, measured
from vbench.analysis.matched import Ratio, logarithms, matched, ratio
from vbench.analysis.points import points, shared_load
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SHORT = dict(zip(SIZES, ("tp", "pp", "dp"), strict=True))


def sections(runs: Runs, options: Options) -> list[Section]:
    """One table at one load; none where no system was measured in two sizes."""
    y = axis(options.y if axis(options.y).adds_up else THROUGHPUT)
    rows = runs.valid.dropna(subset=["gpus", *SIZES, y.key])
    rows = rows[rows["gpus"] > 0]
    if rows.empty:
        return []
    conditions = [each for each in runs.conditions if each != "device"]
    grown = pd.concat([_grown(rows, size) for size in SIZES])
    labels = labelled(grown, conditions, ["gpu_type", "way"])
    sizes = labels.groupby(["system", "series"])["gpus"].transform("nunique")
    labels = labels[sizes > 1]
    if labels.empty:
        return []
    load, why = shared_load(points(labels, [y.key], ("system", "series", "gpus", "num_prompts")), options.num_prompts)
    data = _data(labels[labels["num_prompts"] == load], y.key)
    if data.empty:
        return []
    caption = (
        f"Speed-up of {y.short} over the fewest GPUs measured, and how much of the ideal it is, at num_prompts={load}"
        f"{f' ({why})' if why else ''}. The growing size: tp splits a model, dp copies it. {measured(rows)}."
    )
    return [Section("scaling", "Scaling", caption, _table(data), data)]


def _grown(rows: pd.DataFrame, size: str) -> pd.DataFrame:
    """The rows with `way`: which size grows, and what stays: `tp`, `dp of tp2`, `tp ep`."""
    others = [each for each in SIZES if each != size]
    fixed = rows[others].apply(lambda row: "".join(f"{SHORT[key]}{n:g}" for key, n in row.items() if n > 1), axis=1)
    expert = rows["parallelism"].astype(str).str.endswith("ep").map({True: " ep", False: ""})
    return rows.assign(way=SHORT[size] + fixed.map(lambda word: f" of {word}" if word else "") + expert)


def _data(labels: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row a system, series and number of GPUs above the fewest: base, speed-up with its interval, efficiency."""
    made = []
    stats = logarithms(labels, [metric], ["system", "series", "gpus"])
    for (system, series), rows in stats.groupby(["system", "series"]):
        base = rows["gpus"].min()
        for gpus in sorted(set(rows["gpus"]) - {base}):
            grown = ratio(matched(rows[rows["gpus"] == gpus], rows[rows["gpus"] == base], ["system", "series"]))
            made.append({"system": system, "series": series, "base": int(base), "gpus": int(gpus), **vars(grown)})
    found = pd.DataFrame(made, columns=["system", "series", "base", "gpus", *Ratio.__dataclass_fields__])
    return found.assign(efficiency=found["value"] / (found["gpus"] / found["base"]))


def _table(data: pd.DataFrame) -> pd.DataFrame:
    names = data["system"] + " · " + data["series"]
    rows = zip(names, data.itertuples(), strict=True)
    cells = {(name, row.gpus): f"{row.value:.2f} · {row.efficiency:.0%}" for name, row in rows}
    order, sizes = list(dict.fromkeys(names)), sorted(set(data["gpus"]))
    bases = dict(zip(names, data["base"], strict=True))
    table = pd.DataFrame({"of": [f"{bases[name]} GPU{'s' if bases[name] > 1 else ''}" for name in order]}, index=order)
    table.index.name = "model · GPU · what grows"
    return table.assign(**{f"{n} GPUs": [cells.get((name, n), "") for name in order] for n in sizes})
