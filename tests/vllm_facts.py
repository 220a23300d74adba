"""What vLLM itself makes of replies, arrivals and arguments: a program, as its import takes seconds and much memory.

Reads JSON from stdin: {"runs": {name: {"replies": [...], "duration": s, "slo": {...}}}, "arrivals": {name: {...}}}.
Prints as its last line {"metrics": {name: {key of its result file: value}}, "arrivals": {name: [s]},
"options": {dest: [names]}}.
"""

import asyncio
import dataclasses
import json
import sys
from types import SimpleNamespace

import numpy as np
from vllm.benchmarks import serve
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

PERCENTILES = [90.0, 95.0, 99.0]


def metrics(replies, duration, slo):
    outputs = [RequestFuncOutput(**reply) for reply in replies]
    found, _ = serve.calculate_metrics([None] * len(outputs), outputs, duration, None, PERCENTILES, slo)
    result = {"duration": duration}
    for key, value in dataclasses.asdict(found).items():
        if key.startswith("percentiles_"):
            result |= {f"p{percentile:g}_{key.removeprefix('percentiles_')}": ms for percentile, ms in value}
        else:
            result[{"total_input": "total_input_tokens", "total_output": "total_output_tokens"}.get(key, key)] = value
    return {key: float(value) for key, value in result.items()}


def arrivals(seed, n, **options):
    """Each request's time of arrival: what its generator sleeps for when its clock stands still."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    async def drawn():
        return [one async for one in serve.get_request([object()] * n, **options)]

    serve.time, serve.asyncio = SimpleNamespace(time=lambda: 0.0), SimpleNamespace(sleep=sleep)
    np.random.seed(seed)  # noqa: NPY002 - the generator draws from it
    asyncio.run(drawn())
    return slept


asked = json.load(sys.stdin)
options = {action.dest: action.option_strings for action in make_arg_parser(FlexibleArgumentParser())._actions}
told = {
    "metrics": {name: metrics(**run) for name, run in asked["runs"].items()},
    "arrivals": {name: arrivals(**each) for name, each in asked["arrivals"].items()},
    "options": options,
}
print("\n" + json.dumps(told))
