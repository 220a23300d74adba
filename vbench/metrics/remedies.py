"""What to do about each reason for which `metrics.validity` calls a run INVALID."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MORE_CPU = (
    "the client had too little CPU: free the host, or set workload.client_processes to at most half of its cores (more "
    "does not help), then rerun=invalid"
)
REMEDY: Mapping[str, str] = {  # by code of the reason
    "compiled_under_load": "run the same command with rerun=invalid: the kernels are compiled now",
    "log_cut": "leave server.log in place while its session runs, then rerun=invalid",
    "ended_early": "nothing: the server does not bear this rate; measure a lower workload.request_rate",
    "failed_requests": "look at server.log beside the record, mend what the error names, then rerun=invalid",
    "nothing_measured": "raise workload.num_prompts, or lower workload.warmup_s",
    "no_tokens": "check by hand that the model answers a prompt of this length, then rerun=invalid",
    "late_client": MORE_CPU,
    "slow_arrivals": MORE_CPU,
    "lagging_client": MORE_CPU,
    "starved_host": "stop what else runs on the server's cores, or raise its CPU quota, then rerun=invalid",
    "buffered_replies": "switch off buffering on the way (nginx: proxy_buffering off) or free CPU, then rerun=invalid",
    "short_replies": "the server does not heed ignore_eos: set workload.ignore_eos=false",
    "long_replies": "see that the server heeds max_tokens (max_completion_tokens of a chat), then rerun=invalid",
    "counters_fell": "name one server that stays up, not a router before several, then rerun=invalid",
    "prefix_cache_hits": "switch the server's prefix cache off or set another workload.seed",
    "cache_mismatch": "see that nobody else uses the server and that no router stands before it, then rerun=invalid",
    "token_mismatch": "see that nobody else uses the server, then rerun=invalid",
    "other_requests": "wait until nobody else uses the server, then rerun=invalid",
    "untrusted_probes": "free the host, then rerun=invalid",
    "stretched_duration": "nothing: the file's duration is not that of its requests; measure again with its tool",
    "broken_replies": "nothing: the file counts failed replies as completed; measure again with its tool",
    "no_duration": "nothing: the file tells no duration; measure again with its tool",
}


def find_remedy(code: str, environment: Mapping[str, Any], metrics: Mapping[str, float]) -> str | None:
    """What to do about a reason of one run; how many load processes help follows from its cores, where they are known.

    Half of the cores is the most, because the server needs the others.
    """
    cores = {core for key in ("server_cores", "client_cores") for core in environment.get(key) or ()}
    used, most = int(metrics.get("client_processes", 0)), len(cores) // 2
    if REMEDY.get(code) != MORE_CPU or not cores or not used:
        return REMEDY.get(code)
    told = f"the client had too little CPU, with workload.client_processes={used} on a host of {len(cores)} cores"
    if used >= most:
        return f"{told}: more processes do not help; free the host or give it more cores, then rerun=invalid"
    return f"{told}: free the host or set workload.client_processes={min(2 * used, most)}, then rerun=invalid"
