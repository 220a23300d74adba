"""The blocks of each request's tokens, as ids that are equal where all tokens up to the block's end are equal. Pure.

vLLM keys a cached block by the hash of its tokens and of the block before it, and only full blocks
(`vllm/v1/core/kv_cache_utils.py`, `hash_block_tokens`). Here the key is a sum over all tokens up to the block's end,
each times a random number of its position, modulo 2^64: 40 million tokens take less than a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
        most: Ints = np.maximum(self.prompt_tokens - 1, 0) // self.block_size
        return most

    @property
    def computed_tokens(self) -> Ints:
        """Shape (n,): tokens of each request whose keys and values exist at its end: the last output token's do not."""
        computed: Ints = self.prompt_tokens + np.maximum(self.output_tokens - 1, 0)
        return computed


def chain_blocks(
    prompts: Sequence[npt.NDArray[np.integer]],
    replies: Sequence[npt.NDArray[np.integer]] | None,
    block_size: int,
    output_tokens: Ints,
) -> Content:
    """The blocks of n prompts (token ids), and of their replies where these are known (empty where not)."""
    told = replies if replies is not None else [np.empty(0, np.int64)] * len(prompts)
    texts = [np.concatenate(pair) for pair in zip(prompts, told, strict=True)]
    ids = block_ids(texts, block_size, max(map(len, texts), default=0))
    offsets = np.cumsum([0, *(len(text) // block_size for text in texts)])
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    return Content(block_size, offsets, np.concatenate([np.empty(0, np.uint64), *ids]), lengths, output_tokens)


def block_ids(texts: Iterable[npt.NDArray[np.integer]], block_size: int, longest: int) -> Iterator[Ids]:
    """Of each text (token ids, at most `longest`) the ids of its full blocks."""
    factors = np.random.default_rng(SEED).integers(0, 2**64, longest, dtype=np.uint64)
    for text in texts:
        whole = len(text) // block_size * block_size
        sums = np.cumsum((text[:whole].astype(np.uint64) + np.uint64(1)) * factors[:whole])
        yield sums[block_size - 1 :: block_size]
