"""Whether the server's counters agree with what was sent and received: rules of `metrics.validity`. Pure.

Counters that exceed ours show that others used the server during the run. Each is checked by itself, because a foreign
request may bring many prompt tokens and few output tokens, or the reverse.
"""

from __future__ import annotations

import numpy as np

from vbench.schema.record import ENDED_EARLY, Reason, Requests

COUNTERS = (
    "server_generation_tokens", "server_prompt_tokens", "server_requests_finished", "server_preemptions",
    "server_prefix_cache_queries", "server_prefix_cache_hits",
)  # fmt: skip
COUNT_SHARE = 0.01  # of the larger count, between the server's and ours


def token_mismatch(requests: Requests, found: dict[str, float]) -> Reason | None:
    """Output tokens: others used the server, or tokens were lost on the way."""
    theirs, ours = found.get("server_generation_tokens"), int(requests.output_tokens.sum())
    if theirs is None:
        return None
    broken_off = (requests.error == ENDED_EARLY) & ~np.isnan(requests.sent)
    unread = int((requests.asked_tokens - requests.output_tokens)[broken_off].clip(0).sum())  # made, but never read
    if -COUNT_SHARE * max(theirs, ours) <= theirs - ours <= COUNT_SHARE * max(theirs, ours) + unread:
        return None
    cause = "somebody else used the server" if theirs > ours else "tokens were lost on the way"
    return Reason("token_mismatch", f"the server counted {theirs:.0f} output tokens, we {ours}: {cause}")


def other_requests(requests: Requests, found: dict[str, float]) -> Reason | None:
    """Requests of others, as the run began or during it.

    Fewer requests or prompt tokens than ours are no sign of others: the server counts a request when it ends, its
    prompt with its first token, and neither if it fails or is broken off before.
    """
    count = found.get("server_requests_before", 0.0)
    if count:
        return Reason("other_requests", f"{count:.0f} requests of others ran or waited at the start")
    sent = int((~np.isnan(requests.sent)).sum())
    counts = (
        ("requests", found.get("server_requests_finished"), sent),
        ("prompt tokens", found.get("server_prompt_tokens"), _count_prompt_tokens(requests)),
    )
    more = [
        f"{theirs:,.0f} {name} where {ours:,.0f} were sent"
        for name, theirs, ours in counts
        if theirs is not None and ours is not None and theirs - ours > COUNT_SHARE * max(theirs, ours)
    ]
    if not more:
        return None
    return Reason("other_requests", f"the server counted {' and '.join(more)}: others used it during the run")


def counters_fell(found: dict[str, float]) -> Reason | None:
    """A counter only grows, unless it is another server's: none of them can then be compared with ours."""
    fell = [key for key in COUNTERS if found.get(key, 0.0) < 0]
    if not fell:
        return None
    sentence = f"{', '.join(key.removeprefix('server_') for key in fell)} of the server fell during the run"
    return Reason("counters_fell", f"{sentence}: it was restarted, or several servers answer at its address")


def others_unknown(requests: Requests, found: dict[str, float]) -> Reason | None:
    """No counter of the server can be compared with ours: others' load would not show."""
    counted = ["server_generation_tokens", "server_requests_finished"]
    if _count_prompt_tokens(requests) is not None:
        counted.append("server_prompt_tokens")
    if any(key in found for key in counted):
        return None
    sentence = "the server shows no counters of requests or tokens (vLLM's /metrics): other load cannot be told"
    return Reason("others_unknown", f"{sentence}, and may have slowed this run")


def _count_prompt_tokens(requests: Requests) -> float | None:
    """Tokens of all prompts that were sent, as the server counts them; None if its usage never tells.

    Its chat template and its tokenizer make other prompts of ours: requests whose usage is unknown, such as failed
    ones, count as much longer as the others.
    """
    usage, was_sent = requests.usage_input_tokens, ~np.isnan(requests.sent)
    told = was_sent & (usage > 0) if len(usage) else np.zeros(len(requests), bool)
    if not told.any():
        return None
    growth = usage[told].sum() / max(requests.input_tokens[told].sum(), 1)
    return float(usage[told].sum() + growth * requests.input_tokens[was_sent & ~told].sum())
