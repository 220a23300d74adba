"""Which prompt tokens vLLM's prefix cache serves, by a simulation of its blocks. Pure.

The rules are those of vLLM 0.32 and 0.33 (`vllm/v1/core/block_pool.py`, `single_type_kv_cache_manager.py`):

- A lookup takes the longest run of cached full blocks from the prompt's start, without its last token. Blocks in use
  are shared; a block that was hit leaves the free queue.
- A request holds blocks for its prompt as it is admitted, and one more for each block of tokens that it decodes. It is
  admitted only if the whole prompt fits, and until then those behind it wait.
- New blocks come from the head of the free queue: those that hold nothing cached first, then the least recently freed.
  A reused block is evicted. Blocks are cached as soon as they are scheduled; equal blocks are not merged.
- A request that ends frees its blocks from its last to its first, so the ends of prompts are evicted before the
  beginnings. If no block is left for decoding, the request admitted last is preempted; its second lookup is no query.

Not modelled: sliding windows, Mamba and other hybrid caches (groups of layers with rules of their own), speculative
decoding, connectors that load blocks from elsewhere, and prompts that are admitted in parts: their blocks are taken at
once. One block is vLLM's own (the null block).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vbench.metrics.prefix_cache.blocks import Content
from vbench.metrics.prefix_cache.events import Timeline
from vbench.schema.record import Ints

FREE, GROW, ADMIT = range(3)  # at one instant the engine handles them in this order


def simulate(content: Content, times: Timeline, gpu_blocks: Sequence[int], caches: Ints | None = None) -> Ints:
    """Shape (n,): tokens of each prompt that a cache has as the request is admitted.

    `caches` (n,) says which cache each request uses; None: the first. `gpu_blocks` are their sizes, in blocks.
    """
    hits = np.zeros(len(content), np.int64)
    for cache, blocks in enumerate(gpu_blocks):
        mine = times.order if caches is None else times.order[caches[times.order] == cache]
        engine = _Engine(content, times, max(blocks - 1, 0))
        for at, kind, request in events(content, times, mine):
            engine.handle(at, kind, request)
        for request, found in engine.hits.items():
            hits[request] = found * content.block_size
    return hits


def events(content: Content, times: Timeline, requests: Ints) -> list[tuple[float, int, int]]:
    """What happens to these requests: time, kind, request; in order."""
    size = content.block_size
    held = -(-content.prompt_tokens[requests] // size)
    grown = np.maximum(-(-content.computed_tokens[requests] // size) - held, 0)
    owner = np.repeat(requests, grown)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(grown) - grown, grown)  # which of its further blocks
    # Block number b is needed as the token behind the last slot of block b - 1 is computed.
    token = (np.repeat(held, grown) + step) * size - content.prompt_tokens[owner] + 1
    share = token / np.maximum(content.output_tokens[owner], 1)
    grow_at = times.first[owner] + share * (times.freed[owner] - times.first[owner])

    moments = np.concatenate([times.freed[requests], grow_at, times.admitted[requests]])
    kinds = np.repeat([FREE, GROW, ADMIT], [len(requests), len(owner), len(requests)])
    whose = np.concatenate([requests, owner, requests])
    rank = np.concatenate([np.zeros(len(requests) + len(owner), np.int64), np.arange(len(requests))])
    order = np.lexsort((rank, kinds, moments))
    return list(zip(moments[order].tolist(), kinds[order].tolist(), whose[order].tolist(), strict=True))


@dataclass
class _Request:
    """A request that was admitted and has not ended. `blocks` is empty while it is preempted."""

    ids: list[int]  # of the blocks that can be cached, in order
    blocks: list[int]
    cached: int  # how many of its blocks are cached


@dataclass
class _Engine:
    """One engine's blocks, which requests hold them, and who waits."""

    content: Content
    times: Timeline
    blocks: int
    hits: dict[int, int] = field(default_factory=dict)  # blocks, by request

    def __post_init__(self) -> None:
        self.unused = list(range(self.blocks - 1, -1, -1))  # free blocks that hold nothing cached; the last goes first
        self.evictable: OrderedDict[int, None] = OrderedDict()  # free cached blocks, the least recently freed first
        self.uses = [0] * self.blocks  # requests that hold each block
        self.id_of: list[int | None] = [None] * self.blocks
        self.cache: dict[int, int] = {}  # block by id
        self.copies: dict[int, list[int]] = {}  # further blocks of the same id
        self.running: dict[int, _Request] = {}  # in the order of admission
        self.waiting: deque[int] = deque()
        content = self.content
        self.offsets: list[int] = content.offsets.tolist()
        self.prompt_tokens: list[int] = content.prompt_tokens.tolist()
        self.computed_tokens: list[int] = content.computed_tokens.tolist()

    def handle(self, at: float, kind: int, request: int) -> None:
        if kind == ADMIT:
            self.waiting.append(request)
        elif kind == GROW:
            self._grow(request)
            return
        else:
            self._end(at, request)
        self._admit_waiting(at)

    def _admit_waiting(self, at: float) -> None:
        while self.waiting and self._admit(self.waiting[0], at):
            self.waiting.popleft()

    def _admit(self, request: int, at: float, at_any_cost: bool = False) -> bool:
        """Whether there was room; `at_any_cost` takes what there is."""
        size, start = self.content.block_size, self.offsets[request]
        tokens = self.prompt_tokens[request] if request not in self.hits else self._tokens_at(request, at)
        known = min(self.computed_tokens[request] // size, self.offsets[request + 1] - start)
        ids: list[int] = self.content.ids[start : start + known].tolist()
        found, cache, uses = [], self.cache, self.uses
        for each in ids[: (tokens - 1) // size]:
            block = cache.get(each)
            if block is None:
                break
            found.append(block)
        needed = -(-tokens // size) - len(found)
        free = len(self.unused) + len(self.evictable)
        if needed + sum(not uses[block] for block in found) > free and not at_any_cost:
            return False
        for block in found:
            if not uses[block]:
                del self.evictable[block]
            uses[block] += 1
        needed = min(needed, len(self.unused) + len(self.evictable))
        self.hits.setdefault(request, len(found))
        mine = self.running[request] = _Request(ids, found + self._take(needed), len(found))
        self._cache_full(mine, tokens)
        return True

    def _grow(self, request: int) -> None:
        mine = self.running.get(request)
        if mine is None:  # it is preempted, or still waits: admission will take its tokens into account
            return
        if not self.unused and not self.evictable:
            victim = next(reversed(self.running))
            self._release(self.running.pop(victim))
            self.waiting.appendleft(victim)
            if victim == request:
                return
        mine.blocks += self._take(1)
        self._cache_full(mine, (len(mine.blocks) - 1) * self.content.block_size)

    def _end(self, at: float, request: int) -> None:
        if request not in self.running:  # the estimated times left no room for it, though the engine had some
            if request not in self.waiting:
                return
            self.waiting.remove(request)
            self._admit(request, at, at_any_cost=True)
        mine = self.running.pop(request)
        self._cache_full(mine, self.computed_tokens[request])
        self._release(mine)

    def _take(self, count: int) -> list[int]:
        """Takes so many blocks from the head of the free queue, evicting what they hold."""
        reused = min(count, len(self.unused))
        taken = [self.unused.pop() for _ in range(reused)]
        for _ in range(count - reused):
            block, _ = self.evictable.popitem(last=False)
            self._evict(block)
            taken.append(block)
        for block in taken:
            self.uses[block] = 1
        return taken

    def _evict(self, block: int) -> None:
        each = self.id_of[block]
        self.id_of[block] = None
        assert each is not None
        copies = self.copies.get(each)
        if self.cache[each] != block:
            assert copies is not None
            copies.remove(block)
        elif copies:
            self.cache[each] = copies.pop(0)
        else:
            del self.cache[each]
        if copies is not None and not copies:
            del self.copies[each]

    def _cache_full(self, mine: _Request, tokens: int) -> None:
        """Caches the request's blocks that `tokens` fill. Those of a reply without ids get one that no prompt has."""
        full = min(tokens // self.content.block_size, len(mine.blocks))
        for place in range(mine.cached, full):
            block = mine.blocks[place]
            each = mine.ids[place] if place < len(mine.ids) else -1 - block
            self.id_of[block] = each
            if each in self.cache:
                self.copies.setdefault(each, []).append(block)
            else:
                self.cache[each] = block
        mine.cached = max(full, mine.cached)

    def _release(self, mine: _Request) -> None:
        """Frees the request's blocks from its last to its first."""
        uses, nothing_cached = self.uses, []
        for block in reversed(mine.blocks):
            uses[block] -= 1
            if not uses[block]:
                if self.id_of[block] is None:
                    nothing_cached.append(block)
                else:
                    self.evictable[block] = None
        self.unused += reversed(nothing_cached)

    def _tokens_at(self, request: int, at: float) -> int:
        """Tokens of a preempted request by then."""
        first, freed = float(self.times.first[request]), float(self.times.freed[request])
        share = (at - first) / (freed - first) if freed > first else 0.0
        decoded = self.computed_tokens[request] - self.prompt_tokens[request]
        return self.prompt_tokens[request] + int(min(max(share, 0.0), 1.0) * decoded)
