"""Whether the prefix cache served what the load implies: the rules of `metrics.validity` for hits. Pure.

A load without shared parts implies no hit. Any other is held against an infinite cache, which no cache can beat, and
against the simulation of the engine's own blocks where these are known.
"""

from __future__ import annotations

from vbench.schema.record import Reason

HIT_SHARE = 0.01  # of prompt tokens: hits beyond those of an infinite cache
CACHE_SHARE = 0.03  # of prompt tokens: between the counters and the simulation
LOST_SHARE = 0.01  # of prompt tokens: hits that were lost, from which on a warning tells of them


def unimplied_hits(found: dict[str, float]) -> Reason | None:
    """More hits than the load can have by itself, in the engines' own caches and those behind a KV connector."""
    hits = found.get("server_prefix_cache_hits", 0.0) + found.get("server_external_cache_hits", 0.0)
    queries = max(found.get("server_prefix_cache_queries", 0.0), found.get("server_external_cache_queries", 0.0))
    implied = found.get("prefix_hits_implied", 0.0)
    if hits <= (implied + HIT_SHARE) * queries:
        return None
    sentence = f"{hits / max(queries, hits):.0%} of prompt tokens came from the prefix cache, "
    if not implied:
        return Reason("prefix_cache_hits", f"{sentence}unasked")
    cause = "it was warm from before, or others send the same prompts"
    return Reason("prefix_cache_hits", f"{sentence}and the load itself shares {implied:.0%}: {cause}")


def cache_mismatch(found: dict[str, float]) -> Reason | None:
    """Hits other than those of the engine's blocks by its own rules.

    Queries that the engine repeated may have counted their hits again: these are no sign of a cache that was warm.
    """
    measured, simulated = found.get("prefix_hits_measured"), found.get("prefix_hits_simulated")
    if measured is None or simulated is None:
        return None
    least = measured - found.get("prefix_queries_repeated", 0.0)
    if least - CACHE_SHARE <= simulated <= measured + CACHE_SHARE:
        return None
    sentence = (
        f"{measured:.1%} of prompt tokens came from the prefix cache, where its blocks should have had {simulated:.1%}"
    )
    if measured > simulated:
        cause = "it was warm from before, or holds more than the server says"
    else:
        cause = "requests of others evict its blocks, or requests are routed among several caches"
    return Reason("cache_mismatch", f"{sentence}: {cause}")


def evicted_prefixes(found: dict[str, float]) -> Reason | None:
    """Hits lost since blocks were evicted before the next prompt asked for them."""
    lost = found.get("prefix_hits_lost_to_eviction", 0.0)
    if lost <= LOST_SHARE:
        return None
    sentence = f"{lost:.1%} of prompt tokens were computed again because their blocks had been evicted"
    if "prefix_hits_simulated" not in found:  # the server does not tell the size of its cache
        sentence += ", or lay in another cache behind the server"
    return Reason("evicted_prefixes", f"{sentence}: the KV cache is too small for the load")


def scattered_prefixes(found: dict[str, float]) -> Reason | None:
    """Hits lost since another replica had the blocks."""
    lost = found.get("prefix_hits_lost_to_routing", 0.0)
    if lost <= LOST_SHARE:
        return None
    return Reason(
        "scattered_prefixes",
        f"{lost:.1%} of prompt tokens were computed again because another replica had their blocks: "
        "workload.routing=sticky keeps a session at one replica",
    )
