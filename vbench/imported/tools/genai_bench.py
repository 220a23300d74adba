"""genai-bench's result of one scenario and concurrency. Read with 0.0.5.

If the file has every request, TTFT, TPOT and E2EL are computed from these: its own TPOT leaves some out. The file
names neither model nor server: experiment_metadata.json beside it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbench.imported.tools.translation import (
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    compute_latencies,
    known,
    number,
    spread,
    to_stream_end,
)
from vbench.schema.record import Reason

METADATA = "experiment_metadata.json"
NAMES = {"median": "p50", "std": "stddev"}
FAMILIES = {"ttft": "{}_ttft_ms", "e2e_latency": "{}_e2el_ms"}
BURSTS = Reason(
    "bursts_left_out",
    "genai-bench gives a reply whose tokens came within a millisecond no TPOT, but counts it in its throughput: its "
    "TPOT stands under genai_bench_…",
)


def recognises(result: Mapping[str, Any]) -> bool:
    return {"aggregated_metrics", "individual_request_metrics"} <= result.keys()


def translate(result: Mapping[str, Any], beside: Beside) -> list[Translation]:
    found, stats = result["aggregated_metrics"], result["aggregated_metrics"]["stats"]
    [about, *_] = beside.get(METADATA) or [{}]
    scale = {"ms": 1.0, "s": 1e3}[result.get("_time_unit", "s")]
    version = " ".join(word for word in (about.get("server_engine"), about.get("server_version")) if word)
    translated = {
        "model_id": about.get("api_model_name"), "gpu": about.get("server_gpu_type"),
        "gpus": about.get("server_gpu_count"), "engine_version": version.lower() or None,
        "scenario": found.get("scenario"), "max_concurrency": found["num_concurrency"], "request_rate": "inf",
        "duration": found["run_duration"],  # in seconds, whatever the latencies' unit
        "num_prompts": found["num_requests"], "completed": found["num_completed_requests"],
        "failed": found["num_error_requests"],
        "total_input_tokens": number(stats["num_input_tokens"]["sum"]),
        "total_output_tokens": number(stats["num_output_tokens"]["sum"]),
        "output_throughput": found["mean_output_throughput_tokens_per_s"],
        "request_throughput": found["requests_per_second"],
    }  # fmt: skip
    for name, key in FAMILIES.items():
        translated |= spread(stats[name], NAMES, key, scale)
    translated |= _compute(result["individual_request_metrics"], found["num_completed_requests"], scale)
    own = spread(stats["tpot"], NAMES, "genai_bench_{}_tpot_ms", scale)
    tool = f"genai-bench {about['benchmark_version']}" if "benchmark_version" in about else "genai-bench"
    warnings = (SUMMARY_ONLY, BURSTS, to_stream_end("genai-bench"), cache_unchecked("genai-bench"))
    return [Translation(tool, known(translated), own, warnings)]


def _compute(requests: list[Mapping[str, Any]], completed: int, scale: float) -> dict[str, float]:
    """The latencies by the single requests, whose times become ms if multiplied by `scale`; empty unless all are there.

    Seconds of a reply are its end of stream, so that E2EL and TPOT hold what came after the last token.
    """
    seconds = scale / 1e3
    replies = [
        (seconds * each["ttft"], seconds * each["e2e_latency"], each["num_output_tokens"])
        for each in requests if not each.get("error_code")
    ]  # fmt: skip
    return compute_latencies(replies) if len(replies) == completed else {}
