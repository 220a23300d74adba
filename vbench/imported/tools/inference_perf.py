"""inference-perf's lifecycle metrics of one stage, or the summary of all. Read with 0.7.0.

The file names neither model nor server; `pattern=` finds them in its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbench.imported.tools.translation import (
    NO_USAGE,
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    known,
    number,
    spread,
    to_stream_end,
    tokens_by_tokenizer,
)
from vbench.schema.record import Reason

OURS = {"time_to_first_token": "{}_ttft_ms", "time_per_output_token": "{}_tpot_ms", "request_latency": "{}_e2el_ms"}
OTHERS = ("inter_token_latency", "normalized_time_per_output_token")
ITL = Reason(
    "chunk_itl",
    "inference-perf's inter_token_latency counts a chunk of several tokens as one gap and several of 0: it stands "
    "under inference_perf_…",
)
ONE_TOKEN = Reason(
    "one_token_ttft", "inference-perf gives a reply of one token no TTFT: its TTFT is that of the others"
)
TOKENS = tokens_by_tokenizer("inference-perf", NO_USAGE)


def recognises(result: Mapping[str, Any]) -> bool:
    return {"load_summary", "successes"} <= result.keys()


def translate(result: Mapping[str, Any], _: Beside) -> list[Translation]:
    load, found = result["load_summary"], result["successes"]
    latency, rates = found.get("latency") or {}, found.get("throughput") or {}
    failed = (result.get("failures") or {}).get("count", 0)
    completed = found.get("count", load["count"] - failed)
    duration = number(result.get("benchmark_time_seconds"))
    if not duration > 0:
        duration = completed / number(rates["requests_per_sec"])
    translated = {
        "duration": duration, "num_prompts": load["count"], "completed": completed, "failed": failed,
        "total_input_tokens": _total(found, ("prompt_tokens", "prompt_len"), completed),
        "total_output_tokens": _total(found, ("output_len",), completed),
        "output_throughput": number(rates.get("output_tokens_per_sec")),
        "total_token_throughput": number(rates.get("total_tokens_per_sec")),
        "request_throughput": number(rates.get("requests_per_sec")), "request_rate": load.get("requested_rate"),
    }  # fmt: skip
    for name, key in OURS.items():
        translated |= spread(latency.get(name), {}, key, 1e3)
    own = [spread(latency.get(name), {}, f"inference_perf_{{}}_{name}_ms", 1e3) for name in OTHERS]
    more = (to_stream_end("inference-perf"), cache_unchecked("inference-perf"))
    metrics = {key: value for some in own for key, value in some.items()}
    warnings = (SUMMARY_ONLY, ITL, ONE_TOKEN, TOKENS, *more)
    return [Translation("inference-perf", known(translated), metrics, warnings)]


def _total(found: Mapping[str, Any], names: tuple[str, ...], completed: int) -> float:
    means = (number((found.get(name) or {}).get("mean")) for name in names)
    return next((round(mean * completed) for mean in means if mean == mean), float("nan"))  # noqa: PLR0124  NaN
