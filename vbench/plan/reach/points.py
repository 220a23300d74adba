"""From a config to what the step model simulates: one system, its scheduler's limits and its load. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

from vbench.metrics.experts import routes_alike
from vbench.plan.cache_dtype import as_served
from vbench.plan.memory.estimate import estimate_fit
from vbench.plan.memory.steps import find_steps
from vbench.plan.naming import split_name
from vbench.plan.reach.simulation import Limits
from vbench.plan.reach.work import Work, compute_work
from vbench.schema import Gpu, Lengths, RunConfig, Workload
from vbench.schema.record import Floats, Ints
from vbench.workload.prompts import lengths
from vbench.workload.sharing import send_times

GRAPH_TOKENS = {"gpt_oss": 1024}  # vLLM's GptOssForCausalLMConfig; 512 for other models
API_SERVERS = re.compile(r"--api[-_]server[-_]count(?:=(\d+))?")
NO_ENGINES = "engines that each have a part of the experts and exchange tokens at each layer are not simulated"
NO_SESSIONS = "turns that wait for replies, and hits in the prefix cache, are not simulated"

Found = TypeVar("Found")


@dataclass(frozen=True)
class _Arguments:
    """Arguments that are equal by what they print: configs hold dictionaries, which cannot be hashed."""

    text: str
    values: tuple[Any, ...] = field(compare=False)


def _remember(compute: Callable[..., Found], *values: Any) -> Found:
    """`compute(*values)`, computed once: thousands of points share few models, servers and loads."""
    found: Found = _compute(compute, _Arguments(repr(values), values))
    return found


@lru_cache(maxsize=1024)
def _compute(compute: Callable[..., Any], arguments: _Arguments) -> Any:
    return compute(*arguments.values)


@dataclass(frozen=True)
class Load:
    """n requests: prompt and reply tokens (n, 2), and when each is sent, (n,) seconds."""

    lengths: Ints
    arrivals: Floats
    max_concurrency: int | None


@dataclass(frozen=True)
class Point:
    """Everything that a prediction depends on."""

    system: str  # model, GPUs and split, for people
    gpu: Gpu
    work: Work  # of one device
    tensor_parallel: int
    replicas: int
    limits: Limits  # of one replica
    graph_tokens: int  # most tokens of a step that runs as a CUDA graph
    api_servers: int  # of one replica
    load: Load


def describe_system(config: RunConfig) -> str:
    """Model, GPUs and split, as `llama8b · 2xh100 · tp2`: what leave-one-out leaves out together."""
    return f"{config.model.name} · {config.hardware.name} · {split_name(config.parallelism)}"


def make_point(config: RunConfig, kv_tokens: float | None = None) -> Point:
    """The point of a config; `kv_tokens` is the capacity of one replica's KV cache, None to estimate it.

    Raises ValueError if nothing can be said: without a GPU, a load, with a server of unknown options, or of a load in
    sessions, whose turns wait for replies and find most of their prompts cached: neither is simulated, nor is
    attention data parallelism.
    """
    gpu, engine, workload = config.hardware.gpu, config.engine, config.workload
    if gpu is None or engine.base_url is not None or workload.start_only:
        raise ValueError("predictions need a known GPU, a server of our own and a load")
    if workload.in_sessions:
        raise ValueError(NO_SESSIONS)
    split = config.parallelism
    if (split.attention_data_parallel_size or 1) > 1:
        raise ValueError(NO_ENGINES)
    tp, dp = split.tensor_parallel_size or 1, split.data_parallel_size or 1
    steps = find_steps(engine, gpu, split.pipeline_parallel_size or 1)
    if kv_tokens is None:
        server = replace(config, workload=Workload())
        kv_tokens = _remember(estimate_kv_tokens, server)
    limits = Limits(steps.tokens, steps.sequences, kv_tokens)
    return Point(
        system=describe_system(config),
        gpu=gpu,
        work=_remember(compute_work, as_served(config), tp, routes_alike(config.model, engine)),
        tensor_parallel=tp,
        replicas=dp,
        limits=limits,
        graph_tokens=find_graph_tokens(config, limits.sequences),
        api_servers=count_api_servers(engine.extra_args),
        load=_remember(make_load, workload),
    )


def estimate_kv_tokens(config: RunConfig) -> float:
    """Tokens of KV cache of a replica, by `vbench.plan.memory`. Raises ValueError if the weights leave none."""
    tokens = estimate_fit(config).kv_cache_tokens
    if tokens <= 0:
        raise ValueError(f"{describe_system(config)}: the weights leave no memory for a KV cache")
    return float(tokens)


def find_graph_tokens(config: RunConfig, sequences: int) -> int:
    """The largest batch for which vLLM captures a CUDA graph, in tokens; 0 without graphs."""
    if config.engine.enforce_eager:
        return 0
    return min(2 * sequences, GRAPH_TOKENS.get(config.model.model_type, 512))


def count_api_servers(extra_args: list[str]) -> int:
    """The front ends of one server: --api-server-count, 1 without it."""
    for place, argument in enumerate(extra_args):
        if found := API_SERVERS.fullmatch(argument):
            return int(found[1] or extra_args[place + 1])
    return 1


def make_load(workload: Workload) -> Load:
    """The lengths and arrivals of a workload. A ShareGPT file is taken to have the built-in lengths."""
    if workload.lengths is Lengths.sharegpt_file:
        workload = replace(workload, lengths=Lengths.sharegpt)
    pairs = lengths(workload)
    arrivals = send_times(workload)
    if workload.sending_s is not None:
        due = arrivals <= workload.sending_s
        pairs, arrivals = pairs[due], arrivals[due]
    return Load(pairs, arrivals, workload.max_concurrency)
