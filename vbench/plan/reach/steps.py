"""How long one step of an engine takes: a roofline of its parts, with fitted efficiencies. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench.metrics.bounds import COMMUNICATION, COMPUTE, KV_BANDWIDTH, OVERHEAD, WEIGHTS
from vbench.plan.reach.efficiencies import Efficiencies
from vbench.plan.reach.work import Work
from vbench.schema import Gpu
from vbench.schema.record import Floats

SHARPNESS = 3.0  # of the roofline's knee: near it neither bytes nor FLOPs hide the other wholly
ATTENTION = 0.7  # of the efficiency of dense products: scores and weighted sums of prompts
PCIE_GB_S = 64.0  # of a GPU whose link is unknown, both directions together
Number = Any  # a float, or an array with one entry a step


@dataclass(frozen=True)
class StepCosts:
    """Coefficients of a step's time in seconds; its methods take floats, or arrays with one entry a step.

    Of a step, `prompt` tokens are prefilled, `sampled` sequences get one token each, those under way read `context`
    tokens of KV cache together; `pairs` counts each prompt token with each token of its context.
    """

    dense_read: float
    dense_token: float  # compute, a token
    head_read: float
    head_token: float
    expert_read: float  # one expert of all layers
    expert_token: float
    experts: int
    miss: float  # chance that a token leaves one expert untouched
    context_token: float  # reading a token of KV cache
    window_token: float
    window: int
    attention_pair: float  # a prompt token and one of its context
    activation_token: float  # reading and writing activations
    exchange_token: float  # all-reduces, a token
    exchange_fixed: float
    fixed: float
    sequence: float
    launch: float  # CPU time of a step without a CUDA graph
    graph_tokens: int  # most tokens of a step with one

    def seconds(self, prompt: Number, sampled: Number, context: Number, pairs: Number) -> Number:
        """Seconds of a step."""
        tokens = prompt + sampled
        spent = _knee(self.dense_read, self.dense_token * tokens) + _knee(self.head_read, self.head_token * sampled)
        if self.experts:
            spent = spent + _knee(self.expert_read * self._touched(tokens), self.expert_token * tokens)
        spent = spent + self._context_seconds(sampled, context) + self.attention_pair * pairs
        spent = spent + self.fixed + self.exchange_fixed + self.sequence * sampled
        spent = spent + (self.exchange_token + self.activation_token) * tokens
        return _knee(spent, self.launch * (tokens > self.graph_tokens))

    def parts(self, prompt: Floats, sampled: Floats, context: Floats, pairs: Floats) -> dict[str, float]:
        """Seconds of all these steps, by what they were spent on; where two overlap, the larger counts for both."""
        tokens = prompt + sampled
        pairs_of_parts = [
            (np.full_like(tokens, self.dense_read), self.dense_token * tokens),
            (np.full_like(tokens, self.head_read), self.head_token * sampled),
        ]
        if self.experts:
            pairs_of_parts.append((self.expert_read * self._touched(tokens), self.expert_token * tokens))
        read = sum(float(_knee(bytes_s, flops_s)[bytes_s >= flops_s].sum()) for bytes_s, flops_s in pairs_of_parts)
        compute = sum(float(_knee(bytes_s, flops_s)[bytes_s < flops_s].sum()) for bytes_s, flops_s in pairs_of_parts)
        all_of_it = self.seconds(prompt, sampled, context, pairs)
        found = {
            WEIGHTS: read,
            KV_BANDWIDTH: float(self._context_seconds(sampled, context).sum()),
            COMPUTE: compute + float((self.attention_pair * pairs + self.activation_token * tokens).sum()),
            COMMUNICATION: float((self.exchange_fixed + self.exchange_token * tokens).sum()),
        }
        return found | {OVERHEAD: float(all_of_it.sum()) - sum(found.values())}

    def _touched(self, tokens: Number) -> Number:
        return self.experts * (1.0 - self.miss**tokens)

    def _context_seconds(self, sampled: Number, context: Number) -> Number:
        spent = self.context_token * context
        return spent + self.window_token * _least(context, sampled * self.window) if self.window else spent


def compute_costs(work: Work, gpu: Gpu, tensor_parallel: int, graph_tokens: int, found: Efficiencies) -> StepCosts:
    """The coefficients for a device. Raises ValueError if the GPU's bandwidth or peak is unknown."""
    if not gpu.memory_bandwidth_gb_s or not gpu.bf16_tflops:
        raise ValueError(f"gpu {gpu.name}: its memory bandwidth or bfloat16 peak is unknown")
    bandwidth, bf16 = gpu.memory_bandwidth_gb_s * 1e9, gpu.bf16_tflops * 1e12 * found.bf16
    fp8 = gpu.fp8_tflops * 1e12 * found.fp8 if gpu.fp8_tflops else bf16
    of_experts = found.experts_bf16 / found.bf16
    dense_peak = fp8 if work.dense_dtype == "fp8" else bf16
    expert_peaks = {"fp8": fp8 * of_experts, "bfloat16": bf16 * of_experts}
    expert_peak = expert_peaks.get(work.expert_dtype, gpu.bf16_tflops * 1e12 * found.experts_4bit)
    link = (gpu.link_gb_s or PCIE_GB_S) * 1e9 / 2 * found.link
    hops = 2 * (tensor_parallel - 1) / tensor_parallel  # of a ring
    return StepCosts(
        dense_read=work.dense_bytes / (bandwidth * found.bandwidth),
        dense_token=work.dense_flops / dense_peak,
        head_read=work.head_bytes / (bandwidth * found.bandwidth),
        head_token=work.head_flops / bf16,
        expert_read=work.expert_bytes / (bandwidth * found.experts_bandwidth),
        expert_token=work.expert_flops / expert_peak,
        experts=work.experts,
        miss=1.0 - work.experts_per_token / work.experts if work.experts else 1.0,
        context_token=work.kv_bytes / (bandwidth * found.kv_bandwidth),
        window_token=work.window_kv_bytes / (bandwidth * found.kv_bandwidth),
        window=work.window,
        attention_pair=work.attention_flops / (bf16 * ATTENTION),
        activation_token=work.activation_bytes * found.activation / bandwidth,
        exchange_token=work.all_reduces * work.all_reduce_bytes * hops / link,
        exchange_fixed=found.all_reduce_s * work.all_reduces,
        fixed=found.step_s + found.layer_s * work.layers + found.routing_s * work.routed_layers,
        sequence=found.sequence_s,
        launch=found.eager_layer_s * work.layers + found.eager_routing_s * work.routed_layers,
        graph_tokens=graph_tokens,
    )


def _knee(first: Number, second: Number) -> Number:
    """A smooth maximum of two non-negative numbers."""
    return (first**SHARPNESS + second**SHARPNESS) ** (1 / SHARPNESS)


def _least(first: Number, second: Number) -> Number:
    return (first + second - abs(first - second)) / 2
