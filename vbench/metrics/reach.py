"""How near a run came to what its GPUs' data sheets allow: MBU, MFU and the share of the roofline. Pure.

    mbu_weights       bytes of weights that its steps read / (duration × memory bandwidth of its GPUs)
    mbu_kv            the same of the KV cache
    mbu               both
    mfu               seconds that its FLOPs take at the peak of their data type / duration
    link_share        seconds that its all-reduces take at the link's bandwidth / duration
    pct_of_roofline   100 × the least duration that bandwidth and peak allow for these requests / duration

How many steps there were is not counted anywhere; it follows from the requests: each step gives one token to each
request between its first token and its last. A step that only prefills is not seen, so MBU is a lower estimate. The
experts that a step reads are those that its tokens reach if all are equally likely.

The roofline is a bound, so it takes the least of everything: all replies begin at once, a step for each token of the
longest one, bytes and FLOPs at the same time. Of the experts, each step reads those that its tokens reach if all are
equally likely, as they are with random weights; with real weights only as many as one token needs.

With attention data parallelism nothing is told: which engine of the server got a request is not known.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from vbench.metrics.definitions import is_success
from vbench.metrics.experts import routes_alike
from vbench.metrics.model_cost import DTYPE_BYTES, ModelCost, compute_model_cost
from vbench.metrics.model_facts import Kind
from vbench.metrics.stalls import ends_of_replies
from vbench.schema import Gpu, Model, RunConfig
from vbench.schema.engine import Weights
from vbench.schema.record import Floats, Ints, Requests

# Of engine.extra_args: others may change what a step reads or computes.
HARMLESS = ("--api-server-count", "-asc", "--enable-mfu-metrics")
EIGHT_BITS = ("fp8", "mxfp4", "nvfp4", "int8")  # weight types whose products may run at the FP8 peak
FOUR_BITS = ("mxfp4", "nvfp4")
MULTIPLIES_FOUR_BITS = re.compile(r"G?B[23]00|RTX PRO|MI35", re.IGNORECASE)  # conf/gpu states no peak of theirs in FP4


@dataclass(frozen=True)
class _Device:
    """The GPUs of one replica together, in SI units."""

    bandwidth: float
    layer_flops: float  # peak of the layers' matrix products; infinite if it is not known
    attention_flops: float  # peak of the products with the KV cache
    wide_flops: float  # peak of bfloat16
    link: float | None
    size: int


def reach(requests: Requests, config: RunConfig, cached: Floats | None = None) -> dict[str, float]:
    """The metrics of a run; empty where its model, GPUs or engine options leave them unknown.

    `cached`, (n,): the tokens at the beginning of each prompt that the prefix cache had; None: of no prompt.
    """
    device = _find_device(config)
    ok = is_success(requests)
    duration = float(np.nanmax(requests.finished, initial=0.0) - np.nanmin(requests.sent, initial=np.inf))
    if device is None or not ok.any() or not duration > 0:
        return {}
    try:
        cost = compute_model_cost(config.model)
    except ValueError:  # layers, a quantization or a cache that are not known
        return {}
    alike = routes_alike(config.model, config.engine)
    served = requests.select(ok)
    cached = np.zeros(len(served)) if cached is None else np.minimum(cached[ok], served.input_tokens)
    parts = [served.replica == replica for replica in np.unique(served.replica)]
    replicas = [(served.select(part), cached[part]) for part in parts]
    count = max(config.parallelism.data_parallel_size or 1, len(replicas))
    weights = sum(_read_weights(each, cost, alike) for each, _ in replicas) / device.bandwidth
    kv = sum(_read_kv(each, cost) for each, _ in replicas) / device.bandwidth
    flops = sum(_compute_seconds(each, cost, device, known) for each, known in replicas)
    least = max(_find_least_seconds(each, config, cost, device, known) for each, known in replicas)
    whole = duration * count
    found = {"mbu": (weights + kv) / whole, "mbu_weights": weights / whole, "mbu_kv": kv / whole}
    if math.isfinite(device.layer_flops):
        found["mfu"] = flops / whole
    if device.link:
        tokens = int(served.input_tokens.sum() + served.output_tokens.sum() - cached.sum())
        found["link_share"] = cost.all_reduce_bytes(tokens) * _hops(device.size) / device.link / whole
    return found | {"pct_of_roofline": 100 * least / duration}


def count_steps(requests: Requests) -> tuple[Floats, Floats]:
    """Steps that brought later tokens than the first of a reply: (requests in each, how many such steps), both (k,).

    A chunk of c tokens, one of n that were under way, stands for c/n of a step.
    """
    first, last = ends_of_replies(requests)
    later = np.ones(len(requests.chunk_times), dtype=bool)
    begins = requests.offsets[:-1][np.diff(requests.offsets) > 0]
    later[begins] = False
    times, tokens = requests.chunk_times[later], requests.chunk_tokens[later].astype(np.float64)
    first, last = np.sort(first[~np.isnan(first)]), np.sort(last[~np.isnan(last)])
    under_way = np.searchsorted(first, times, side="left") - np.searchsorted(last, times, side="left")
    running = np.maximum(under_way, 1).astype(np.float64)
    return running, tokens / running


def _find_device(config: RunConfig) -> _Device | None:
    gpu, engine, split = config.hardware.gpu, config.engine, config.parallelism
    plain = all(word.isdigit() or word.partition("=")[0] in HARMLESS for word in engine.extra_args)
    if gpu is None or engine.base_url is not None or not plain:
        return None
    if (split.attention_data_parallel_size or 1) > 1:  # no reply says which engine it is from, and which steps it had
        return None
    if not gpu.memory_bandwidth_gb_s or not gpu.bf16_tflops:
        return None
    size = (split.tensor_parallel_size or 1) * (split.pipeline_parallel_size or 1)
    return _Device(
        bandwidth=size * gpu.memory_bandwidth_gb_s * 1e9,
        layer_flops=size * _find_peak(config.model, gpu) * 1e12,
        attention_flops=size * _find_attention_peak(config.model, gpu) * 1e12,
        wide_flops=size * gpu.bf16_tflops * 1e12,
        link=_find_link(config, gpu),
        size=split.tensor_parallel_size or 1,
    )


def _find_peak(model: Model, gpu: Gpu) -> float:
    """TFLOP/s that the products with weights may reach; infinite where conf/gpu does not know their type's peak."""
    wide = gpu.bf16_tflops or 0.0
    if model.weight_dtype in FOUR_BITS and MULTIPLIES_FOUR_BITS.search(gpu.product):
        return math.inf
    if model.weight_dtype == "int8":
        return gpu.fp8_tflops or 2 * wide  # an A100 multiplies integers, and no FP8
    return gpu.fp8_tflops or wide if model.weight_dtype in EIGHT_BITS else wide


def _find_attention_peak(model: Model, gpu: Gpu) -> float:
    """Kernels may multiply with a cache in FP8 as it is (FlashAttention 3)."""
    narrow = DTYPE_BYTES.get(model.kv_cache_dtype, 0.0) < DTYPE_BYTES["bfloat16"]
    return (gpu.fp8_tflops if narrow else None) or gpu.bf16_tflops or 0.0


def _find_link(config: RunConfig, gpu: Gpu) -> float | None:
    """Bytes a second that a GPU may send, which is half of what a link carries both ways; None without all-reduces."""
    split = config.parallelism.tensor_parallel_size or 1
    return gpu.link_gb_s * 1e9 / 2 if gpu.link_gb_s and split > 1 else None


def _hops(size: int) -> float:
    return 2 * (size - 1) / size


def _read_weights(requests: Requests, cost: ModelCost, alike: bool) -> float:
    running, steps = count_steps(requests)
    dense = cost.dense_bytes * steps.sum()
    if not cost.experts:
        return float(dense)
    missed = 0.0 if alike else (1 - cost.experts_per_token / cost.experts) ** running
    touched = (cost.experts_per_token if alike else cost.experts) * (1 - missed)
    return float(dense + cost.routed_layers * cost.expert_bytes * (touched * steps).sum())


def _read_kv(requests: Requests, cost: ModelCost) -> float:
    """Bytes of KV cache read for all tokens of the replies but the first of each."""
    prompts, replies = requests.input_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    later = np.maximum(replies - 1, 0.0)
    total = 0.0
    for each in cost.kv:
        kept = _count_pairs(prompts + later, each.window, each.kind) - _count_pairs(prompts, each.window, each.kind)
        total += each.layers * (each.bytes_per_token * float(kept.sum()) + each.state_bytes * float(later.sum()))
    return total


def _compute_seconds(requests: Requests, cost: ModelCost, device: _Device, cached: Floats) -> float:
    """Seconds of all FLOPs at the peaks. What was `cached`, (n,), is attended to, but attends to nothing again."""
    prompts, replies = requests.input_tokens.astype(np.float64), requests.output_tokens.astype(np.float64)
    whole = prompts + np.maximum(replies - 1, 0.0)
    layers = float((whole - cached).sum()) * (cost.layer_flops_per_token + cost.state_flops_per_token)
    kinds = {each.window: each.kind for each in cost.kv}
    attention = sum(
        flops * float((_count_pairs(whole, window, kind) - _count_pairs(cached, window, kind)).sum())
        for window, flops in ((None, cost.attention_flops_full), *cost.attention_flops_windowed)
        for kind in [kinds.get(window, "full")]
    )
    head = cost.head_flops * float(replies.sum())
    return layers / device.layer_flops + attention / device.attention_flops + head / device.wide_flops


def _count_pairs(tokens: Floats, window: int | None, kind: Kind) -> Floats:
    """Shape (n,): pairs of so many tokens and those that they attend to, themselves included.

    All before them; within the window; or from the beginning of their chunk.
    """
    if window is None:
        return tokens * (tokens + 1) / 2
    if kind == "chunked":
        rest = tokens % window
        return tokens // window * (window * (window + 1) / 2) + rest * (rest + 1) / 2
    within = np.minimum(tokens, window)
    pairs: Floats = within * (within + 1) / 2 + (tokens - within) * window
    return pairs


def _find_least_seconds(
    requests: Requests, config: RunConfig, cost: ModelCost, device: _Device, cached: Floats
) -> float:
    """The least duration that the data sheet allows one replica for its requests."""
    replies, sequences = requests.output_tokens, config.engine.max_num_seqs
    steps = max(float(replies.max()), float(replies.sum()) / sequences if sequences else 0.0)
    read = steps * cost.dense_bytes + _read_kv(requests, cost)
    read += cost.routed_layers * cost.expert_bytes * _count_least_experts(replies, config, cost)
    return max(read / device.bandwidth, _compute_seconds(requests, cost, device, cached))


def _count_least_experts(replies: Ints, config: RunConfig, cost: ModelCost) -> float:
    """Experts of a layer that all steps read, summed over the steps."""
    if config.engine.weights is not Weights.dummy or routes_alike(config.model, config.engine):
        return float(cost.experts_per_token) * float(replies.max())
    running = len(replies) - np.cumsum(np.bincount(replies))[:-1]  # replies longer than 0, 1, … tokens
    return sum(cost.count_touched_experts(int(each)) for each in running)
