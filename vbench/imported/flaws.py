"""Flaws that the numbers of vLLM's benchmark hide, each under a fixed code: flagged, not corrected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vbench.metrics.definitions import is_success
from vbench.schema.record import Reason, Requests

MERGED = 1.05  # tokens a chunk; beyond it the gaps between chunks are not those between tokens
SHAPES = ("mean", "median", "std", "p99")
LATENCIES = ("ttft", "tpot", "itl", "e2el")


def invalid(result: Mapping[str, Any]) -> list[Reason]:
    """Why the result is not to be trusted, by the rules for our own runs: failed requests, or no reply at all."""
    asked, completed = result.get("num_prompts"), result["completed"]
    failed = result.get("failed")
    if failed is None and result.get("errors"):
        failed = sum(bool(error) for error in result["errors"])
    if failed:
        return [Reason("failed_requests", f"{failed} of {completed + failed} requests failed")]
    if failed is None and asked and completed < asked:
        sentence = f"only {completed} of {asked} prompts were completed, and the file does not say why"
        return [Reason("failed_requests", sentence)]
    if not completed:
        return [Reason("failed_requests", "no request was completed")]
    if not result["output_throughput"] or result.get("total_output_tokens") == 0:
        return [Reason("no_tokens", f"{completed} requests were completed, but no token was returned")]
    if not float(result["duration"]) > 0:
        return [Reason("no_duration", f"the duration is {result['duration']} s")]
    return []


def warnings(result: Mapping[str, Any], requests: Requests | None) -> list[Reason]:
    """What to know about a result that is otherwise good."""
    found = [_empty_replies(result, requests), _chunk_gaps(result), _no_samples(result), _no_arrays(requests)]
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


def _chunk_gaps(result: Mapping[str, Any]) -> Reason | None:
    gaps, lengths = result.get("itls"), result.get("output_lens")
    if not gaps or not lengths:
        return None
    chunks = sum(len(each) + 1 for each, tokens in zip(gaps, lengths, strict=False) if tokens)
    share = sum(lengths) / chunks if chunks else 0.0
    if share <= MERGED:
        return None
    sentence = f"a chunk brought {share:.2f} tokens on average: the file's ITL is for chunks, not tokens"
    return Reason("chunk_itl", sentence)


def _no_samples(result: Mapping[str, Any]) -> Reason | None:
    names = ", ".join(name.upper() for name in find_unsampled(result))
    return Reason("no_samples", f"{names}: left out, the file writes 0.0 for lack of a sample") if names else None


def _no_arrays(requests: Requests | None) -> Reason | None:
    if requests is not None:
        return None
    return Reason("summary_only", "no samples of single requests: empty replies and merged tokens cannot be seen")
