"""How many prompt tokens a run's prefix caches served, against what its load implies. Pure.

implied    an infinite cache that all replicas share
routed     an infinite cache of each replica, given which of them got each request
simulated  the engine's own blocks, by vLLM's rules (`metrics.prefix_cache.lru`)
measured   the servers' counters

vLLM 0.26 looks a waiting prompt up each time it tries to admit it, and counts all its tokens as queries each time (0.32
counts them once, as it is admitted). So where the counters tell of more queries than prompt tokens were sent, the hits
are told as a share of what was sent, and `prefix_queries_repeated` says how many more queries there were. The hits of a
repeated query count again, so that share is an upper bound; an infinite cache is another, and what is computed follows
from the simulation. Both counters of prompt tokens are higher where others use the server, whose hits cannot be told
from ours: then it is hits / queries.

All are shares of the prompt tokens of all requests that were sent. Only loads that share parts have them; any other
load implies no hit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vbench.metrics.prefix_cache import content_of, infinite_hits, shares_parts, simulate, timeline
from vbench.schema.record import Floats, Ints, Requests

Bools = npt.NDArray[np.bool_]

OTHERS_SHARE = 0.01  # prompt tokens beyond those sent, from which on others use the server
DEFAULT_BLOCK = 16  # tokens, vLLM's on GPUs: where a server does not tell


@dataclass(frozen=True)
class CacheFacts:
    """What the servers tell of their prefix caches."""

    block_size: int = DEFAULT_BLOCK
    gpu_blocks: tuple[int, ...] = ()  # of each replica; () if not told, or if vLLM's rules for them are not modelled

    @classmethod
    def of(cls, server: Mapping[str, Any]) -> CacheFacts:
        """Those of a record's `server`."""
        return cls(server.get("cache_block_size", DEFAULT_BLOCK), tuple(server.get("cache_blocks", ())))


@dataclass(frozen=True)
class Hits:
    """Prompt tokens of n requests that a prefix cache has, each (n,)."""

    implied: Ints
    routed: Ints
    simulated: Ints | None  # None if the caches' sizes or rules are not known

    @property
    def nearest(self) -> Ints:
        """Those of the caches that resemble the engine's the most."""
        return self.routed if self.simulated is None else self.simulated


def find_hits(requests: Requests, facts: CacheFacts) -> Hits | None:
    """The hits of a load with shared parts; None for others."""
    if not shares_parts(requests):
        return None
    content, times = content_of(requests, facts.block_size), timeline(requests)
    replica, sizes = requests.replica, facts.gpu_blocks
    known = len(sizes) > int(replica.max(initial=0))
    return Hits(
        implied=infinite_hits(content, times),
        routed=infinite_hits(content, times, replica),
        simulated=simulate(content, times, sizes, replica) if known else None,
    )


def hit_metrics(
    requests: Requests, hits: Hits | None, counted: dict[str, float], by_engine: Sequence[float] = ()
) -> dict[str, float]:
    """`prefix_hits_…`: each share, and what was lost of it. `counted` are the growths of the servers' counters,
    `by_engine` the measured shares of each engine.

    Also the prompt tokens that the engine computed, by the counters or else by the simulation, and their rate.
    """
    tokens = int(requests.input_tokens[~np.isnan(requests.sent)].sum())
    if hits is None or not tokens:
        return {}
    implied, routed = (int(each.sum()) / tokens for each in (hits.implied, hits.routed))
    found = {"prefix_hits_implied": implied, "prefix_hits_routed": routed}
    if hits.simulated is not None:
        found["prefix_hits_simulated"] = int(hits.simulated.sum()) / tokens
    queries = counted.get("server_prefix_cache_queries", 0.0)
    repeated = tokens < queries and counted.get("server_prompt_tokens", queries) <= tokens * (1 + OTHERS_SHARE)
    if repeated:
        found["prefix_queries_repeated"] = queries / tokens - 1
        found["prefix_hits_measured"] = min(counted.get("server_prefix_cache_hits", 0.0) / tokens, routed)
    elif queries:
        found["prefix_hits_measured"] = counted.get("server_prefix_cache_hits", 0.0) / queries
    if len(by_engine) > 1:
        found |= {"prefix_hits_least_engine": min(by_engine), "prefix_hits_most_engine": max(by_engine)}
    simulated, measured = found.get("prefix_hits_simulated"), found.get("prefix_hits_measured")
    share = simulated if measured is None or (repeated and simulated is not None) else measured
    if share is None:
        return found
    if elsewhere := counted.get("server_external_cache_hits", 0.0):
        found["prefix_hits_external"] = elsewhere / max(tokens, queries)
        share += found["prefix_hits_external"]
    computed = tokens * (1 - share)
    found |= {
        "prefix_hits_lost_to_routing": implied - routed,
        "prefix_hits_lost_to_eviction": routed - share,
        "computed_input_tokens": computed,
        "cached_input_tokens": tokens - computed,
    }
    duration = float(np.nanmax(requests.finished) - np.nanmin(requests.sent))
    if duration > 0:
        found |= {"input_throughput": tokens / duration, "computed_input_throughput": computed / duration}
    return found


def count_cached(hits: Hits | None, counted: Bools, found: Mapping[str, float]) -> Floats | None:
    """Prompt tokens of each request that counts, (n,) of which `counted` is true, which a prefix cache had.

    `found` are the metrics of `hit_metrics`: what was cached in the whole run is dealt out as the nearest cache has it.
    """
    if hits is None:
        return None
    nearest = hits.nearest.astype(np.float64)
    whole = float(nearest.sum())
    scale = found.get("cached_input_tokens", whole) / whole if whole else 0.0
    share: Floats = nearest[counted] * scale
    return share
