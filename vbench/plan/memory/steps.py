"""The engine's step sizes that memory depends on: vLLM's defaults by GPU, where the config leaves them to it.

Source: EngineArgs.get_batch_defaults of vllm/engine/arg_utils.py (0.26 to 0.32), usage OPENAI_API_SERVER.
"""

from __future__ import annotations

from dataclasses import dataclass

from vbench.schema import Engine, Gpu

LARGE_MIB, LARGEST_MIB = 70 * 1024, 160 * 1024


@dataclass(frozen=True)
class Steps:
    """Most tokens and sequences of one step, and steps that are in flight at once."""

    tokens: int
    sequences: int
    in_flight: int

    @property
    def sampled(self) -> int:
        """Rows of logits that the profile run computes."""
        return min(self.sequences, self.tokens)


def find_steps(engine: Engine, gpu: Gpu, stages: int) -> Steps:
    """The step sizes of an engine on this GPU. Asynchronous scheduling keeps two steps in flight without stages."""
    if gpu.memory_mib >= LARGEST_MIB:
        tokens, sequences = 16384, 1024
    elif gpu.memory_mib >= LARGE_MIB and "a100" not in gpu.product.lower():
        tokens, sequences = 8192, 1024
    else:
        tokens, sequences = 2048, 256
    sequences = engine.max_num_seqs or sequences
    tokens = engine.max_num_batched_tokens or max(tokens, sequences)
    return Steps(tokens, sequences, in_flight=2 if stages == 1 else stages)
