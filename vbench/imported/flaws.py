"""Flaws that the numbers of vLLM's benchmark hide, each under a fixed code: flagged, not corrected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vbench.imported import samples
from vbench.metrics.definitions import is_success
from vbench.schema.record import Reason, Requests

MERGED = 1.05  # tokens a chunk; beyond it the gaps between chunks are not those between tokens
UNLIKE = 1.5  # mean ITL / mean TPOT: replies of unlike lengths alone do not bring it so far
BROKEN = 1.25  # chunks a token: counting the tokens of a whole reply's text again may find some fewer than were sent
STRETCHED, SLACK_S = 1.05, 0.1  # of the duration, beyond what the requests took
FIRST_GAPS = 10  # mean gaps before the first request; a Poisson process waits longer once in 20,000 times
SHAPES = ("mean", "median", "std", "p99")
LATENCIES = ("ttft", "tpot", "itl", "e2el")
OF_THE_ROLE = {"ttft", "tpot", "itl", "chunk_gap"}  # what a first chunk without a token changes


def invalid(result: Mapping[str, Any]) -> list[Reason]:
    """Why the result is not to be trusted, by the rules for our own runs: failed requests, or no reply at all."""
    completed = result["completed"]
    if failed := find_failed(result):
        return [failed]
    if not result["output_throughput"] or result.get("total_output_tokens") == 0:
        return [Reason("no_tokens", f"{completed} requests were completed, but no token was returned")]
    if not float(result["duration"]) > 0:
        return [Reason("no_duration", f"the duration is {result['duration']} s")]
    return [reason for reason in (_broken_replies(result), _stretched(result)) if reason]


def find_failed(result: Mapping[str, Any]) -> Reason | None:
    """Failed requests, as far as the file tells: one that lacks other numbers may still tell these."""
    asked, completed, failed = (result.get(key) for key in ("num_prompts", "completed", "failed"))
    if failed is None and result.get("errors"):
        failed = sum(bool(error) for error in result["errors"])
    if completed is None:
        return Reason("failed_requests", f"{failed} requests failed") if failed else None
    if failed:
        return Reason("failed_requests", f"{failed} of {completed + failed} requests failed")
    if failed is None and asked and completed < asked:
        sentence = f"only {completed} of {asked} prompts were completed, and the file does not say why"
        return Reason("failed_requests", sentence)
    return None if completed else Reason("failed_requests", "no request was completed")


def warnings(result: Mapping[str, Any], requests: Requests | None) -> list[Reason]:
    """What to know about a result that is otherwise good."""
    found = [
        _empty_replies(result, requests), _role_chunks(result, requests), _chunk_gaps(result), _no_samples(result),
        _left_out(result), _other_count(result), _queued_probes(result), _no_arrays(requests),
    ]  # fmt: skip
    return [reason for reason in found if reason]


def find_unsampled(result: Mapping[str, Any]) -> list[str]:
    """The latencies whose statistics are all 0.0, which vLLM writes if it has no sample."""
    values = {name: [result.get(f"{shape}_{name}_ms") for shape in SHAPES] for name in LATENCIES}
    given = {name: [value for value in found if value is not None] for name, found in values.items()}
    return [name for name, found in given.items() if found and not any(found)]


def _empty_replies(result: Mapping[str, Any], requests: Requests | None) -> Reason | None:
    if requests is not None:
        empty = int((is_success(requests) & (np.diff(requests.offsets) == 0)).sum())
        if not empty:
            return None
        sentence = f"{empty} of {len(requests)} replies brought no token; the file counts each as a TTFT of 0.0"
        return Reason("zero_ttft", sentence)
    if result.get("mean_ttft_ms") and result.get("median_ttft_ms") == 0:
        return Reason("zero_ttft", "at least half of the replies brought no token: the file's median TTFT is 0.0")
    return None


def drop_other_definitions(
    numbers: Mapping[str, float], result: Mapping[str, Any], requests: Requests | None
) -> dict[str, float]:
    """The file's numbers without those that vbench defines otherwise and can take from the requests.

    Gaps between chunks of several tokens are `…_chunk_gap_ms`, not `…_itl_ms`. With the requests at hand, the numbers
    that count a chunk of the role, or empty replies as a TTFT of 0, are left out too; without them, those that count a
    chunk of the role stand under `vllm_…`: how long before the first token it came cannot be told.
    """
    role = _role_chunks(result, requests) is not None
    replaced: set[str] = set()
    if requests is not None and _empty_replies(result, requests):
        replaced.add("ttft")
    if requests is not None and role:
        replaced |= OF_THE_ROLE
    kept = {key: value for key, value in numbers.items() if not _is_of(key, replaced)}
    if _chunk_gaps(result):
        kept = {key.replace("_itl_ms", "_chunk_gap_ms"): value for key, value in kept.items()}
    if requests is None and role:
        kept = {f"vllm_{key}" if _is_of(key, OF_THE_ROLE) else key: value for key, value in kept.items()}
    return kept


def _is_of(key: str, families: set[str]) -> bool:
    return any(f"_{family}_ms" in key for family in families)


def count_sent(result: Mapping[str, Any]) -> int | None:
    """How many requests the tool sent, if the file tells: `--metadata num_prompts=…` replaces the file's own number."""
    completed, failed = result.get("completed"), result.get("failed")
    return completed + failed if isinstance(completed, int) and isinstance(failed, int) else None


def _broken_replies(result: Mapping[str, Any]) -> Reason | None:
    """An error in mid-stream: the tool counts the reply as completed, with one token for want of the server's count."""
    counts = samples.count_chunks(result)
    broken = sum(chunks > tokens + (tokens > 1) and chunks > BROKEN * tokens for chunks, tokens in counts)
    if not broken:
        return None
    sentence = f"{broken} of {len(counts)} replies brought more chunks than tokens: the server broke them off"
    return Reason("broken_replies", sentence)


def _stretched(result: Mapping[str, Any]) -> Reason | None:
    """A duration beyond what the requests took: the tool's probes run on after the last reply."""
    took = _requests_took(result)
    duration = float(result["duration"])
    if took is None or duration <= STRETCHED * took + SLACK_S:
        return None
    why = "its probes (--probe-request-rate) count too" if "probe_completed" in result else "it waited for something"
    sentence = f"the duration is {duration:.2f} s, but the requests took {took:.2f} s: {why}, so its rates are too low"
    return Reason("stretched_duration", sentence)


def _requests_took(result: Mapping[str, Any]) -> float | None:
    """Seconds from the clock's start to the last reply; None if the file does not tell.

    The clock starts one gap before the first request. Without start times only what was sent at once can be placed,
    and only in a file with probes: a replayed trace has request_rate inf too.
    """
    latencies, starts = np.array(result.get("latencies") or []), np.array(result.get("start_times") or [])
    rate = float(result.get("request_rate") or 0)
    if not len(latencies) or rate <= 0 or result.get("ramp_up_strategy"):
        return None
    offered = len(latencies) / rate  # seconds that the arrivals take; 0 where all are sent at once
    if len(starts) == len(latencies):
        first_gap = max(offered - (starts.max() - starts.min()), FIRST_GAPS / rate)
        return float((starts + latencies).max() - starts.min() + first_gap)
    if "probe_completed" not in result:
        return None
    queued = np.array(result.get("queue_times") or np.zeros(len(latencies)))
    return float((queued + latencies).max() + offered)


def _role_chunks(result: Mapping[str, Any], requests: Requests | None) -> Reason | None:
    seen = samples.has_role_chunks(result)
    if not seen and (result.get("itls") or not samples.is_chat(result)):
        return None
    sentence = "a chat endpoint: vLLM's client before 0.33 takes the chunk of the role for the first token"
    if requests is None:
        sentence += (
            ". Which version wrote the file, and how long before the first token that chunk came, cannot be told "
            "without each request's times: TTFT, TPOT and ITL stand under vllm_…; --save-detailed lets them be computed"
        )
    return Reason("role_chunk", sentence)


def _chunk_gaps(result: Mapping[str, Any]) -> Reason | None:
    """Tokens merged into chunks: by the arrays, else by statistics that cannot be so with one token a chunk."""
    counts = samples.count_chunks(result)
    if counts:
        share = sum(tokens for _, tokens in counts) / sum(chunks for chunks, _ in counts)
        if share <= MERGED:
            return None
        sentence = f"a chunk brought {share:.2f} tokens on average: the file's ITL is for chunks, not tokens"
        return Reason("chunk_itl", sentence)
    itl, tpot = result.get("mean_itl_ms"), result.get("mean_tpot_ms")
    if itl and tpot and itl / tpot >= UNLIKE:
        sentence = f"mean ITL is {itl / tpot:.2f} times mean TPOT: its ITL is for chunks of several tokens"
        return Reason("chunk_itl", sentence)
    if not (most := result.get("max_output_tokens_per_s")):
        return None
    mean, seconds = result["output_throughput"], float(result["duration"])
    if most * MERGED * math.ceil(seconds) < mean * seconds:  # it counts by whole seconds
        sentence = f"at most {most:.0f} chunks but {mean:.0f} tokens a second: its ITL is for chunks of several tokens"
        return Reason("chunk_itl", sentence)
    return None


def _no_samples(result: Mapping[str, Any]) -> Reason | None:
    names = ", ".join(name.upper() for name in find_unsampled(result))
    return Reason("no_samples", f"{names}: left out, the file writes 0.0 for lack of a sample") if names else None


def _left_out(result: Mapping[str, Any]) -> Reason | None:
    """--skip-tokenizer-init: no statistics of TTFT, TPOT and ITL, even where they were asked for."""
    if any(f"{shape}_{name}_ms" in result for shape in SHAPES for name in ("ttft", "tpot", "itl")):
        return None
    return Reason("no_latencies", "the file has no TTFT, TPOT and ITL, as with --skip-tokenizer-init")


def _other_count(result: Mapping[str, Any]) -> Reason | None:
    asked, counted = result.get("num_prompts"), count_sent(result)
    if asked is None or counted is None or float(asked) == counted:
        return None
    sentence = f"num_prompts is {asked} by the file (--metadata may set it), but {counted} were sent; {counted} is used"
    return Reason("prompts_disagree", sentence)


def _queued_probes(result: Mapping[str, Any]) -> Reason | None:
    """Before 0.33 the pool of connections that the probes use is as large as the load's max_concurrency."""
    if "probe_completed" not in result or not result.get("max_concurrency"):
        return None
    sentence = (
        f"vLLM's client before 0.33 sends its probes through the {result['max_concurrency']} connections of the load: "
        "their latencies (probe_…) may be a wait in the client"
    )
    return Reason("queued_probes", sentence)


def _no_arrays(requests: Requests | None) -> Reason | None:
    if requests is not None:
        return None
    return Reason("summary_only", "no samples of single requests: empty replies and rare merged tokens cannot be seen")
