"""The engine's step sizes that memory depends on: vLLM's defaults by GPU, where the config leaves them to it.

Source: EngineArgs.get_batch_defaults of vllm/engine/arg_utils.py (0.26 to 0.33), usage OPENAI_API_SERVER.
GPUs of much memory and less speed get what small ones get: the A100 and, by name from 0.33 on, the GB10.
Before, vLLM could not ask a GB10 for its memory, which came to the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vbench.schema import Engine, Gpu

LARGE_MIB, LARGEST_MIB = 70 * 1024, 160 * 1024
SLOWER = re.compile(r"a100|gb10\b", re.IGNORECASE)


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
    elif gpu.memory_mib >= LARGE_MIB and not SLOWER.search(gpu.product):
        tokens, sequences = 8192, 1024
    else:
        tokens, sequences = 2048, 256
    sequences = engine.max_num_seqs or sequences
    tokens = engine.max_num_batched_tokens or max(tokens, sequences)
    return Steps(tokens, sequences, in_flight=2 if stages == 1 else stages)
