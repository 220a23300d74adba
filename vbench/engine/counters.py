"""vLLM's Prometheus counters, read from the text of /metrics. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from statistics import fmean

SAMPLE = re.compile(r"^(vllm:\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)

COUNTERS = {
    "prompt_tokens": "vllm:prompt_tokens_total",
    "generation_tokens": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
}
GAUGES = {
    "requests_running": "vllm:num_requests_running",
    "requests_waiting": "vllm:num_requests_waiting",
    "kv_cache_usage": "vllm:kv_cache_usage_perc",
}


MEANS = ("kv_cache_usage",)  # a share of each engine's own cache, which no other can use: a sum means nothing


def parse(text: str) -> dict[str, float]:
    """Counters and gauges by our short names, of all engines of a server; what it does not have is absent.

    Requests and tokens are summed; the use of the caches (0 to 1) is their mean.
    """
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for name, value in SAMPLE.findall(text):
        samples[name].append(float(value))
    found = {short: samples[name] for short, name in (COUNTERS | GAUGES).items() if name in samples}
    return {short: fmean(values) if short in MEANS else sum(values) for short, values in found.items()}


def change(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What each counter grew by, under `server_<name>`; gauges are left out."""
    return {f"server_{name}": after[name] - before[name] for name in COUNTERS if name in before and name in after}


def busy(before: dict[str, float]) -> dict[str, float]:
    """`server_requests_before`: what ran or waited on the server when nothing of ours did; nothing without gauges."""
    known = [before[key] for key in ("requests_running", "requests_waiting") if key in before]
    return {"server_requests_before": sum(known)} if known else {}
