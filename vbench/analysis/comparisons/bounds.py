"""What bounds each system at its highest load, as far as the record of a run can tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.frame import ensure_columns
from vbench.analysis.labels import add_labels, shared_conditions
from vbench.analysis.loads import load_axis_named
from vbench.analysis.section import Section
from vbench.metrics.model_cost import compute_model_cost
from vbench.metrics.validity import LIMITED_SHARE
from vbench.schema import Model

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

FULL = 0.95  # of the KV cache
BUSY = 0.9  # of a core of the load client
MOST = 0.5  # of the time between two tokens, or of the run
QUEUED = 0.1  # requests that wait for each one that runs
NOT_TOLD = "not told"
GAUGES = (
    *("server_frontend_limited", "server_max_frontend_loop", "client_busiest_cpu_share", "gpu_mean_utilization"),
    *(
        "server_max_kv_cache_usage",
        "server_preemptions",
        "server_mean_requests_waiting",
        "server_mean_requests_running",
    ),
    *("server_max_requests_waiting", "server_max_requests_running", "server.peak_prefill_tokens_per_s"),
    *("total_input_tokens", "duration", "median_itl_ms"),
)
SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "vocab_size"),
)
FACTS = (
    *("engine.max_num_seqs", "engine.extra_args", "hardware.gpu.memory_bandwidth_gb_s", "tensor_parallel_size"),
    *("data_parallel_size", "model.num_experts", "model.weight_dtype"),
    *(f"model.{size}" for size in SIZES),
)
CAPTION = (
    "At each system's highest load, what its servers, GPUs and load client recorded beside the replies. Front end: its "
    "event loop filled a core for a fifth of the run or more. KV cache: full while requests waited. Scheduler: "
    "max_num_seqs requests ran while others waited. Prefill: at the speed seen in the rehearsal, the prompts took half "
    "of the run or more. Memory bandwidth: reading a dense model's weights once, at the data sheet's bandwidth, takes "
    "half of the time between two tokens or more."
)


@dataclass(frozen=True)
class Bound:
    """What bounds a system, and the recorded numbers that say so."""

    what: str
    grounds: str


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
        found = find_bounds(row.to_dict()) or [Bound(NOT_TOLD, _looked_at(row.to_dict()))]
        made.append({
            "model_label": model, "system_label": system, "load": row["load"], "load_axis": row["load_axis"],
            "bound": ", ".join(each.what for each in found), "grounds": "; ".join(each.grounds for each in found),
        })  # fmt: skip
    return pd.DataFrame(made)


def find_bounds(row: dict[str, Any]) -> list[Bound]:
    """Everything recorded that was at its limit; empty if nothing was."""
    return [found for rule in RULES if (found := rule(row))]


def _client(row: dict[str, Any]) -> Bound | None:
    share = _number(row, "client_busiest_cpu_share")
    if not share >= BUSY:
        return None
    return Bound("load client", f"a process of the load client used {share:.0%} of a core: the server may bear more")


def _front_end(row: dict[str, Any]) -> Bound | None:
    share = _number(row, "server_frontend_limited")
    if not share >= LIMITED_SHARE:
        return None
    return Bound("front end", f"the event loop of a front end filled a core for {share:.0%} of the run")


def _kv_cache(row: dict[str, Any]) -> Bound | None:
    usage, waiting = _number(row, "server_max_kv_cache_usage"), _number(row, "server_max_requests_waiting")
    preempted = _number(row, "server_preemptions")
    if not (usage >= FULL and (waiting > 0 or preempted > 0)):
        return None
    told = [f"up to {waiting:,.0f} requests waited"] if waiting > 0 else []
    told += [f"{preempted:,.0f} preemptions"] if preempted > 0 else []
    return Bound("KV cache", f"{usage:.0%} full while {' and '.join(told)}")


def _scheduler(row: dict[str, Any]) -> Bound | None:
    if _number(row, "server_max_kv_cache_usage") >= FULL or not _is_queued(row):
        return None
    limit = _number(row, "engine.max_num_seqs") * max(1.0, _number(row, "data_parallel_size"))
    running, waiting = _number(row, "server_max_requests_running"), _number(row, "server_mean_requests_waiting")
    if not running >= limit:
        return None
    return Bound("scheduler", f"max_num_seqs lets {limit:,.0f} run, {waiting:,.0f} waited on average")


def _prefill(row: dict[str, Any]) -> Bound | None:
    rate, tokens = _number(row, "server.peak_prefill_tokens_per_s"), _number(row, "total_input_tokens")
    share = tokens / rate / _number(row, "duration") if rate > 0 else math.nan
    if not share >= MOST:
        return None
    return Bound("prefill", f"{tokens:,.0f} prompt tokens at {rate:,.0f} a second take {share:.0%} of the run")


def _bandwidth(row: dict[str, Any]) -> Bound | None:
    itl, reading = _number(row, "median_itl_ms"), weights_ms(row)
    if not (reading >= MOST * itl and reading <= itl):
        return None
    return Bound("memory bandwidth", f"reading the weights takes {reading:.1f} of the {itl:.1f} ms between two tokens")


RULES: tuple[Callable[[dict[str, Any]], Bound | None], ...] = (
    _client, _front_end, _kv_cache, _scheduler, _prefill, _bandwidth,
)  # fmt: skip


def weights_ms(row: dict[str, Any]) -> float:
    """The least time of a step: reading all weights of a dense model once, split by tensor parallelism; else NaN.

    Options beyond our own may change the weights' type, so they leave it unknown.
    """
    bandwidth = _number(row, "hardware.gpu.memory_bandwidth_gb_s") * 1e9 * _number(row, "tensor_parallel_size")
    sizes = {size: _number(row, f"model.{size}") for size in SIZES}
    extra = row["engine.extra_args"] not in (None, "", "[]") and row["engine.extra_args"] == row["engine.extra_args"]
    if extra or _number(row, "model.num_experts") != 0 or any(math.isnan(size) for size in sizes.values()):
        return math.nan
    about = dict.fromkeys(("name", "hub_id", "architecture", "model_type"), "")
    about["weight_dtype"] = str(row["model.weight_dtype"])
    model = Model(**about, **{size: int(value) for size, value in sizes.items()}, max_position_embeddings=0)  # type: ignore[arg-type]
    try:
        return compute_model_cost(model).dense_bytes / bandwidth * 1e3
    except ValueError:  # a data type that we do not know
        return math.nan


def _is_queued(row: dict[str, Any]) -> bool:
    return _number(row, "server_mean_requests_waiting") > QUEUED * _number(row, "server_mean_requests_running")


def _looked_at(row: dict[str, Any]) -> str:
    """What was recorded of a system of which nothing was at its limit."""
    shares = {
        "front end's loop at most": "server_max_frontend_loop",
        "KV cache at most": "server_max_kv_cache_usage",
        "load client": "client_busiest_cpu_share",
    }
    told = [f"{name} {value:.0%}" for name, key in shares.items() if not math.isnan(value := _number(row, key))]
    if not math.isnan(busy := _number(row, "gpu_mean_utilization")):
        told.append(f"GPUs busy {busy:.0f} % (NVML, which does not say with what)")
    if _is_queued(row):
        waiting = _number(row, "server_mean_requests_waiting")
        told.append(f"{waiting:,.0f} requests waited on average, for prefill or the scheduler")
    return "; ".join(told) or "nothing was recorded"


def _number(row: dict[str, Any], key: str) -> float:
    try:
        return float(row[key])
    except (TypeError, ValueError):
        return math.nan
