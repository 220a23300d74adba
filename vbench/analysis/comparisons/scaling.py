"""Speed-up and efficiency while one dimension of the parallelism grows and the others stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vbench.analysis.axes import THROUGHPUT, axis
from vbench.analysis.frame import SIZES
from vbench.analysis.labels import add_labels, describe_join, load_axis, shared_conditions
from vbench.analysis.loads import LOAD_AXES
from vbench.analysis.per_value import number_rows
from vbench.analysis.points import choose_load, mean_points
from vbench.analysis.ratios import Ratio, log_means, match_points, mean_ratios
from vbench.analysis.section import Section

if TYPE_CHECKING:
    from collections.abc import Collection

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SHORT = dict(zip(SIZES, ("tp", "pp", "adp", "dp"), strict=True))


def sections(runs: Runs, options: Options) -> list[Section]:
    """One table at one load; no section if no system was measured in two sizes."""
    y = axis(options.y if axis(options.y).adds_up else THROUGHPUT)
    rows = runs.valid.dropna(subset=["gpus", *SIZES, y.key])
    rows = rows[rows["gpus"] > 0]
    if rows["gpus"].nunique() < 2:
        return []
    rows = _drop_metrics(rows, {y.key, "gpus", *SIZES, *(each.column for each in LOAD_AXES), *runs.everything})
    grown = pd.concat([_add_way(rows, size) for size in SIZES])
    labels = add_labels(grown, runs.conditions, ["gpu_type", "way"])
    sizes = labels.groupby(["model_label", "system_label"])["gpus"].transform("nunique")
    labels = labels[sizes > 1]
    if labels.empty:
        return []
    swept, by = load_axis(labels), ("model_label", "system_label", "gpus", "load")
    labels = labels[labels["load_axis"] == swept.column]
    load, why = choose_load(mean_points(labels, [y.key], by), options.num_prompts, swept)
    data = _data(labels[labels["load"] == load], y.key)
    if data.empty:
        return []
    interval = ", in brackets its 95 % interval" if data["interval_from"].any() else " (single runs: no interval)"
    caption = (
        f"Speed-up of {y.short} over the fewest GPUs measured{interval}, and how much of the ideal it is, at "
        f"{swept.name}={load:g}"
        f"{f' ({why})' if why else ''}. The growing size: tp splits a model, adp copies its "
        f"attention and splits its experts, dp copies all. {shared_conditions(labels)}."
    )
    return [Section("scaling", "Scaling", caption, _table(data), data, notes=tuple(describe_join(labels)))]


def _drop_metrics(rows: pd.DataFrame, kept: Collection[str]) -> pd.DataFrame:
    """The rows without the numbers that no table here shows: each run stands three times in what is compared."""
    return rows[[each for each in rows if each in kept or rows[each].dtype != float]]


def _add_way(rows: pd.DataFrame, size: str) -> pd.DataFrame:
    """The rows with `way`: which size grows and which stay: `tp`, `dp of tp2`, `tp ep`."""
    others = [each for each in SIZES if each != size]
    numbers, first = number_rows([rows[each] for each in (*others, "parallelism")])
    ways = []
    for row in rows.iloc[first][[*others, "parallelism"]].to_dict("records"):
        fixed = "".join(f"{SHORT[key]}{row[key]:g}" for key in others if row[key] > 1)
        expert = " ep" if str(row["parallelism"]).endswith("ep") else ""
        ways.append(f"{SHORT[size]}{f' of {fixed}' if fixed else ''}{expert}")
    return rows.assign(way=np.array(ways, dtype=object)[numbers])


def _data(labels: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One row for each system and number of GPUs above the fewest: base, speed-up with its interval, efficiency."""
    names = ["model_label", "system_label"]
    stats = log_means(labels, [metric], [*names, "gpus"])
    least = stats.groupby(names)["gpus"].transform("min")
    base = stats[stats["gpus"] == least].rename(columns={"gpus": "base"})
    grown = stats[stats["gpus"] > least]
    pairs = match_points(grown, grown[[*names, "gpus", "metric"]].merge(base, on=[*names, "metric"]), [*names, "gpus"])
    found = mean_ratios(pairs, [*names, "gpus"]).merge(base[[*names, "base"]], on=names)
    found = found.astype({"base": int, "gpus": int})[[*names, "base", "gpus", *Ratio.__dataclass_fields__]]
    return found.assign(efficiency=found["value"] / (found["gpus"] / found["base"]))


def _table(data: pd.DataFrame) -> pd.DataFrame:
    names = data["model_label"] + " · " + data["system_label"]
    rows = zip(names, data.itertuples(), strict=True)
    cells = {(name, row.gpus): f"{_speed_up(row)} · {row.efficiency:.0%}" for name, row in rows}
    order, sizes = list(dict.fromkeys(names)), sorted(set(data["gpus"]))
    bases = dict(zip(names, data["base"], strict=True))
    table = pd.DataFrame({"of": [f"{bases[name]} GPU{'s' if bases[name] > 1 else ''}" for name in order]}, index=order)
    table.index.name = "model · GPU · what grows"
    return table.assign(**{f"{n} GPUs": [cells.get((name, n), "") for name in order] for n in sizes})


def _speed_up(row: Any) -> str:
    """`1.44 [1.40, 1.48]`."""
    return f"{row.value:.2f}" + (f" [{row.low:.2f}, {row.high:.2f}]" if row.interval_from else "")
