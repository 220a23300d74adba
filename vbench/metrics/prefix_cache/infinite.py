"""Which prompt tokens an infinite prefix cache would serve: those of blocks that an earlier request had. Pure."""

from __future__ import annotations

import numpy as np

from vbench.metrics.prefix_cache.blocks import Content
from vbench.metrics.prefix_cache.events import Timeline
from vbench.schema.record import Ints


def infinite_hits(content: Content, times: Timeline, caches: Ints | None = None) -> Ints:
    """Shape (n,): tokens of each prompt that an infinite cache has as the request is admitted.

    A prompt's blocks can be hit as soon as it is admitted, as in vLLM, those of its reply once the reply has ended.
    `caches` (n,) says which cache each request uses; None: one for all.
    """
    sent = np.zeros(len(content), bool)
    sent[times.order] = True
    counts = np.diff(content.offsets)
    owner = np.repeat(np.arange(len(content)), counts)
    place = np.arange(len(owner)) - np.repeat(content.offsets[:-1], counts)
    kept = sent[owner] & (place < (content.computed_tokens // content.block_size)[owner])

    lookup, end = _instants(times)
    of_prompt = place < (content.prompt_tokens // content.block_size)[owner]
    there_from = np.where(of_prompt, lookup[owner], end[owner])
    keys = content.ids if caches is None else content.ids ^ (caches[owner].astype(np.uint64) << np.uint64(48))
    _, key = np.unique(keys, return_inverse=True)
    first = np.full(int(key.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, key[kept], there_from[kept])
    hit = sent[owner] & (place < content.most_hits[owner]) & (first[key] < lookup[owner])
    found: Ints = np.bincount(owner[hit], minlength=len(content)) * content.block_size
    return found


def _instants(times: Timeline) -> tuple[Ints, Ints]:
    """The admissions and the ends, each (n,), as places in one order; at one time ends come first."""
    count = len(times)
    rank = np.full(count, count)
    rank[times.order] = np.arange(len(times.order))
    moments = np.concatenate([times.admitted, times.freed])
    kind = np.repeat([1, 0], count)
    order = np.lexsort((np.concatenate([rank, np.zeros(count, np.int64)]), kind, moments))
    place = np.empty(2 * count, np.int64)
    place[order] = np.arange(2 * count)
    return place[:count], place[count:]
