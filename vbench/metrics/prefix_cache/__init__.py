"""How many prompt tokens of a load a prefix cache can serve: with infinite memory, and with the engine's own blocks.

Pure. It knows token ids, times and the size of the cache; it knows neither the server nor its counters, which
`metrics.cached` compares with it.
"""

from vbench.metrics.prefix_cache.blocks import Content, chain_blocks
from vbench.metrics.prefix_cache.content import content_of, shares_parts
from vbench.metrics.prefix_cache.events import Timeline, timeline
from vbench.metrics.prefix_cache.infinite import infinite_hits
from vbench.metrics.prefix_cache.lru import simulate

__all__ = [
    "Content",
    "Timeline",
    "chain_blocks",
    "content_of",
    "infinite_hits",
    "shares_parts",
    "simulate",
    "timeline",
]
