"""The results of other tools than vLLM's own client, each translated by a file of its own. Pure.

A tool's file says what it recognises and how its numbers are called here. It knows neither records nor paths. To add a
tool, write such a file and add it to TOOLS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vbench.imported.tools import aiperf, benchmark_report, evalscope, genai_bench, guidellm, inference_perf, inferencex
from vbench.imported.tools.translation import Beside, Translation

TOOLS = (guidellm, aiperf, genai_bench, inference_perf, evalscope, inferencex, benchmark_report)
BESIDE = (genai_bench.METADATA, *evalscope.BESIDE)  # files that say more of the results in their folder, and are none
NO_RESULTS = {  # files that these tools write beside their results
    *BESIDE,
    *evalscope.NO_RESULTS,
    *("inputs.json", "profile_export.jsonl", "profile_export_raw.jsonl", "server_metrics_export.json"),
    *("gpu_telemetry_export.jsonl", "server_metrics_export.jsonl", "per_request_lifecycle_metrics.json"),
    *("summary_lifecycle_metrics.json", "validation.json"),  # the summary mixes the loads of all stages
}


def translate(result: Mapping[str, Any], beside: Beside) -> list[Translation]:
    """The measurements in a result; none if it is of no such tool. `beside` are those of BESIDE that lie there.

    Raises KeyError, TypeError or ValueError if the result is not as the tool writes it.
    """
    tool = next((each for each in TOOLS if each.recognises(result)), None)
    return tool.translate(result, beside) if tool else []
