"""llm-d's Benchmark Report 0.2: what llm-d-benchmark converts every harness' results to, and vbench writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vbench.imported.tools.translation import (
    MILLISECONDS,
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    known,
    number,
    spread,
)
from vbench.schema.record import Reason

NAMES = {"median": "p50", "std": "stddev"}
FAMILIES = {
    "time_to_first_token": "{}_ttft_ms",
    "request_latency": "{}_e2el_ms",
    "time_per_output_token": "{}_tpot_ms",
    "inter_token_latency": "{}_itl_ms",
}
AS_OURS = {"mean_ttft_ms", "mean_e2el_ms"}  # of any tool
DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?")
PER_TOKEN_DIFFERS = Reason(
    "per_token_by_tool",
    "a Benchmark Report calls every tool's latencies a token TPOT and ITL, whatever they measure: they stand under the "
    "name of its tool",
)
PERCENTILES = Reason(
    "percentiles_by_tool",
    "how percentiles were taken depends on the report's tool: only means of TTFT and E2EL are called as vbench's are",
)


def recognises(result: Mapping[str, Any]) -> bool:
    return str(result.get("version", "")).startswith("0.2") and {"run", "results"} <= result.keys()


def translate(result: Mapping[str, Any], _: Beside) -> list[Translation]:
    scenario = result.get("scenario") or {}
    load = (scenario.get("load") or {}).get("standardized") or {}
    found = ((result["results"] or {}).get("request_performance") or {}).get("aggregate") or {}
    requests, latency, rates = (found.get(part) or {} for part in ("requests", "latency", "throughput"))
    name = str(load.get("tool", "unknown"))
    time = result["run"].get("time") or {}
    total, failed = requests.get("total", 0), requests.get("failures") or 0
    completed = total - failed - (requests.get("incomplete") or 0)
    translated = {
        "duration": _seconds(time.get("duration")), "num_prompts": total, "completed": completed, "failed": failed,
        "total_input_tokens": _mean(requests, "input_length") * completed,
        "total_output_tokens": _mean(requests, "output_length") * completed,
        "output_throughput": _mean(rates, "output_token_rate"),
        "total_token_throughput": _mean(rates, "total_token_rate"), "request_throughput": _mean(rates, "request_rate"),
        "request_rate": load.get("rate_qps") or "inf", "max_concurrency": _finite(load.get("concurrency")),
        **_stack(scenario.get("stack") or []),
    }  # fmt: skip
    own: dict[str, float] = {}
    prefix = re.sub(r"[^a-z0-9]+", "_", name.lower())
    for part, family in FAMILIES.items():
        for key, value in _spread(latency.get(part), family).items():
            if name == "vbench" or key in AS_OURS:
                translated[key] = value
            else:
                own[f"{prefix}_{key}"] = value
    notes = [] if name == "vbench" else [PER_TOKEN_DIFFERS, PERCENTILES, cache_unchecked(name)]
    tool = f"{name} {load.get('tool_version', '')}".strip()
    return [Translation(tool, known(translated), own, (SUMMARY_ONLY, *notes), _ended(time))]


def _spread(found: Mapping[str, Any] | None, key: str) -> dict[str, float]:
    return spread(found, NAMES, key, MILLISECONDS[found["units"]]) if found else {}


def _mean(part: Mapping[str, Any], name: str) -> float:
    return number((part.get(name) or {}).get("mean"))


def _finite(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _stack(stack: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The model, GPUs and split of the inference engines."""
    engines = [each["standardized"] for each in stack if each["standardized"].get("kind") == "inference_engine"]
    if not engines:
        return {}
    first, cards = engines[0], engines[0]["accelerator"]
    facts = {
        "model_id": first["model"]["name"], "gpu": cards["model"], "engine_version": first.get("tool_version"),
        "gpus": sum(each["accelerator"]["count"] * each["replicas"] for each in engines),
    }  # fmt: skip
    if len(engines) > 1:
        return facts | {"roles": ", ".join(str(each["role"]) for each in engines)}
    split = cards["parallelism"]
    copies, size, spread = first["replicas"], split.get("dp") or 1, (split.get("ep") or 1) > 1
    # Engines among which experts are spread are no copies; a file without them keeps the key that it had.
    shared = {"attention_data_parallel_size": size} if spread and size > 1 else {}
    return facts | shared | {
        "tensor_parallel_size": split.get("tp"), "pipeline_parallel_size": split.get("pp"),
        "data_parallel_size": copies if shared else size * copies, "enable_expert_parallel": spread,
    }  # fmt: skip


def _seconds(duration: Any) -> float:
    found = DURATION.fullmatch(str(duration))
    if not found or not any(found.groups()):
        return float("nan")
    hours, minutes, seconds = (float(each or 0) for each in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _ended(time: Mapping[str, Any]) -> datetime | None:
    try:
        ended = datetime.fromisoformat(str(time.get("end")).replace("Z", "+00:00"))
    except ValueError:
        return None
    return ended if ended.tzinfo else None
