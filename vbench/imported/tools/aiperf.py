"""aiperf's profile_export_aiperf.json. Read with 0.13.0."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from vbench.imported.tools.translation import (
    MILLISECONDS,
    NO_USAGE,
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    known,
    number,
    spread,
    tokens_by_tokenizer,
)
from vbench.metrics.server_rules import COUNT_SHARE
from vbench.schema.record import Reason

NAMES = {"mean": "avg", "median": "p50"}
TPOT = "inter_token_latency"
FAMILIES = {
    "time_to_first_token": "{}_ttft_ms",
    TPOT: "{}_tpot_ms",
    "request_latency": "{}_e2el_ms",
    "inter_chunk_latency": "{}_chunk_gap_ms",
}
ITL = Reason("itl_is_tpot", "aiperf's inter_token_latency is a request's mean: it is filed as TPOT, which it is")


def recognises(result: Mapping[str, Any]) -> bool:
    """Its predecessor genai-perf, whose files tell neither durations nor failures, drove perf_analyzer."""
    config, rate = result.get("input_config"), result.get("request_throughput")
    return isinstance(config, Mapping) and isinstance(rate, Mapping) and "perf_analyzer" not in config


def translate(result: Mapping[str, Any], _: Beside) -> list[Translation]:
    completed = _average(result, "completed_request_count", "request_count")
    failed = sum(int(each.get("count", 1)) for each in result.get("error_summary") or [])
    config = result["input_config"]
    translated = {
        "model_id": _model(config), "duration": _average(result, "benchmark_duration"), "completed": int(completed),
        "failed": failed,
        "num_prompts": int(completed + failed),
        "total_input_tokens": _average(result, "total_isl", "total_input_sequence_length"),
        "total_output_tokens": _average(result, "total_output_tokens", "total_osl"),
        "output_throughput": _average(result, "output_token_throughput"),
        "total_token_throughput": _average(result, "total_token_throughput"),
        "request_throughput": _average(result, "request_throughput"), **_load(config),
    }  # fmt: skip
    own, told = number(translated["total_output_tokens"]), _average(result, "total_usage_completion_tokens")
    differs = own > 0 and abs(own - told) > COUNT_SHARE * told
    if differs:
        rate = translated["output_throughput"] * told / own
        translated |= {"total_output_tokens": told, "output_throughput": rate, "total_token_throughput": None}
    metrics: dict[str, float] = {}
    for name, key in FAMILIES.items():
        found = result.get(name) or {}
        scale = MILLISECONDS[found.get("unit", "ms")]
        if differs and name == TPOT:
            metrics |= spread(found, NAMES, f"aiperf_{{}}_{name}_ms", scale)
        else:
            translated |= spread(found, NAMES, key, scale)
    warnings = (SUMMARY_ONLY, ITL, cache_unchecked("aiperf"), *_find_token_warning(config, own, told))
    version = result.get("aiperf_version")
    tool = f"aiperf {version}" if version else "aiperf"
    return [Translation(tool, known(translated), metrics, warnings, _ended(result))]


def _find_token_warning(config: Mapping[str, Any], own: float, told: float) -> list[Reason]:
    """What its count of output tokens hides: nothing where the server's usage is known and agrees."""
    if abs(own - told) <= COUNT_SHARE * told or (config.get("endpoint") or {}).get("use_server_token_count"):
        return []
    if math.isnan(own - told):
        return [tokens_by_tokenizer("aiperf", NO_USAGE)]
    detail = f"{own:,.0f}, where the server's usage says {told:,.0f}, which is used; its TPOT stands under aiperf_…"
    return [tokens_by_tokenizer("aiperf", detail)]


def _average(result: Mapping[str, Any], *names: str) -> float:
    values = (number((result.get(name) or {}).get("avg")) for name in names)
    return next((value for value in values if value == value), float("nan"))  # noqa: PLR0124  NaN


def _model(config: Mapping[str, Any]) -> Any:
    """The first model; before 0.13 among the facts of the endpoint."""
    items = (config.get("models") or {}).get("items") or []
    names = [each["name"] for each in items] or (config.get("endpoint") or {}).get("model_names") or []
    return names[0] if names else None


def _load(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the profiling phase asked for; before 0.13 there was one phase, `loadgen`."""
    phases = [each for each in config.get("phases") or [] if each.get("kind") == "profiling"]
    load = phases[-1] if phases else config.get("loadgen") or {}
    rate = load.get("rate") or load.get("request_rate")
    return {"request_rate": rate or "inf", "max_concurrency": load.get("concurrency")}


def _ended(result: Mapping[str, Any]) -> datetime | None:
    try:
        ended = datetime.fromisoformat(str(result["end_time"]).replace("Z", "+00:00"))
    except (KeyError, ValueError):
        return None
    return ended if ended.tzinfo else ended.replace(tzinfo=timezone.utc)
