"""evalscope perf's benchmark_summary.json, with the percentiles and arguments that lie beside it. Read with 1.14.1.

The summary has the means alone, and names neither model nor lengths. Single requests lie pickled in an SQLite file,
which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from vbench.imported.tools.translation import (
    MILLISECONDS,
    SUMMARY_ONLY,
    Beside,
    Translation,
    cache_unchecked,
    known,
    nearest_rank,
    number,
    to_stream_end,
)
from vbench.schema.record import Reason

PERCENTILES, ARGUMENTS = "benchmark_percentile.json", "benchmark_args.json"
BESIDE = (PERCENTILES, ARGUMENTS)
NO_RESULTS = {*BESIDE, "workload_throughput.json", "workload_timeline.json", "trace_summary.json", "sla_summary.json"}
NEEDED = {"Test Duration (s)", "Success Requests", "Output Throughput (tok/s)", "Avg Latency (s)"}
FAMILIES = {"TTFT": "ttft", "TPOT": "tpot", "ITL": "chunk_gap", "Latency": "e2el"}  # its names, ours
COLUMN = re.compile(rf"(Avg )?(?P<family>{'|'.join(FAMILIES)}) \((?P<unit>m?s)\)")
SHAPES = {"50%": "median", "90%": "p90", "95%": "p95", "99%": "p99"}
ROUNDED = Reason(
    "rounded",
    "evalscope rounds seconds to four decimals and mean milliseconds to two: short latencies are steps of 0.1 ms",
)
CHUNKS = Reason(
    "chunk_itl", "evalscope's ITL is the gap of two chunks, whatever tokens they carry: it stands under …_chunk_gap_ms"
)
NOT_STREAMED = Reason(
    "not_streamed",
    "no reply was streamed: evalscope's TTFT is then the whole latency and its TPOT 0; both are left out",
)
EMPTY = Reason(
    "zero_ttft", "replies that brought no text count as a TTFT of 0: the means of TTFT and TPOT are left out"
)


def recognises(result: Mapping[str, Any]) -> bool:
    return result.keys() >= NEEDED


def translate(result: Mapping[str, Any], beside: Beside) -> list[Translation]:
    [arguments, *_] = beside.get(ARGUMENTS) or [{}]
    rows = {str(row.get("Percentiles")): row for row in beside.get(PERCENTILES) or []}
    completed = int(result["Success Requests"])
    rate = number(arguments.get("rate", result.get("Request Rate (req/s)")))
    translated = {
        "model_id": arguments.get("model"), "duration": number(result["Test Duration (s)"]),
        "num_prompts": result["Total Requests"], "completed": completed, "failed": result["Failed Requests"],
        "total_input_tokens": _total(result["Avg Input Tokens"], completed),
        "total_output_tokens": _total(result["Avg Output Tokens"], completed),
        "output_throughput": number(result["Output Throughput (tok/s)"]),
        "total_token_throughput": number(result["Total Throughput (tok/s)"]),
        "request_throughput": number(result["Req Throughput (req/s)"]),
        "request_rate": rate if rate > 0 else "inf",
        "max_concurrency": None if arguments.get("open_loop") else result["Concurrency"], **_lengths(arguments),
    }  # fmt: skip
    warnings = [SUMMARY_ONLY, ROUNDED, to_stream_end("evalscope"), cache_unchecked("evalscope")]
    withheld: set[str] = set()
    if not result["Stream Requests"]:
        withheld = {"ttft", "tpot", "chunk_gap"}
        warnings.append(NOT_STREAMED)
    else:
        warnings.append(CHUNKS)
    if _min_ttft(rows) == 0:
        withheld |= {"ttft", "tpot"}
        warnings.append(EMPTY)
    own: dict[str, float] = {}
    for label, row in rows.items():
        if label in SHAPES:
            own |= _latencies(row, f"evalscope_{SHAPES[label]}_{{}}_ms", withheld)
    if own:
        warnings.append(nearest_rank("evalscope"))
    return [
        Translation("evalscope", known(translated | _latencies(result, "mean_{}_ms", withheld)), own, tuple(warnings))
    ]


def _latencies(row: Mapping[str, Any], key: str, withheld: set[str]) -> dict[str, float]:
    """The latencies of a row in ms; `key` has a `{}` for the family. Without a sample the tool writes 0 or -1."""
    found = {}
    for name, value in row.items():
        match = COLUMN.fullmatch(name)
        if match and FAMILIES[match["family"]] not in withheld and number(value) > 0:
            found[key.format(FAMILIES[match["family"]])] = number(value) * MILLISECONDS[match["unit"]]
    return found


def _min_ttft(rows: Mapping[str, Mapping[str, Any]]) -> float:
    return min((number(value) for name, value in rows.get("min", {}).items() if name.startswith("TTFT")), default=1.0)


def _total(mean: Any, completed: int) -> float:
    value = number(mean)
    return round(value * completed) if value >= 0 else float("nan")


def _lengths(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The lengths that were asked for, if each request's was the same."""

    def same(name: str) -> Any:
        least, most = (arguments.get(f"{end}_{name}") for end in ("min", "max"))
        return most if least == most else None

    prompts = arguments.get("dataset") == "random" and not arguments.get("prefix_length")
    return {"input_len": same("prompt_length") if prompts else None, "output_len": same("tokens")}
