"""The points of a report as data for its interactive figure (templates/explorer.js). Pure.

A point is the mean of the VALID runs of one system at one load. An INVALID run is a point of its own: it is drawn
hollow, and only where a reader asks for it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.loads import load_axis_named
from vbench.analysis.points import HALF_WIDTH, mean_points, withhold_untold
from vbench.metrics.names import metric_name
from vbench.metrics.quantiles import needed, percentile_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vbench.analysis.options import Options

LATENCY_AXES = tuple(f"{shape}_{name}_ms" for name in ("itl", "tpot", "ttft", "e2el") for shape in ("median", "p99"))
YIELD_AXES = (
    *("output_throughput", "output_throughput_per_gpu", "dollars_per_million_tokens", "output_tokens_per_joule"),
    "request_throughput",
)
OTHERS = (
    *("mean_itl_ms", "mean_tpot_ms", "mean_ttft_ms", "mean_e2el_ms", "median_queue_ms", "total_token_throughput"),
    *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "peak_concurrent_requests"),
    *("server_max_kv_cache_usage", "server_frontend_limited", "gpu_mean_utilization", "gpu_mean_power_w"),
)
MOST_POINTS = 4000  # some 200 bytes each: a page of them stays below 5 MB
DIGITS = 5
POINT = ["model_label", "system_label", "load"]


def collect_points(rows: pd.DataFrame, options: Options, run_page: Callable[[str], str | None]) -> dict[str, Any]:
    """The data of the figure, as JSON can hold it. Takes labelled runs with a load, VALID or not.

    `run_page` gives the URL of an MLflow run, or None. Numbers are rounded to DIGITS significant digits; a value that
    a run does not have is null. The points beyond MOST_POINTS are left out, and counted.
    """
    keys = [key for key in dict.fromkeys((options.x, options.y, *LATENCY_AXES, *YIELD_AXES, *OTHERS)) if key in rows]
    keys = [key for key in keys if rows[key].notna().any()]
    told = withhold_untold(rows, keys)
    drawn = [key for key in keys if told[key].notna().any()]
    measured = rows[rows["verdict"] == "VALID"]
    points = [*_mean_points(measured, keys), *_invalid_points(rows[rows["verdict"] == "INVALID"], keys)]
    runs = [run for point in points[:MOST_POINTS] for run in point["runs"]]
    return {
        "keys": keys,
        "names": [metric_name(key) for key in keys],
        "x": [key for key in dict.fromkeys((options.x, *LATENCY_AXES)) if key in drawn],
        "y": [key for key in dict.fromkeys((options.y, *YIELD_AXES)) if key in drawn],
        "needs": {key: needed(percent) for key in keys if (percent := percentile_of(key))},  # replies
        "points": points[:MOST_POINTS],
        "left_out": max(0, len(points) - MOST_POINTS),
        "pages": {run: page for run in runs if (page := run_page(run))},
    }


def encode(data: dict[str, Any]) -> str:
    """JSON that no HTML parser takes for markup."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _mean_points(rows: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    if rows.empty:
        return []
    found = withhold_untold(mean_points(rows, keys), keys).set_index(POINT)
    runs = rows.groupby(POINT)["run_id"].agg(list)
    values = found[keys].to_numpy(dtype=float).tolist()
    halves = found[[key + HALF_WIDTH for key in keys]].to_numpy(dtype=float).tolist()
    about = zip(found.index, found["load_axis"], runs.reindex(found.index), values, halves, strict=True)
    return [
        _point(model, system, load, axis, "VALID", "", ids, row, half)
        for (model, system, load), axis, ids, row, half in about
    ]


def _invalid_points(rows: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    known = withhold_untold(rows.dropna(subset=["load"]), keys)
    values = known[keys].to_numpy(dtype=float).tolist()
    about = zip(*(known[key] for key in (*POINT, "load_axis", "reasons", "run_id")), values, strict=True)
    return [
        _point(model, system, load, axis, "INVALID", str(reasons), [run], row, [])
        for model, system, load, axis, reasons, run, row in about
    ]


def _point(
    model: str, system: str, load: float, axis: str, verdict: str, why: str, runs: list[str],
    values: list[float], halves: list[float],
) -> dict[str, Any]:  # fmt: skip
    return {
        "model": model, "system": system, "load": load, "at": f"{load_axis_named(axis).name}={load:g}",
        "verdict": verdict, "why": why, "runs": runs,
        "values": [_round(each) for each in values], "halves": [_round(each) for each in halves],
    }  # fmt: skip


def _round(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
