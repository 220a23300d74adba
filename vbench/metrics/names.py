"""What people call a metric: the one mapping from keys to words, for figures and pages. Pure.

docs/metrics.md defines each key; records, MLflow and CSV files keep the keys.
"""

from __future__ import annotations

import re

LATENCIES = {
    "ttft": "time to first token",
    "tpot": "time per token",
    "itl": "inter-token latency",
    "e2el": "end-to-end latency",
    "chunk_gap": "gap between chunks",
    "queue": "client queue time",
    "reply_gap": "gap within a reply",
}
SHAPES = {"mean": "mean", "median": "median", "std": "standard deviation of"}
NAMES = {
    "output_throughput": "output throughput (tokens/s)",
    "output_throughput_per_gpu": "throughput a GPU (tokens/s)",
    "total_token_throughput": "prompt and output throughput (tokens/s)",
    "steady_output_throughput": "steady output throughput (tokens/s)",
    "request_throughput": "requests served (1/s)",
    "sessions_at_once": "sessions at once",
    "prefix_hits": "prompt tokens cached (share)",
    "users_per_gpu": "sessions a GPU",
    "users_per_dollar": "sessions a $ an hour",
    "request_goodput": "goodput (requests/s)",
    "dollars_per_million_tokens": "cost ($ a million tokens out)",
    "output_tokens_per_joule": "energy (output tokens a joule)",
    "duration": "duration (s)",
    "num_prompts": "requests of the load",
    "completed": "requests completed",
    "failed": "requests failed",
    "total_input_tokens": "prompt tokens",
    "total_output_tokens": "output tokens",
    "usage_input_tokens": "prompt tokens by the server",
    "peak_concurrent_requests": "most requests in flight",
    "gpu_mean_utilization": "GPUs busy, NVML (%)",
    "gpu_mean_power_w": "GPU power (W)",
    "server_max_kv_cache_usage": "KV cache used, at most (share)",
    "server_mean_requests_running": "requests running, mean",
    "server_mean_requests_waiting": "requests waiting, mean",
    "server_starved_share": "server waiting for a CPU that others had (share of the run)",
    "server_frontend_limited": "front end at its limit (share of the run)",
}
LATENCY = re.compile(r"(mean|median|std|p[\d.]+|longest)_(\w+)_ms")


def metric_name(key: str) -> str:
    """`p99 time to first token (ms)` for p99_ttft_ms; a key without a name of its own is spelled out."""
    if key in NAMES:
        return NAMES[key]
    found = LATENCY.fullmatch(key)
    if found and found[2] in LATENCIES:
        return f"{SHAPES.get(found[1], found[1])} {LATENCIES[found[2]]} (ms)"
    return key.replace("_", " ")
