"""The fastest prefill that a load shows, in prompt tokens a second. Pure.

`stalls` judges pauses by a more cautious rate; this one says what the engine can do, so that a report may say how much
of a run its prompts took.
"""

from __future__ import annotations

import numpy as np

from vbench.metrics.stalls import ends_of_replies
from vbench.schema.record import Requests

EVIDENCE = 500  # starts of windows at most


def peak_prefill_rate(requests: Requests) -> float:
    """The highest rate over any window, a lower bound of the engine's; 0 without a token.

    A window counts the prompts that were sent within it and had their first token within it, over its length.
    """
    first, _ = ends_of_replies(requests)
    order = np.argsort(first)[: np.count_nonzero(~np.isnan(first))]  # NaN sorts last
    first, sent, tokens = first[order], requests.sent[order], requests.input_tokens[order]
    starts, best = np.unique(sent), 0.0
    for start in starts[:: max(1, len(starts) // EVIDENCE)]:
        done = np.cumsum(np.where(sent >= start, tokens, 0))
        after = first > start
        best = max(best, float((done[after] / (first[after] - start)).max(initial=0.0)))
    return best
