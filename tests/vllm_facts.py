"""What vLLM itself makes of replies, arrivals and arguments: a program, as its import takes seconds and much memory.

Reads JSON from stdin: {"runs": {name: {"replies": [...], "duration": s, "slo": {...}}}, "arrivals": {name: {...}},
"caches": {name: {"block_size": tokens, "gpu_blocks": n, "prompts": [[id]], "replies": [[id]], "events": [...]}}}.
Prints as its last line {"metrics": {name: {key of its result file: value}}, "arrivals": {name: [s]},
"hits": {name: [tokens]}, "options": {dest: [names]}}.
"""

import asyncio
import dataclasses
import json
import sys
from collections import deque
from types import SimpleNamespace

import numpy as np
import torch
from vllm.benchmarks import serve
from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.sampling_params import SamplingParams
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_manager import KVCacheManager
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
from vllm.v1.request import Request

try:  # from 0.33 on
    from vllm.entrypoints.common.cli_args import make_arg_parser
except ImportError:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser

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


def hits(block_size, gpu_blocks, prompts, replies, events):
    """Tokens of each prompt that vLLM's KV cache manager finds cached; 0 where there never was room for it.

    Events are [request, tokens]: 0 tokens end the request, the prompt's length admits it as soon as all of it fits, and
    more than that decode up to there.
    """
    init_none_hash(sha256)
    layers = KVCacheGroupSpec(["layer"], FullAttentionSpec(block_size, num_kv_heads=1, head_size=1, dtype=torch.half))
    manager = KVCacheManager(KVCacheConfig(gpu_blocks, [], [layers]), 100_000, block_size, block_size)
    hasher, sampling = get_request_block_hasher(block_size, sha256), SamplingParams(max_tokens=1)
    requests = [Request(str(n), prompt, sampling, None, block_hasher=hasher) for n, prompt in enumerate(prompts)]
    found, waiting, running = [0] * len(prompts), deque(), set()

    def admit(number):
        request = requests[number]
        blocks, cached, _ = manager.get_computed_blocks(request)
        rest = request.num_tokens - cached
        if manager.allocate_slots(request, rest, cached, blocks, full_sequence_must_fit=True) is None:
            return False
        request.num_computed_tokens, found[number] = request.num_tokens, cached
        running.add(number)
        return True

    def decode(number, tokens):
        request, reply = requests[number], replies[number]
        made = tokens - request.num_prompt_tokens
        request.append_output_token_ids(reply[request.num_output_tokens : made])
        assert manager.allocate_slots(request, tokens - request.num_computed_tokens) is not None
        request.num_computed_tokens = tokens

    for number, tokens in events:
        if tokens == len(prompts[number]):
            waiting.append(number)
        elif tokens > requests[number].num_computed_tokens:
            decode(number, tokens)
            continue
        elif not tokens:
            manager.free(requests[number])
        while waiting and admit(waiting[0]):
            waiting.popleft()
    return found


asked = json.load(sys.stdin)
options = {}
by_name = make_arg_parser(FlexibleArgumentParser())._option_string_actions  # those that --help leaves out too
for name, action in by_name.items():
    options.setdefault(action.dest, []).append(name)
told = {
    "metrics": {name: metrics(**run) for name, run in asked["runs"].items()},
    "arrivals": {name: arrivals(**each) for name, each in asked["arrivals"].items()},
    "hits": {name: hits(**each) for name, each in asked["caches"].items()},
    "options": options,
}
print("\n" + json.dumps(told))
