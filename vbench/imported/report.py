"""A record as llm-d's Benchmark Report 0.2, which other tools compare. Pure.

Times are in milliseconds and percentiles are interpolated, as in the record. The verdict and its reasons are keywords,
because the format has no field for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vbench.schema.record import Record

VERSION = "0.2"
REPORTS = "benchmark_report"  # how names of such files begin
PART = "0.0.1"  # the version of its descriptions of engines and loads
SHAPES = {"mean": "mean", "std": "stddev", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
LATENCIES = {  # its name: ours, unit
    "time_to_first_token": ("ttft", "ms"),
    "time_per_output_token": ("tpot", "ms/token"),
    "inter_token_latency": ("itl", "ms/token"),
    "request_latency": ("e2el", "ms"),
}
RATES = {
    "request_rate": ("request_throughput", "queries/s"),
    "output_token_rate": ("output_throughput", "tokens/s"),
    "total_token_rate": ("total_token_throughput", "tokens/s"),
}
SOURCES = {"random": "random", "sharegpt": "random", "sharegpt_file": "sampled", "trace": "random"}


def benchmark_report(record: Record) -> dict[str, Any]:
    """The report as plain data for JSON or YAML. A FAILED run's has no results."""
    return {
        "version": VERSION,
        "run": {
            "uid": record.run_key,
            "eid": record.experiment,
            "time": {"start": record.started_at, "end": record.ended_at, **_duration(record.metrics)},
            "description": record.name,
            "keywords": [record.verdict, *_codes(record)],
        },
        "scenario": {"stack": _stack(record), **_load(record)},
        "results": {"request_performance": {"aggregate": _aggregate(record.metrics)}} if record.metrics else {},
    }


def _duration(metrics: Mapping[str, float]) -> dict[str, str]:
    return {"duration": f"PT{metrics['duration']:.6f}S"} if "duration" in metrics else {}


def _codes(record: Record) -> list[str]:
    failure = [record.failure.kind] if record.failure else []
    return [*failure, *(each.code for each in (*record.invalid, *record.warnings))]


def _stack(record: Record) -> list[dict[str, Any]]:
    """The engine, if the record says what it ran on."""
    hardware, model = record.config.get("hardware"), record.config["model"]
    if hardware is None:
        return []
    split, engine = record.config.get("parallelism", {}), record.config.get("engine", {})
    copies, tensor = split.get("data_parallel_size", 1), split.get("tensor_parallel_size", 1)
    engines = split.get("attention_data_parallel_size", 1)
    devices = record.environment.get("gpus") or [(hardware.get("gpu") or {}).get("name") or "cpu"]
    tool, _, version = str(record.environment.get("engine", "unknown")).partition(" ")
    parallelism = {
        "tp": tensor, "dp": engines, "dp_local": engines, "workers": 1, "pp": split.get("pipeline_parallel_size", 1),
        "ep": tensor * engines if split.get("enable_expert_parallel") else 1,
    }  # fmt: skip
    accelerator = {"model": str(devices[0]), "count": max(hardware["gpus"] // copies, 0)}
    standardized = {
        "kind": "inference_engine", "tool": tool, "tool_version": version or "unknown", "role": "replica",
        "replicas": copies, "model": {"name": model.get("hub_id") or model["name"]},
        "accelerator": {**accelerator, "parallelism": parallelism},
    }  # fmt: skip
    metadata = {"schema_version": PART, "label": record.session, "cfg_id": _digest(engine)}
    return [{"metadata": metadata, "standardized": standardized, "native": {"config": engine}}]


def _load(record: Record) -> dict[str, Any]:
    workload, metrics = record.config.get("workload", {}), record.metrics
    if not metrics.get("completed"):
        return {}
    lengths = {
        f"{end}_seq_len": {"distribution": "other", "value": metrics[total] / metrics["completed"]}
        for end, total in (("input", "total_input_tokens"), ("output", "total_output_tokens"))
        if total in metrics
    }
    if "input_seq_len" not in lengths:  # the format demands it
        return {}
    rate, concurrency = workload.get("request_rate"), workload.get("max_concurrency")
    standardized = {
        "tool": "vbench", "tool_version": str(record.environment.get("vbench", "unknown")),
        "source": SOURCES.get(workload.get("lengths", ""), "unknown"), **lengths,
        **({"rate_qps": rate} if isinstance(rate, int | float) and 0 < rate < float("inf") else {}),
        **({"concurrency": concurrency} if concurrency else {}),
    }  # fmt: skip
    metadata = {"schema_version": PART, "cfg_id": _digest(workload)}
    return {"load": {"metadata": metadata, "standardized": standardized, "native": {"config": workload}}}


def _aggregate(metrics: Mapping[str, float]) -> dict[str, Any]:
    completed, failed = int(metrics.get("completed", 0)), int(metrics.get("failed", 0))
    requests: dict[str, Any] = {"total": completed + failed, "failures": failed}
    for part, total in (("input_length", "total_input_tokens"), ("output_length", "total_output_tokens")):
        if total in metrics and completed:
            requests[part] = {"units": "count", "mean": metrics[total] / completed}
    latency = {name: found for name, (key, unit) in LATENCIES.items() if (found := _statistics(metrics, key, unit))}
    rates = {name: {"units": unit, "mean": metrics[key]} for name, (key, unit) in RATES.items() if key in metrics}
    if "total_input_tokens" in metrics and metrics.get("duration"):
        rates["input_token_rate"] = {"units": "tokens/s", "mean": metrics["total_input_tokens"] / metrics["duration"]}
    return {"requests": requests, "latency": latency, "throughput": rates}


def _statistics(metrics: Mapping[str, float], key: str, unit: str) -> dict[str, Any]:
    found = {name: metrics[f"{shape}_{key}_ms"] for shape, name in SHAPES.items() if f"{shape}_{key}_ms" in metrics}
    return {"units": unit, **found} if "mean" in found else {}


def _digest(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]
