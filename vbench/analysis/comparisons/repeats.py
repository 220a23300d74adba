"""How far the means of repeated points can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.loads import load_axis_named
from vbench.analysis.points import HALF_WIDTH, POINT, bounds_caption, describe_starts, mean_points, mean_text
from vbench.analysis.section import Section
from vbench.metrics.quantiles import percentile_of, quotable

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

LATENCIES = ("ttft", "tpot", "itl", "e2el")
KEY_METRICS = (
    *("request_throughput", "output_throughput", "total_token_throughput"),
    *(f"{shape}_{name}_ms" for name in LATENCIES for shape in ("mean", "median", "p90", "p95", "p99")),
)
SPREAD = {  # column: metric, format
    "output tok/s": ("output_throughput", ",.0f"),
    "median TTFT ms": ("median_ttft_ms", ",.1f"),
    "median ITL ms": ("median_itl_ms", ",.2f"),
    "p99 ITL ms": ("p99_itl_ms", ",.2f"),  # or a lower percentile, if no point has replies enough
}


def sections(runs: Runs, _: Options) -> list[Section]:
    """Every point with two or more VALID runs; no section if there is none."""
    if runs.valid.empty:
        return []
    keys = [key for key in KEY_METRICS if key in runs.valid]
    labels = add_labels(runs.valid, runs.conditions)
    found = mean_points(labels, keys)
    several = found[found["runs"] > 1].reset_index(drop=True)
    if several.empty:
        return []
    spread = _columns(several)
    bounds = bounds_caption(several, [key for key, _ in spread.values()])
    caption = (
        "Every point with two or more VALID repeats, which differ only in their seed: mean ± half of its 95 % interval "
        f"(Student's t), n repeats {describe_starts(several['starts'])}. No ± where they agree exactly, which tells "
        f"nothing of their spread. ± of tok/s: the half-width as a share of the mean. "
        f"{f'{bounds[0].upper()}{bounds[1:]}. ' if bounds else ''}{shared_conditions(labels)}."
    )
    return [Section("repeats", "Repeats", caption, _table(several, spread), _data(several, keys))]


def _columns(several: pd.DataFrame) -> dict[str, tuple[str, str]]:
    counts = several.get("replies", ())
    chosen = {name: (quotable(key, counts, several.columns), digits) for name, (key, digits) in SPREAD.items()}
    return {name.replace("p99", f"p{percentile_of(key)}"): (key, digits) for name, (key, digits) in chosen.items()}


def _table(several: pd.DataFrame, spread: dict[str, tuple[str, str]]) -> pd.DataFrame:
    names = [
        f"{row.model_label} · {row.system_label} · {load_axis_named(row.load_axis).say_point(row.load)}"
        for row in several.itertuples()
    ]
    rows = several.to_dict("records")
    cells = {name: [mean_text(row, key, digits) for row in rows] for name, (key, digits) in spread.items()}
    relative = several["output_throughput" + HALF_WIDTH] / several["output_throughput"].abs()
    shares = ["" if pd.isna(share) else f"{share:.1%}" for share in relative]
    table = pd.DataFrame(
        {**cells, "n": several["runs"].tolist(), "starts": several["starts"].tolist(), "± of tok/s": shares},
        index=names,
    )
    table.index.name = "point"
    return table


def _data(several: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row for each point and metric: POINT, metric, mean, half_width, n, starts."""
    parts = [
        several[[*POINT, "load_axis"]].assign(
            metric=key,
            mean=several[key],
            half_width=several[key + HALF_WIDTH],
            n=several["runs"],
            starts=several["starts"],
        )
        for key in keys
    ]
    return pd.concat(parts).dropna(subset=["mean"]).sort_values([*POINT, "metric"], ignore_index=True)
