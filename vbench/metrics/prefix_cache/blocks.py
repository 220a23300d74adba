"""The blocks of each request's tokens, as ids that are equal where all tokens up to the block's end are equal. Pure.

vLLM keys a cached block by the hash of its tokens and of the block before it, and only full blocks
(`vllm/v1/core/kv_cache_utils.py`, `hash_block_tokens`). Here the key is a sum over all tokens up to the block's end,
each times a random number of its position, modulo 2^64: 40 million tokens take less than a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vbench.schema.record import Ints

Ids = npt.NDArray[np.uint64]
SEED = 20_260  # of the positions' random numbers: ids of two calls can be compared


@dataclass(frozen=True)
class Content:
    """What n requests bring into a cache of blocks.

    `ids[offsets[i] : offsets[i + 1]]` are the full blocks of request i: those of its prompt, then those of its reply as
    far as the reply's tokens are known. Blocks of an unknown reply are cached too, but no later prompt can hit them.
    """

    block_size: int  # tokens
    offsets: Ints  # (n + 1,)
    ids: Ids  # (k,)
    prompt_tokens: Ints  # (n,)
    output_tokens: Ints  # (n,)

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    @property
    def most_hits(self) -> Ints:
        """Shape (n,): blocks of each prompt that can be hit; its last token is always computed, for its logits."""
        return np.maximum(self.prompt_tokens - 1, 0) // self.block_size

    @property
    def computed_tokens(self) -> Ints:
        """Shape (n,): tokens of each request whose keys and values exist at its end: the last output token's do not."""
        return self.prompt_tokens + np.maximum(self.output_tokens - 1, 0)


def chain_blocks(prompts: Sequence[Ints | npt.NDArray[np.int32]], replies: Sequence[Ints] | None, block_size: int,
                 output_tokens: Ints) -> Content:  # fmt: skip
    """The blocks of n prompts (token ids), and of their replies where these are known (empty where not)."""
    lengths = np.array([len(each) for each in prompts], np.int64)
    known = lengths if replies is None else lengths + np.array([len(each) for each in replies], np.int64)
    factors = np.random.default_rng(SEED).integers(0, 2**64, int(known.max(initial=0)), dtype=np.uint64)
    counts = known // block_size
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ids = np.empty(int(offsets[-1]), np.uint64)
    for index, prompt in enumerate(prompts):
        tokens = prompt if replies is None else np.concatenate([prompt, replies[index]])
        whole = int(counts[index]) * block_size
        sums = np.cumsum((tokens[:whole].astype(np.uint64) + np.uint64(1)) * factors[:whole])
        ids[offsets[index] : offsets[index + 1]] = sums[block_size - 1 :: block_size]
    return Content(block_size, offsets, ids, lengths, output_tokens)
