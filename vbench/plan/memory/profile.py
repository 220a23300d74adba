"""What vLLM's profile run takes beside the weights: activations, logits, CUDA graphs, CUDA's context, communication.

vLLM runs one step of max_num_batched_tokens tokens, then its sampler, and takes the peak of both from the KV cache
(profile_run and _dummy_sampler_run of vllm/v1/worker/gpu_model_runner.py, determine_available_memory of gpu_worker.py).
The widest buffers of a step are known by their shapes; the constants below are fitted to recorded starts.
"""

from __future__ import annotations

from vbench.metrics.model_facts import Facts
from vbench.plan.memory.steps import Steps
from vbench.plan.memory.terms import GIB, Basis, Term

ELEMENT = 2  # bytes, bfloat16
LOGIT_BYTES = 10  # between 6 and 14 where it was seen: bfloat16 and float32 logits, float32 probabilities and noise
CONTEXT_GIB = 0.24  # "non-torch memory" of vLLM's log on one H200, 0.23 to 0.24 in three starts
COMMUNICATION_GIB = 0.1  # NCCL's and the custom all-reduce's buffers, where a replica has several GPUs
GRAPHS_GIB = 0.45
EXPERTS_GIB = 0.7  # what the workspace of the experts leaves unusable, and their graphs beyond those of a dense model
DRIVER_GIB = 0.55  # memory that the driver reports and CUDA does not: on an H200 140.4 and 139.8 GiB


def estimate_activations(facts: Facts, steps: Steps, tensor: int, *, engines: int, whole_experts: bool) -> Term:
    """The peak of a step of the most tokens, or of its sampler, whichever is more.

    Experts get the tokens of all `engines` of a server, gathered on each GPU (vLLM's allgather_reducescatter).
    """
    feed_forward = _count_feed_forward(facts, steps.tokens, tensor, engines, whole_experts)
    layer = max(feed_forward, _count_attention(facts, steps, tensor))
    logits = steps.sampled * facts.vocab_size * LOGIT_BYTES
    formula = (
        f"max(widest layer of {steps.tokens:,} tokens {layer / GIB:.2f} GiB, "
        f"{steps.sampled:,} sampled × {facts.vocab_size:,} tokens × {LOGIT_BYTES} B {logits / GIB:.2f} GiB)"
    )
    return Term("activations", max(layer, logits), formula, "vLLM profile_run, _dummy_sampler_run", Basis.fitted)


def estimate_graphs(facts: Facts, tensor: int, *, eager: bool) -> Term:
    """CUDA graphs, as vLLM estimates them while it profiles; for experts also the rest of their workspace."""
    routed = any(layer.routed for layer in facts.layers)
    experts = EXPERTS_GIB / tensor if routed else 0.0
    size = (0.0 if eager else GRAPHS_GIB) + experts
    formula = f"{'eager: 0' if eager else GRAPHS_GIB}{f' + {experts:g} for experts' if routed else ''} GiB"
    return Term("CUDA graphs", size * GIB, formula, "vLLM profile_cudagraph_memory", Basis.fitted)


def estimate_context(gpus: int) -> Term:
    """CUDA's context, and with several GPUs what they exchange data by."""
    size = CONTEXT_GIB + (COMMUNICATION_GIB if gpus > 1 else 0.0)
    formula = f"{CONTEXT_GIB} GiB{f' + {COMMUNICATION_GIB} GiB for NCCL' if gpus > 1 else ''}"
    return Term("CUDA context", size * GIB, formula, "vLLM's log: non-torch memory", Basis.fitted)


def count_rope_cache(facts: Facts, positions: int) -> float:
    """Bytes of the table of sines and cosines, one for all layers: positions × rotary width, bfloat16."""
    width = facts.latent.rope_dim if facts.latent else facts.head_dim
    return float(positions * width * ELEMENT)


def _count_feed_forward(facts: Facts, tokens: int, tensor: int, engines: int, whole_experts: bool) -> float:
    """Gate and up side by side, their product, and three of the hidden states; for experts a row for each choice."""
    dense = max((layer.dense_width for layer in facts.layers), default=0)
    widest = tokens * (3 * dense / tensor + 3 * facts.hidden_size)
    if not facts.experts:
        return widest * ELEMENT
    width = facts.expert_width / (1 if whole_experts else tensor * engines)
    gathered = tokens * engines
    rows = gathered * facts.experts_per_token
    routed = rows * (max(2 * width, facts.hidden_size) + width) + gathered * 4 * facts.hidden_size
    return max(widest, routed) * ELEMENT


def _count_attention(facts: Facts, steps: Steps, tensor: int) -> float:
    head = facts.latent.nope_dim + facts.latent.rope_dim if facts.latent else facts.head_dim
    keys = facts.heads if facts.latent else facts.kv_heads
    return steps.tokens * ((2 * facts.heads + 2 * keys) * head / tensor + 3 * facts.hidden_size) * ELEMENT
