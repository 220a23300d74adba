"""Asks other tools' own functions what docs/metrics.md says that they mean by the names of metrics.

    python benchmarks/vocabulary.py [--only guidellm,evalscope]

Each tool gets made-up replies or values in an environment of its own (benchmarks/environments.py), vLLM in this one.
Prints a line a number; the exit code is 1 if any is not what it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from environments import interpreter  # noqa: E402

# (requirement, or None for this interpreter; a program that makes the dict `told`; what that was on 2026-11-27)
ASKED: dict[str, tuple[str | None, str, dict[str, Any]]] = {
    "guidellm": (
        "guidellm==0.8.1",
        """
from guidellm.schemas import GenerativeRequestStats, RequestInfo, UsageMetrics
from guidellm.schemas.base.info import RequestTimings
from guidellm.schemas.base.statistics import DistributionSummary
ten = DistributionSummary.from_values([float(n) for n in range(1, 11)])
times = dict(request_start=0.0, first_request_iteration=1.0, first_token_iteration=1.0, token_iterations=11)
times |= dict(first_output_token_iteration=1.0, last_token_iteration=1.1, last_request_iteration=1.1, request_end=1.1)
info = RequestInfo(request_id="a", status="completed", timings=RequestTimings(**times))
tokens = dict(input_metrics=UsageMetrics(text_tokens=8), output_metrics=UsageMetrics(text_tokens=11))
reply = GenerativeRequestStats(request_id="a", info=info, **tokens)
told = {"p50 of 1 to 10": ten.percentiles.p50, "p99 of 1 to 10": ten.percentiles.p99}
told["time_per_output_token_ms, TTFT 1 s, ten gaps of 10 ms"] = round(reply.time_per_output_token_ms, 3)
told["inter_token_latency_ms, the same"] = round(reply.inter_token_latency_ms, 3)
""",
        {
            "p50 of 1 to 10": 5.0,
            "p99 of 1 to 10": 10.0,
            "time_per_output_token_ms, TTFT 1 s, ten gaps of 10 ms": 100.0,
            "inter_token_latency_ms, the same": 10.0,
        },
    ),
    "evalscope": (
        "evalscope[perf]==1.14.1",
        """
from evalscope.perf.utils.db_util import calculate_percentiles
ten = calculate_percentiles([float(n) for n in range(1, 11)], [50, 90, 99])
told = {f"p{percent} of 1 to 10": value for percent, value in ten.items()}
""",
        {"p50 of 1 to 10": 5.0, "p90 of 1 to 10": 9.0, "p99 of 1 to 10": 10.0},
    ),
    "inference-perf": (
        "inference-perf==0.7.0",
        """
from types import SimpleNamespace
from inference_perf.apis import StreamedResponseMetrics
from inference_perf.reportgen.base import compute_request_latency_metrics, summarize
def latencies(times):
    reply = StreamedResponseMetrics(output_token_times=times, output_tokens=len(times))
    asked = SimpleNamespace(start_time=0.0, end_time=times[-1], info=SimpleNamespace(response_metrics=reply))
    return compute_request_latency_metrics(asked)
merged = latencies([0.05 + 0.04 * chunk for chunk in range(25) for _ in range(4)])
gaps = summarize(merged["inter_token_latency_deltas"], [50, 90])
told = {"median ITL in ms, four tokens each 40 ms": round(1e3 * gaps["median"], 3)}
told["p90 ITL in ms, the same"] = round(1e3 * gaps["p90"], 3)
told["TPOT in ms, the same"] = round(1e3 * merged["time_per_output_token"], 2)
told["TTFT of a reply of one token"] = latencies([0.2])["time_to_first_token"]
""",
        {
            "median ITL in ms, four tokens each 40 ms": 0.0,
            "p90 ITL in ms, the same": 40.0,
            "TPOT in ms, the same": 9.7,
            "TTFT of a reply of one token": None,
        },
    ),
    "vllm": (
        None,
        """
from vllm.benchmarks import serve
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
def metrics(*replies, duration):
    outputs = [RequestFuncOutput(success=True, prompt_len=8, **reply) for reply in replies]
    return serve.calculate_metrics([None] * len(outputs), outputs, duration, None, [99.0], {})[0]
merged = metrics(dict(output_tokens=100, ttft=0.05, itl=[0.04] * 24, latency=1.01, start_time=0.0), duration=1.01)
turns = [dict(output_tokens=2, ttft=0.03, itl=[0.02], latency=0.05, start_time=0.05 * n) for n in range(20)]
told = {"median ITL in ms, four tokens each 40 ms": round(merged.median_itl_ms, 3)}
told["mean TPOT in ms, the same"] = round(merged.mean_tpot_ms, 2)
most = metrics(*turns, duration=1.0).max_concurrent_requests
told["max_concurrent_requests of 20 requests, one at a time within 1 s"] = most
""",
        {
            "median ITL in ms, four tokens each 40 ms": 40.0,
            "mean TPOT in ms, the same": 9.7,
            "max_concurrent_requests of 20 requests, one at a time within 1 s": 20,
        },
    ),
}


def ask(requirement: str | None, program: str) -> dict[str, Any]:
    """What the program finds. Raises SystemExit with what it printed if it fails."""
    python = sys.executable if requirement is None else str(interpreter(requirement))
    whole = f"{program}\nimport json\nprint()\nprint(json.dumps(told))\n"
    ran = subprocess.run([python, "-c", whole], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(ASKED))
    changed = 0
    for tool in parser.parse_args().only:
        requirement, program, expected = ASKED[tool]
        for question, told in ask(requirement, program).items():
            same = told == expected[question]
            changed += not same
            print(f"{requirement or tool}: {question}: {told}{'' if same else f', was {expected[question]}: changed'}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
