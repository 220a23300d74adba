"""The arrays of a detailed result as Requests, from which every number can be recomputed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vbench.metrics import quantiles
from vbench.schema.record import Floats, Ints, Requests

NEEDED = ("input_lens", "output_lens", "ttfts", "itls")
ARRAYS = (*NEEDED, "start_times", "latencies", "queue_times", "errors")
ROLE_GAP = 0.1  # between role and first token, of a usual gap
LONGEST_ERROR = 200


def requests(result: Mapping[str, Any]) -> Requests | None:
    """The requests of a result; None if arrays are missing or do not say when requests were sent.

    Old files have no `start_times`: their requests can be placed in time only if all were sent at once. A file states
    neither max_tokens (0 here) nor the first byte (NaN). Raises ValueError or TypeError if the arrays are not what
    vLLM writes.
    """
    if not all(result.get(key) for key in NEEDED) or len({len(result[key]) for key in NEEDED}) > 1:
        return None
    sent = _send_times(result)
    if sent is None:
        return None
    n = len(sent)
    for key in ARRAYS:
        if result.get(key) and len(result[key]) != n:
            raise ValueError(f"{key} has {len(result[key])} entries for {n} requests")
    ttft = np.array(result["ttfts"], dtype=np.float64)
    output = np.array(result["output_lens"], dtype=np.int64)
    gaps = [np.array(each, dtype=np.float64) for each in result["itls"]]
    if has_role_chunks(result):  # TTFT times the chunk that names the role: the first token comes one gap later
        ttft = ttft + np.array([gap[0] if len(gap) else 0.0 for gap in gaps])
        gaps = [gap[1:] for gap in gaps]
    # vLLM writes a TTFT of 0 for a reply that never brought a token.
    counts = np.array([1 + len(gap) if first > 0 or len(gap) else 0 for first, gap in zip(ttft, gaps, strict=True)])
    replies = [
        start + np.cumsum([first, *gap]) if count else np.empty(0)
        for start, first, gap, count in zip(sent, ttft, gaps, counts, strict=True)
    ]
    ends = np.array([reply[-1] if len(reply) else start for start, reply in zip(sent, replies, strict=True)])
    errors = [_line(error) for error in result.get("errors") or [""] * n]
    return Requests(
        scheduled=sent - np.array(result.get("queue_times") or np.zeros(n), dtype=np.float64),
        sent=sent,
        first_byte=np.full(n, np.nan),
        finished=sent + np.array(result["latencies"], dtype=np.float64) if result.get("latencies") else ends,
        input_tokens=np.array(result["input_lens"], dtype=np.int64),
        asked_tokens=np.zeros(n, dtype=np.int64),
        output_tokens=output,
        status=np.array([0 if error else 200 for error in errors]),
        replica=np.zeros(n, dtype=np.int64),
        finish_reason=np.full(n, "", dtype="U1"),
        error=np.array(errors, dtype=np.str_),
        offsets=np.cumsum([0, *counts]),
        chunk_times=np.concatenate(replies),
        chunk_tokens=np.concatenate(
            [_spread(total, count) for total, count in zip(output, counts, strict=True)], dtype=np.int64
        ),
    )


def has_send_times(result: Mapping[str, Any]) -> bool:
    """Whether the result states when each request was sent."""
    return bool(result.get("start_times"))


def compute_statistics(result: Mapping[str, Any]) -> dict[str, float]:
    """E2EL and queue time from the two arrays that vLLM also writes without --save-detailed; failed requests are 0."""
    latencies = np.array(result.get("latencies") or [], dtype=np.float64)
    queued = np.array(result.get("queue_times") or [], dtype=np.float64)
    ok = latencies > 0
    waits = queued[ok] if len(queued) == len(latencies) else queued[:0]
    of_e2el = quantiles.compute_statistics("e2el", latencies[ok], int(ok.sum()))
    return of_e2el | quantiles.compute_statistics("queue", waits, len(waits))


def has_role_chunks(result: Mapping[str, Any]) -> bool:
    """Whether each reply's first chunk brought no token, but its role, as vLLM's chat endpoint sends it.

    That is so if the tool spoke to a chat endpoint and half of the replies or more have one chunk more than tokens, or
    a first gap below a tenth of the median of their other gaps: the role comes with the first token.
    """
    replies = [(len(gaps), tokens, gaps) for gaps, tokens in _replies(result) if gaps] if is_chat(result) else []
    if not replies:
        return False
    extra = sum(
        count == tokens or (count > 1 and gaps[0] < ROLE_GAP * float(np.median(gaps[1:])))
        for count, tokens, gaps in replies
    )
    return 2 * extra >= len(replies)


def is_chat(result: Mapping[str, Any]) -> bool:
    """Whether the tool spoke to a chat endpoint, by the name of its backend."""
    return "chat" in str(result.get("backend") or result.get("endpoint_type") or "")


def count_chunks(result: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The chunks that brought tokens, and the tokens, of each reply that has any; empty without arrays."""
    role = has_role_chunks(result)
    return [(len(gaps) + (0 if role and gaps else 1), int(tokens)) for gaps, tokens in _replies(result) if tokens]


def _replies(result: Mapping[str, Any]) -> list[tuple[list[float], int]]:
    return list(zip(result.get("itls") or [], result.get("output_lens") or [], strict=False))


def _send_times(result: Mapping[str, Any]) -> Floats | None:
    n = len(result["ttfts"])
    if has_send_times(result):
        started: Floats = np.array(result["start_times"], dtype=np.float64)
        first: float = started.min()
        return started - first
    at_once = math.isinf(float(result.get("request_rate", 0))) and result.get("max_concurrency") is None
    return np.zeros(n) if at_once else None


def _spread(tokens: int, chunks: int) -> Ints:
    """The tokens of a reply spread over its chunks, earlier chunks first: the file does not say where they merged."""
    return np.diff(-(-np.arange(chunks + 1) * tokens // max(chunks, 1)))


def _line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1][:LONGEST_ERROR] if lines else ""
