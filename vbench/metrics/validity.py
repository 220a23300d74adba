"""Whether a run can be trusted, and why not: each reason has a fixed code to count and a sentence to read. Pure.

An INVALID run is kept and marked; a warning says what to consider about a VALID one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vbench.metrics.arrival_rules import held_arrivals, late_client, slow_arrivals
from vbench.metrics.cache_rules import cache_mismatch, evicted_prefixes, scattered_prefixes, unimplied_hits
from vbench.metrics.compile_rules import STALL_TOKENS, compiled_briefly, compiled_under_load, compiled_unlogged
from vbench.metrics.coverage import (
    NO_SESSIONS,
    empty_replies,
    few_samples,
    long_replies,
    nothing_measured,
    out_of_prompts,
)
from vbench.metrics.definitions import hidden_tokens, is_success, latencies
from vbench.metrics.host_rules import contended_host, starved_host
from vbench.metrics.replica_rules import uneven_replicas
from vbench.metrics.server_rules import COUNT_SHARE, counters_fell, other_requests, others_unknown, token_mismatch
from vbench.schema import Workload
from vbench.schema.record import ENDED_EARLY, Ints, Reason, Requests

LAG_SHARE = 0.5  # of the median ITL, or of TTFT where there is none: a client whose loop lags more measures itself
LIMITED_SHARE = 0.2  # of the run's time with the front end's event loop at its limit (metrics.occupancy.LOOP_LIMIT)
STALL_MS = 1000.0  # warn about a pause longer than both 1 s and STALL_TOKENS median inter-token latencies
PAUSED_SHARE = 0.01  # of replies with a gap beyond 1 s: above it, p99 over requests shows them
MERGED_SHARE = 0.05  # of chunks: beyond it tokens waited for the front end, and the gaps are no longer the engine's
MERGED_GAP_S, BUFFERED_SHARE = 1e-4, 0.2  # chunks this close to the one before arrived with it; in our records 0.3 % do


class Judgement(NamedTuple):
    invalid: list[Reason]
    warnings: list[Reason]


def judge(
    requests: Requests,
    load: Workload,
    found: dict[str, float],
    compiled: Sequence[str] = (),
    compiles_on_demand: bool = False,
    others: str = "",
    is_shared: bool = False,
    incomplete: Ints = NO_SESSIONS,
) -> Judgement:
    """Judges one run by its requests, what was asked, and its metrics (with `server_…` and `client_…` facts).

    `compiled` names the kernels that the engine compiled during the run, by its log. `compiles_on_demand`: it compiled
    kernels after its start, so an unexplained pause counts as another compilation.

    `others` says which other processes used the server's cores most, if that is known.

    `is_shared`: others may use the server too, as it was not started for this run.

    `incomplete`: the sessions of which requests were not sent.

    What compilations cost is known only if the log has every one of them (`compile_share` is among the metrics).
    """
    briefly, unimplied = compiled_briefly(found, compiled), unimplied_hits(found)
    invalid = (
        (None if briefly else compiled_under_load(found, compiled))
        or (compiled_unlogged(found) if compiles_on_demand else None),
        _ended_early(found),
        _failed_requests(requests),
        late_client(requests, load, found),
        slow_arrivals(requests, load),
        starved_host(found, others),
        _buffered_replies(requests) or _lagging_client(found),  # a reply in one piece has no ITL to compare with
        nothing_measured(requests, load),
        _no_tokens(requests),
        _short_replies(requests, load),
        long_replies(requests),
        unimplied,
        None if unimplied else cache_mismatch(found),
        counters_fell(found) or token_mismatch(requests, found),
        other_requests(requests, found),
    )
    warnings = (
        briefly,
        others_unknown(requests, found) if is_shared else None,
        contended_host(found),
        _preemptions(found),
        held_arrivals(requests, load),
        _saturated(found),
        _stalled_by_prefill(found),
        _stalled_by_front_end(found),
        None if compiles_on_demand else _stalled_unexplained(found),
        _paused_replies(found),
        _busy_front_end(found),
        uneven_replicas(requests),
        _merged_tokens(requests),
        evicted_prefixes(found),
        scattered_prefixes(found),
        _added_prompt_tokens(found),
        _hidden_tokens(requests),
        empty_replies(requests, load),
        out_of_prompts(requests, load, incomplete),
        few_samples(requests, load),
    )
    return Judgement([reason for reason in invalid if reason], [reason for reason in warnings if reason])


def _ended_early(found: dict[str, float]) -> Reason | None:
    after = found.get("ended_early_s")
    if after is None:
        return None
    sentence = f"the load had outgrown the server after {after:.1f} s, TTFT and requests in flight both growing"
    return Reason("ended_early", f"{sentence}; the rest was not sent")


def _failed_requests(requests: Requests) -> Reason | None:
    errors = requests.error[~is_success(requests) & (requests.error != ENDED_EARLY)]
    if not len(errors):
        return None
    kinds, counts = np.unique(errors, return_counts=True)
    most = kinds[np.argmax(counts)]
    return Reason("failed_requests", f"{len(errors)} of {len(requests)} requests failed, most with: {most}")


def _lagging_client(found: dict[str, float]) -> Reason | None:
    name = "ITL" if "median_itl_ms" in found else "TTFT"  # replies of one token have no other latency
    for lag, of, when in (
        (found.get("client_loop_lag_p99_s", 0.0), name, "p99"),
        (found.get("client_ttft_lag_p99_s", 0.0), "TTFT", "p99, as first tokens came"),
    ):
        usual = found.get(f"median_{of.lower()}_ms")
        if usual is not None and lag * 1e3 > LAG_SHARE * usual:
            words = f"the client's loop lagged {lag * 1e3:.1f} ms ({when}) at a median {of} of {usual:.1f} ms"
            return Reason("lagging_client", words)
    return None


def _buffered_replies(requests: Requests) -> Reason | None:
    gaps = latencies(requests).chunk_gap
    share = float((gaps <= MERGED_GAP_S).mean()) if len(gaps) else 0.0
    several = is_success(requests) & (requests.output_tokens - hidden_tokens(requests) > 1)
    whole = float((np.diff(requests.offsets)[several] == 1).mean()) if several.any() else 0.0
    if max(share, whole) <= BUFFERED_SHARE:
        return None
    what = f"{share:.0%} of chunks came together with the one before"
    if share <= BUFFERED_SHARE:
        what = f"{whole:.0%} of replies came whole, all their tokens in one chunk"
    sentence = f"{what}: something on the way, or a client without CPU, holds replies back"
    return Reason("buffered_replies", f"{sentence}; throughput and E2EL stand, TTFT, TPOT and ITL do not")


def _no_tokens(requests: Requests) -> Reason | None:
    ok = is_success(requests)
    if not ok.any() or requests.output_tokens[ok].any():
        return None
    return Reason("no_tokens", f"none of {int(ok.sum())} replies brought a token")


def _short_replies(requests: Requests, load: Workload) -> Reason | None:
    short = int((is_success(requests) & (requests.output_tokens < requests.asked_tokens)).sum())
    if not load.ignore_eos or not short:
        return None
    return Reason("short_replies", f"{short} replies ended before the tokens asked, though ignore_eos was set")


def _preemptions(found: dict[str, float]) -> Reason | None:
    count = found.get("server_preemptions", 0.0)
    if count <= 0:
        return None
    sentence = f"the server preempted {count:.0f} times for want of KV cache"
    return Reason("preemptions", f"{sentence}; what it then computed again is in no count of tokens")


def _saturated(found: dict[str, float]) -> Reason | None:
    if not found.get("saturated"):
        return None
    return Reason("saturated", "requests came faster than they were served: TTFT and requests in flight kept growing")


def _stalled_by_prefill(found: dict[str, float]) -> Reason | None:
    stall_ms = _stall_ms(found, "longest_prefill_stall_ms")
    if not stall_ms:
        return None
    sentence = (
        f"prompts held all replies up for {stall_ms / 1e3:.1f} s at the longest, as long as prefilling them takes; a "
        "smaller engine.max_num_batched_tokens shortens that"
    )
    return Reason("stalled_by_prefill", sentence)


def _stalled_by_front_end(found: dict[str, float]) -> Reason | None:
    stall_ms = _stall_ms(found, "longest_front_end_stall_ms")
    if not stall_ms:
        return None
    sentence = (
        f"the server's front end held all requests up for {stall_ms / 1e3:.1f} s: its event loop filled a core and "
        "answered nothing; with vLLM engine=vllm_serve engine.extra_args=[--api-server-count,4] spreads it over four"
    )
    return Reason("stalled_by_front_end", sentence)


def _stalled_unexplained(found: dict[str, float]) -> Reason | None:
    stall_ms = _stall_ms(found, "longest_unexplained_stall_ms")
    if not stall_ms:
        return None
    sentence = (
        f"no token came from any request for {stall_ms / 1e3:.1f} s, which neither the prompts in flight nor the "
        "engine's log explain: the engine may have compiled unsaid, or the server or its host paused"
    )
    return Reason("stalled_unexplained", sentence)


def _stall_ms(found: dict[str, float], key: str) -> float:
    """The pause, if it is long enough to report; else 0."""
    stall_ms = found.get(key, 0.0)
    return stall_ms if stall_ms >= max(STALL_MS, STALL_TOKENS * found.get("median_itl_ms", 0.0)) else 0.0


def _paused_replies(found: dict[str, float]) -> Reason | None:
    share, longest_ms = found.get("paused_replies", 0.0), found.get("longest_reply_gap_ms", 0.0)
    everybody_ms = found.get("longest_stall_ms", 0.0)
    if (
        share <= PAUSED_SHARE
        or longest_ms <= 2 * everybody_ms
        or longest_ms < STALL_TOKENS * found.get("median_itl_ms", 0.0)
    ):
        return None
    sentence = (
        f"{share:.0%} of replies stood still for over 1 s while others went on, the longest {longest_ms / 1e3:.1f} s"
    )
    return Reason("paused_replies", sentence)


def _busy_front_end(found: dict[str, float]) -> Reason | None:
    share = found.get("server_frontend_limited", 0.0)
    if share < LIMITED_SHARE:
        return None
    sentence = (
        f"for {share:.0%} of the run the server's front end was at its limit: its event loop filled a core; with vLLM "
        "engine=vllm_serve engine.extra_args=[--api-server-count,4] spreads it over four"
    )
    return Reason("busy_front_end", sentence)


def _merged_tokens(requests: Requests) -> Reason | None:
    share = float((requests.chunk_tokens > 1).mean()) if len(requests.chunk_tokens) else 0.0
    if share <= MERGED_SHARE:
        return None
    sentence = (
        f"{share:.0%} of chunks brought several tokens: the server's front end lags, or it decodes speculatively; ITL "
        "is their even share, unless it says how many (engine.extra_args=[--enable-force-include-usage])"
    )
    return Reason("merged_tokens", sentence)


def _added_prompt_tokens(found: dict[str, float]) -> Reason | None:
    sent, counted = found.get("total_input_tokens", 0), found.get("usage_input_tokens")
    if counted is None or abs(counted - sent) <= COUNT_SHARE * sent:
        return None
    sentence = f"the server counted {counted:,.0f} prompt tokens where {sent:,.0f} were sent"
    return Reason("added_prompt_tokens", f"{sentence}: its chat template or its tokenizer makes other prompts of them")


def _hidden_tokens(requests: Requests) -> Reason | None:
    hidden, output = int(hidden_tokens(requests).sum()), int(requests.output_tokens.sum())
    if not hidden:
        return None
    sentence = (
        f"{hidden / output:.0%} of output tokens (hidden reasoning) were counted and never streamed: TTFT is that of "
        "the first visible token, TPOT and ITL are of the visible ones"
    )
    return Reason("hidden_tokens", sentence)
