"""How many tokens each chunk of a reply brought, from what the server counted. Pure."""

from __future__ import annotations

import numpy as np

from vbench.schema.record import Ints


def tokens_of_chunks(texts: list[bool], counts: list[int | None], total: int | None, hidden: int = 0) -> Ints:
    """Tokens that each of m chunks brought, (m,); they sum to the server's `total` less `hidden`, those not streamed.

    `texts` says which chunks had text, `counts` is the server's count with each, `total` None if it gave none.
    The first rule that fits:

    1. every chunk carries a usage count (`continuous_usage_stats`) and the counts reach the total: their differences;
    2. chunks ahead of the first text brought none, if any text follows: some servers open a reply with an empty one;
    3. no total, or as many other chunks as tokens: 1 each;
    4. more chunks than tokens: chunks without text brought none, the last of them first (a closing chunk that only
       names the finish reason), then as rule 5;
    5. the total spread evenly: the server has merged tokens, and does not say where. The first chunk has at least 1.
    """
    if counts and None not in counts:
        cumulative = np.array(counts, np.int64)
        steps = np.diff(cumulative, prepend=0)
        if cumulative[-1] == total and (steps >= 0).all():
            first = int(np.argmax(steps > 0))
            steps[first] -= min(hidden, max(steps[first] - 1, 0))  # what was hidden was gone before it
            return steps
    first_text = texts.index(True) if True in texts else 0
    brought = np.ones(len(texts), np.int64)
    brought[:first_text] = 0
    if total is None:
        return brought
    streamed = total - hidden
    excess = max(len(texts) - first_text - streamed, 0)
    silent = [index for index, text in enumerate(texts) if not text and index >= first_text]
    brought[silent[::-1][:excess]] = 0
    speaking = brought > 0
    shares = -(-np.arange(speaking.sum() + 1) * streamed // max(speaking.sum(), 1))
    brought[speaking] = np.diff(shares)
    return brought
