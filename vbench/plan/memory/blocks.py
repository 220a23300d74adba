"""How vLLM counts its KV cache: blocks of tokens, layers in groups of one page size, and requests of max_model_len.

Layers that keep different things (all tokens, a window, a state) share one pool of blocks. vLLM puts layers into groups
of equal size; a block holds one page of each layer of a group; a request takes blocks for every group. "GPU KV cache
size" is blocks / blocks of a request × max_model_len, so with windows the stated number of tokens changes with
max_model_len although the memory does not. Source: vllm/v1/core/kv_cache_utils.py (get_kv_cache_groups,
get_kv_cache_capacity) and vllm/v1/kv_cache_interface.py (max_admission_blocks_per_request), 0.26.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vbench.metrics.model_cost import KvLayers

BLOCK = 16  # tokens, with FlashAttention
LATENT_BLOCK = 64  # with the kernels of latent attention


@dataclass(frozen=True)
class Group:
    """Layers of one kind that share a block table."""

    kind: str
    window: int | None

    def count_blocks(self, tokens: int, block: int, in_flight_tokens: int) -> int:
        """Blocks that a request of so many tokens holds at most."""
        if self.kind == "linear":
            return 1
        if self.window is None:
            return -(-tokens // block)
        extra = self.window - 1 if self.kind == "sliding" else self.window
        held = -(-min(extra + in_flight_tokens, tokens) // block)
        return held + 1 if self.kind == "sliding" else held  # a window may begin inside a block


@dataclass(frozen=True)
class Pool:
    """The blocks of one GPU's KV cache."""

    block: int  # tokens
    block_bytes: float
    groups: tuple[Group, ...]
    in_flight_tokens: int

    def count_request_blocks(self, tokens: int) -> int:
        """Blocks that one request of so many tokens holds at most, over all groups."""
        return sum(group.count_blocks(tokens, self.block, self.in_flight_tokens) for group in self.groups)

    def count_blocks(self, available: float) -> int:
        """Blocks in this many bytes."""
        return max(int(available // self.block_bytes), 0)

    def count_tokens(self, blocks: int, max_model_len: int) -> int:
        """Tokens as vLLM states them: as many requests of max_model_len as the blocks hold, times their length."""
        return int(blocks / self.count_request_blocks(max_model_len) * max_model_len)

    def find_longest(self, blocks: int, most: int) -> int:
        """The longest request, up to `most` tokens, that the blocks hold; 0 if none."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.count_request_blocks(middle) <= blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def count_bytes(self, tokens: int, max_model_len: int) -> float:
        """The least bytes of a cache of which vLLM states so many tokens: what a record says about its memory."""
        return tokens / max_model_len * self.count_request_blocks(max_model_len) * self.block_bytes


def make_pool(layers: Sequence[KvLayers], tensor: int, in_flight_tokens: int) -> Pool:
    """The pool of a GPU that holds these layers, `tensor` GPUs sharing each."""
    latent = any(each.kind == "latent" for each in layers)
    attention = [each for each in layers if each.kind != "linear"]
    token_bytes = max((_share(each, tensor) for each in attention), default=0.0)
    states = max((each.state_bytes / tensor for each in layers), default=0.0)
    block = LATENT_BLOCK if latent else BLOCK
    if states and token_bytes:  # a page of attention must hold at least a state
        block = max(block, -(-int(states) // int(token_bytes * BLOCK)) * BLOCK)
    page = max(token_bytes * block, states)
    size = _find_group_size([each.layers for each in layers])
    groups = [Group(each.kind, each.window) for each in layers for _ in range(-(-each.layers // size))]
    return Pool(block, size * page, tuple(groups), in_flight_tokens)


def _share(layers: KvLayers, tensor: int) -> float:
    """Bytes of a token and layer on one GPU: whole heads, at least one."""
    return layers.bytes_per_token / layers.heads * -(-layers.heads // tensor)


def _find_group_size(counts: Sequence[int]) -> int:
    """Layers of a group: those of the rarest kind, or of the most frequent if that is less than half more."""
    return max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
