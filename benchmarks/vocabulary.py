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
times |= dict(first_output_token_iteration=1.0, last_token_iteration=1.1, last_request_iteration=1.1, request_end=1.15)
info = RequestInfo(request_id="a", status="completed", timings=RequestTimings(**times))
tokens = dict(input_metrics=UsageMetrics(text_tokens=8), output_metrics=UsageMetrics(text_tokens=11))
reply = GenerativeRequestStats(request_id="a", info=info, **tokens)
told = {"p50 of 1 to 10": ten.percentiles.p50, "p99 of 1 to 10": ten.percentiles.p99}
told["time_per_output_token_ms, TTFT 1 s, ten gaps of 10 ms"] = round(reply.time_per_output_token_ms, 3)
told["inter_token_latency_ms, the same"] = round(reply.inter_token_latency_ms, 3)
told["time_to_first_token_ms, the same"] = round(reply.time_to_first_token_ms, 3)
told["request_latency in s, the same, and the stream's end 50 ms later"] = round(reply.request_latency, 3)
""",
        {
            "p50 of 1 to 10": 5.0,
            "p99 of 1 to 10": 10.0,
            "time_per_output_token_ms, TTFT 1 s, ten gaps of 10 ms": 100.0,
            "inter_token_latency_ms, the same": 10.0,
            "time_to_first_token_ms, the same": 1000.0,
            "request_latency in s, the same, and the stream's end 50 ms later": 1.15,
        },
    ),
    "aiperf": (
        "aiperf==0.13.0",
        """
from types import SimpleNamespace
import numpy as np
from aiperf.metrics.metric_dicts import MetricRecordDict, metric_result_from_array
from aiperf.metrics.types.inter_chunk_latency_metric import InterChunkLatencyMetric
from aiperf.metrics.types.inter_token_latency_metric import InterTokenLatencyMetric
from aiperf.metrics.types.output_sequence_length_metric import OutputSequenceLengthMetric
from aiperf.metrics.types.request_latency_metric import RequestLatencyMetric
from aiperf.metrics.types.ttft_metric import TTFTMetric
def latencies(times, tokens):  # seconds of each chunk
    chunks = [SimpleNamespace(perf_ns=round(1e9 * each)) for each in times]
    record = SimpleNamespace(start_perf_ns=0, request=SimpleNamespace(start_perf_ns=0), content_responses=chunks)
    record.token_counts = None
    of_one = MetricRecordDict({OutputSequenceLengthMetric.tag: tokens})
    for metric in (TTFTMetric, RequestLatencyMetric, InterTokenLatencyMetric):
        of_one[metric.tag] = metric()._parse_record(record, of_one)
    gaps = InterChunkLatencyMetric()._parse_record(record, of_one) if len(times) > 1 else []
    return *(of_one[metric.tag] / 1e6 for metric in (TTFTMetric, RequestLatencyMetric, InterTokenLatencyMetric)), gaps
ttft, e2el, itl, _ = latencies([1.0 + 0.01 * n for n in range(11)], 11)
told = {"time_to_first_token in ms, TTFT 1 s, ten gaps of 10 ms": ttft}
told["request_latency in ms, the same"] = round(e2el, 3)
told["inter_token_latency in ms, the same"] = round(itl, 3)
*_, itl, gaps = latencies([0.05 + 0.04 * n for n in range(25)], 100)
told["inter_token_latency in ms, four tokens each 40 ms"] = round(itl, 2)
told["median inter_chunk_latency in ms, the same"] = round(float(np.median(gaps)) / 1e6, 3)
ten = metric_result_from_array("m", "m", "ms", np.arange(1.0, 11.0), 55.0)
told |= {"p50 of 1 to 10": ten.p50, "p99 of 1 to 10": round(ten.p99, 3)}
""",
        {
            "time_to_first_token in ms, TTFT 1 s, ten gaps of 10 ms": 1000.0,
            "request_latency in ms, the same": 1100.0,
            "inter_token_latency in ms, the same": 10.0,
            "inter_token_latency in ms, four tokens each 40 ms": 9.7,
            "median inter_chunk_latency in ms, the same": 40.0,
            "p50 of 1 to 10": 5.5,
            "p99 of 1 to 10": 9.91,
        },
    ),
    "genai-bench": (
        "genai-bench==0.0.5",
        """
from genai_bench.metrics.aggregated_metrics_collector import AggregatedMetricsCollector
from genai_bench.metrics.request_metrics_collector import RequestMetricsCollector
from genai_bench.protocol import UserChatResponse
def metrics(first, end, tokens):
    times = dict(start_time=0.0, time_at_first_token=first, end_time=end)
    collector = RequestMetricsCollector()
    times |= dict(status_code=200, num_prefill_tokens=8, tokens_received=tokens)
    collector.calculate_metrics(UserChatResponse(**times))
    return collector.metrics
steady = metrics(1.0, 1.1, 11)
told = {"TTFT in ms, TTFT 1 s, ten gaps of 10 ms": round(1e3 * steady.ttft, 3)}
told["tpot in ms, the same"] = round(1e3 * steady.tpot, 3)
later = metrics(1.0, 1.15, 11)
told["e2e_latency in ms, the same, and the stream's end 50 ms later"] = round(1e3 * later.e2e_latency, 3)
everything = AggregatedMetricsCollector()
for reply in [steady, metrics(0.1, 0.1008, 20)]:
    everything.add_single_request_metrics(reply)
everything.aggregate_metrics_data(0.0, 2.0, 0.0, 0.0)
found = everything.aggregated_metrics
told["median tpot in ms, of these and of 20 tokens within 0.8 ms"] = round(1e3 * found.stats.tpot.p50, 3)
told["tokens a second of both over 2 s"] = found.mean_output_throughput_tokens_per_s
ten = AggregatedMetricsCollector()
for seconds in range(1, 11):
    ten.add_single_request_metrics(metrics(float(seconds), seconds + 0.1, 11))
ten.aggregate_metrics_data(0.0, 20.0, 0.0, 0.0)
ttft = ten.aggregated_metrics.stats.ttft
told |= {"p50 of 1 to 10": ttft.p50, "p99 of 1 to 10": round(ttft.p99, 3)}
""",
        {
            "TTFT in ms, TTFT 1 s, ten gaps of 10 ms": 1000.0,
            "tpot in ms, the same": 10.0,
            "e2e_latency in ms, the same, and the stream's end 50 ms later": 1150.0,
            "median tpot in ms, of these and of 20 tokens within 0.8 ms": 10.0,
            "tokens a second of both over 2 s": 15.5,
            "p50 of 1 to 10": 5.5,
            "p99 of 1 to 10": 9.91,
        },
    ),
    "evalscope": (
        "evalscope[perf]==1.14.1",
        """
import asyncio
from types import SimpleNamespace
import aiohttp
from aiohttp import web
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.utils.benchmark_util import BenchmarkData, MetricsAccumulator
from evalscope.perf.utils.db_util import calculate_percentiles
ten = calculate_percentiles([float(n) for n in range(1, 11)], [50, 90, 99])
told = {f"p{percent} of 1 to 10": value for percent, value in ten.items()}
told["4.96 and 5.04 ms in s"] = [calculate_percentiles([ms / 1e3], [50])[50] for ms in (4.96, 5.04)]
def means(times, tokens):  # seconds of each chunk
    reply = BenchmarkData(success=True, is_stream=True, chunk_times=times, prompt_tokens=8, completion_tokens=tokens)
    reply.first_chunk_latency, reply.query_latency, reply.completed_time = times[0], times[-1], times[-1]
    everything = MetricsAccumulator()
    everything.update(reply, None)
    return everything.to_result().create_message(api_type="openai")
steady = means([1.0 + 0.01 * n for n in range(11)], 11)
in_ms = lambda found, *names: [found[f"Avg {name} (ms)"] for name in names]
told["TTFT, TPOT and ITL in ms, TTFT 1 s, ten gaps of 10 ms"] = in_ms(steady, "TTFT", "TPOT", "ITL")
merged = means([0.05 + 0.04 * n for n in range(25)], 97)
told["TPOT and ITL in ms, four tokens each 40 ms"] = in_ms(merged, "TPOT", "ITL")
told["Spec. Accept Rate, the same, of a server that does not speculate"] = merged["Spec. Accept Rate"]
async def answer(request):  # a role, a token after 0.2 s, another 0.2 s later, the usage again 0.2 s later
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await reply.prepare(request)
    chat = 'data: {"object": "chat.completion.chunk", "choices": [{"delta": {%s}}]}'
    for event in (chat % '"role": "assistant", "content": ""', chat % '"content": "a"', chat % '"content": "b"',
                  'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 2}}'):
        await reply.write(event.encode() + b"\\n\\n")
        await asyncio.sleep(0.2)
    return reply
async def ask():
    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
    async with aiohttp.ClientSession() as client:
        class Plugin(DefaultApiPlugin):
            def build_request(self, *_): ...
            def parse_responses(self, *_, **__): ...
        return await Plugin(SimpleNamespace(tokenizer_path=None)).process_request(client, url, {}, {"stream": True})
reply = asyncio.run(ask())
ttft = round(reply.first_chunk_latency, 1)
told["TTFT in s, a chat's role at once, tokens after 0.2 and 0.4 s, usage after 0.6 s"] = ttft
told["Latency in s, the same"] = round(reply.query_latency, 1)
""",
        {
            "p50 of 1 to 10": 5.0,
            "p90 of 1 to 10": 9.0,
            "p99 of 1 to 10": 10.0,
            "4.96 and 5.04 ms in s": [0.005, 0.005],
            "TTFT, TPOT and ITL in ms, TTFT 1 s, ten gaps of 10 ms": [1000.0, 10.0, 10.0],
            "TPOT and ITL in ms, four tokens each 40 ms": [10.0, 40.0],
            "Spec. Accept Rate, the same, of a server that does not speculate": 0.75,
            "TTFT in s, a chat's role at once, tokens after 0.2 and 0.4 s, usage after 0.6 s": 0.2,
            "Latency in s, the same": 0.6,
        },
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
ten = summarize([float(n) for n in range(1, 11)], [50, 99])
told |= {"median of 1 to 10": ten["median"], "p99 of 1 to 10": round(ten["p99"], 3)}
told["TTFT of a reply of one token"] = latencies([0.2])["time_to_first_token"]
""",
        {
            "median ITL in ms, four tokens each 40 ms": 0.0,
            "p90 ITL in ms, the same": 40.0,
            "TPOT in ms, the same": 9.7,
            "median of 1 to 10": 5.5,
            "p99 of 1 to 10": 9.91,
            "TTFT of a reply of one token": None,
        },
    ),
    "vllm": (
        None,
        """
import argparse, asyncio, json, tempfile, time
from types import SimpleNamespace
from vllm.benchmarks import serve
from vllm.benchmarks.datasets.datasets import TimedTrace, add_dataset_parser
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
def metrics(*replies, duration):
    outputs = [RequestFuncOutput(success=True, prompt_len=8, **reply) for reply in replies]
    return serve.calculate_metrics([None] * len(outputs), outputs, duration, None, [99.0], {})[0]
merged = metrics(dict(output_tokens=100, ttft=0.05, itl=[0.04] * 24, latency=1.01, start_time=0.0), duration=1.01)
turns = [dict(output_tokens=2, ttft=0.03, itl=[0.02], latency=0.05, start_time=0.05 * n) for n in range(20)]
told = {"median ITL in ms, four tokens each 40 ms": round(merged.median_itl_ms, 3)}
told["mean TPOT in ms, the same"] = round(merged.mean_tpot_ms, 2)
told["mean TTFT in ms, the same, first chunk after 50 ms"] = round(merged.mean_ttft_ms, 3)
most = metrics(*turns, duration=1.0).max_concurrent_requests
told["max_concurrent_requests of 20 requests, one at a time within 1 s"] = most
ten = [dict(output_tokens=1, ttft=float(n), itl=[], latency=float(n), start_time=0.0) for n in range(1, 11)]
ttft = metrics(*ten, duration=10.0)
p50, p99 = ttft.median_ttft_ms, dict(ttft.percentiles_ttft_ms)[99.0]
told["p50 and p99 TTFT in s of 1 to 10"] = [round(p50 / 1e3, 3), round(p99 / 1e3, 3)]
async def first():
    began = time.perf_counter()
    async for _ in serve.get_request([None] * 3, 1.0, float("inf")):
        return time.perf_counter() - began
told["s until the first of three requests is sent at 1 request/s, burstiness inf"] = round(asyncio.run(first()))
add_dataset_parser(parser := argparse.ArgumentParser())
defaults = {key: value for key, value in vars(parser.parse_args([])).items() if key.startswith("timed_trace")}
row = {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": list(range(14))}  # as Mooncake's
with tempfile.NamedTemporaryFile("w") as trace:
    print(json.dumps(row), file=trace, flush=True)
    words = SimpleNamespace(get_vocab=lambda: {str(n): n for n in range(100)}, all_special_ids=[])
    sent = TimedTrace(dataset_path=trace.name, random_seed=0, **defaults).sample(words, 1)[0]
found = [sent.prompt_len, sent.timestamp]
told["timed_trace: prompt tokens and s of a row of Mooncake's, 6955 tokens at 27482 ms"] = found
""",
        {
            "median ITL in ms, four tokens each 40 ms": 40.0,
            "mean TPOT in ms, the same": 9.7,
            "mean TTFT in ms, the same, first chunk after 50 ms": 50.0,
            "max_concurrent_requests of 20 requests, one at a time within 1 s": 20,
            "p50 and p99 TTFT in s of 1 to 10": [5.5, 9.91],
            "s until the first of three requests is sent at 1 request/s, burstiness inf": 1,
            "timed_trace: prompt tokens and s of a row of Mooncake's, 6955 tokens at 27482 ms": [224, 27482.0],
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
