"""guidellm's JSON report: one measurement for each of its benchmarks. Read with 0.8.1.

If a report has every request, TTFT, TPOT and E2EL are computed from their times; else its own statistics, which it
defines otherwise (docs/metrics.md), stand under guidellm_….
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from vbench.imported.tools.translation import (
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    compute_latencies,
    known,
    nearest_rank,
    number,
    spread,
)
from vbench.schema.record import Reason

NAMES = {"std": "std_dev"}
OTHERS = {  # its latencies, their key here, and what makes milliseconds of them
    "time_to_first_token_ms": ("guidellm_{}_time_to_first_token_ms", 1.0),
    "inter_token_latency_ms": ("guidellm_{}_inter_token_latency_ms", 1.0),
    "time_per_output_token_ms": ("guidellm_{}_time_per_output_token_ms", 1.0),
    "request_latency": ("guidellm_{}_request_latency_ms", 1e3),
}
ITL = Reason(
    "itl_of_request",
    "guidellm's inter_token_latency is a request's mean gap, once a token: its percentiles hide single long gaps; they "
    "stand under guidellm_…, and only the mean is that of vbench",
)
TPOT = Reason(
    "tpot_with_ttft",
    "guidellm's time_per_output_token is E2EL / tokens and holds the TTFT: it stands under guidellm_…",
)


def recognises(result: Mapping[str, Any]) -> bool:
    return isinstance(result.get("benchmarks"), list) and "guidellm_version" in (result.get("metadata") or {})


def translate(result: Mapping[str, Any], _: Beside) -> list[Translation]:
    tool = f"guidellm {result['metadata']['guidellm_version']}"
    lengths = _lengths(result)
    return [_translate(benchmark, tool, lengths) for benchmark in result["benchmarks"]]


def _translate(benchmark: Mapping[str, Any], tool: str, lengths: Mapping[str, Any]) -> Translation:
    found, config, duration = benchmark["metrics"], benchmark["config"], float(benchmark["duration"])
    totals = found["request_totals"]
    ok = {name: each["successful"] for name, each in found.items() if isinstance(each, dict) and "successful" in each}
    output = number(ok["output_token_count"]["total_sum"])
    own = [spread(_statistics(ok[name]), NAMES, key, scale) for name, (key, scale) in OTHERS.items()]
    computed = _compute(benchmark, totals["successful"])
    result = {
        "model_id": config["backend"]["model"], "duration": duration, "num_prompts": totals["total"],
        "completed": totals["successful"], "failed": totals["errored"],
        "total_input_tokens": number(ok["prompt_token_count"]["total_sum"]), "total_output_tokens": output,
        "output_throughput": output / duration, "request_throughput": totals["successful"] / duration,
        "mean_ttft_ms": _statistics(ok["time_to_first_token_ms"]).get("mean"),
        "mean_itl_ms": _statistics(ok["inter_token_latency_ms"]).get("mean"), **computed,
        **_load(config["strategy"]), **lengths,
    }  # fmt: skip
    warnings = [SUMMARY_ONLY, nearest_rank("guidellm"), ITL, TPOT, cache_unchecked("guidellm"), *_cut(totals)]
    ended = datetime.fromtimestamp(float(benchmark["start_time"]) + duration, timezone.utc)
    return Translation(tool, known(result), {key: each[key] for each in own for key in each}, tuple(warnings), ended)


def _compute(benchmark: Mapping[str, Any], completed: int) -> dict[str, float]:
    """The latencies by the requests' own times; empty unless the report has them all."""
    requests = (benchmark.get("requests") or {}).get("successful") or []
    replies = [_times(each) for each in requests if each["output_tokens"]]
    return compute_latencies(replies) if len(replies) == completed else {}


def _times(request: Mapping[str, Any]) -> tuple[float, float, int]:
    """Its TTFT and E2EL in seconds, and its output tokens."""
    found = request["info"]["timings"]
    sent = found["request_start"]
    return found["first_token_iteration"] - sent, found["last_token_iteration"] - sent, request["output_tokens"]


def _statistics(found: Mapping[str, Any]) -> dict[str, Any]:
    return {} if not found.get("count") else {**found, **found["percentiles"]}


def _load(strategy: Mapping[str, Any]) -> dict[str, Any]:
    kind = strategy["type_"]
    if kind in ("constant", "poisson"):
        return {"request_rate": strategy["rate"], "arrivals": kind}
    streams = {"synchronous": 1}.get(kind, strategy.get("streams"))
    return {"request_rate": "inf", "max_concurrency": streams, "arrivals": kind}


def _lengths(result: Mapping[str, Any]) -> dict[str, Any]:
    data = ((result.get("config") or {}).get("spec") or {}).get("data") or [{}]
    return known({"input_len": data[0].get("prompt_tokens"), "output_len": data[0].get("output_tokens")})


def _cut(totals: Mapping[str, Any]) -> list[Reason]:
    cut = totals.get("incomplete") or 0
    if not cut:
        return []
    return [Reason("cut_requests", f"{cut} requests were cut off at the end: they are in no latency and no throughput")]
