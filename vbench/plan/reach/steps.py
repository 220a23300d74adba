"""How long one step of an engine takes: a roofline of its parts, with fitted efficiencies. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from vbench.plan.reach.efficiencies import Efficiencies
from vbench.plan.reach.work import Work
from vbench.schema import Gpu
from vbench.schema.record import Floats

SHARPNESS = 3.0  # of the roofline's knee: near it neither bytes nor FLOPs hide the other wholly
Number = TypeVar("Number", float, Floats)


@dataclass(frozen=True)
class StepCosts:
    """Coefficients of a step's time in seconds; `seconds` takes floats or arrays."""

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
    fixed: float
    sequence: float
    exchange_token: float  # all-reduces, a token
    launch: float  # CPU time of a step without a CUDA graph
    graph_tokens: int  # most tokens of a step with one

    def seconds(self, prompt: Number, decoding: Number, context: Number, pairs: Number) -> Number:
        """Seconds of a step.

        `prompt` tokens are prefilled, `decoding` sequences get one token each and read `context` tokens of KV cache
        together; `pairs` counts each prompt token with each token of its context.
        """
        tokens = prompt + decoding
        spent = _knee(self.dense_read, self.dense_token * tokens)
        spent = spent + _knee(self.head_read, self.head_token * decoding)
        if self.experts:
            touched = self.experts * (1.0 - self.miss**tokens)
            spent = spent + _knee(self.expert_read * touched, self.expert_token * tokens)
        spent = spent + self.context_token * context + self.attention_pair * pairs
        if self.window:
            spent = spent + self.window_token * _least(context, decoding * self.window)
        spent = spent + self.fixed + self.sequence * decoding
        spent = spent + (self.exchange_token + self.activation_token) * tokens
        return _knee(spent, self.launch * (tokens > self.graph_tokens))


def compute_costs(work: Work, gpu: Gpu, tensor_parallel: int, graph_tokens: int, found: Efficiencies) -> StepCosts:
    """The coefficients for a device. Raises ValueError if the GPU's bandwidth or peak is unknown."""
    if not gpu.memory_bandwidth_gb_s or not gpu.bf16_tflops:
        raise ValueError(f"gpu {gpu.name}: its memory bandwidth or bfloat16 peak is unknown")
    bandwidth, bf16 = gpu.memory_bandwidth_gb_s * 1e9, gpu.bf16_tflops * 1e12
    fp8 = (gpu.fp8_tflops or gpu.bf16_tflops) * 1e12
    dense_peak = fp8 * found.fp8 if work.dense_precision == "fp8" else bf16 * found.bf16
    ratio = found.experts_bf16 / found.bf16
    expert_peak = {"fp8": fp8 * found.fp8 * ratio, "mxfp4": bf16 * found.experts_mxfp4}.get(
        work.precision, bf16 * found.experts_bf16
    )
    link = (gpu.link_gb_s or 64.0) * 1e9 / 2 * found.link
    hops = 2 * (tensor_parallel - 1) / tensor_parallel
    fixed = found.step_s + found.layer_s * work.layers + found.routing_s * work.expert_layers
    return StepCosts(
        dense_read=work.dense_bytes / (bandwidth * found.bandwidth),
        dense_token=work.dense_flops / dense_peak,
        head_read=work.head_bytes / (bandwidth * found.bandwidth),
        head_token=work.head_flops / (bf16 * found.bf16),
        expert_read=work.expert_bytes / (bandwidth * found.experts_bandwidth),
        expert_token=work.expert_flops / expert_peak,
        experts=work.experts,
        miss=1.0 - work.experts_per_token / work.experts if work.experts else 1.0,
        context_token=work.kv_bytes / (bandwidth * found.kv_bandwidth),
        window_token=work.window_kv_bytes / (bandwidth * found.kv_bandwidth),
        window=work.window,
        attention_pair=work.attention_flops / (bf16 * found.bf16 * 0.7),
        activation_token=work.activation_bytes * found.activation / bandwidth,
        fixed=fixed + found.all_reduce_s * work.all_reduces,
        sequence=found.sequence_s,
        exchange_token=work.all_reduces * work.all_reduce_bytes * hops / link,
        launch=found.eager_layer_s * work.layers + found.eager_routing_s * work.expert_layers,
        graph_tokens=graph_tokens,
    )


def _knee(first: Number, second: Number) -> Number:
    """A smooth maximum of two non-negative numbers."""
    return (first**SHARPNESS + second**SHARPNESS) ** (1 / SHARPNESS)


def _least(first: Number, second: Number) -> Number:
    return (first + second - abs(first - second)) / 2
