"""The blocks of a run's prompts, from the parts that its requests say they are made of. Pure.

Equal parts are equal tokens, and unlike parts have none in common, so numbers can stand for the tokens: the real ones
need not be kept.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vbench.metrics.prefix_cache.blocks import Content, Ids, block_ids
from vbench.schema.record import Ints, Requests

NO_TOKENS: Ids = np.empty(0, np.uint64)


def shares_parts(requests: Requests) -> bool:
    """Whether the requests say which parts their prompts are made of."""
    return len(requests) > 0 and len(requests.part_offsets) > 0


def content_of(requests: Requests, block_size: int) -> Content:
    """What the requests of a load with shared parts bring into a cache of such blocks, replies included."""
    order = np.lexsort((requests.turn, requests.session))
    tokens = requests.input_tokens + requests.output_tokens
    offsets = np.concatenate([[0], np.cumsum(tokens // block_size)])
    ids = np.empty(int(offsets[-1]), np.uint64)
    blocks = block_ids(_texts(requests, order), block_size, int(tokens.max(initial=0)))
    for index, found in zip(order.tolist(), blocks, strict=True):
        ids[offsets[index] : offsets[index + 1]] = found
    return Content(block_size, offsets, ids, requests.input_tokens, requests.output_tokens)


def _texts(requests: Requests, order: Ints) -> Iterator[Ids]:
    """The prompt and the reply of each request, in that order, as numbers that are equal only for equal tokens."""
    parts, place = np.unique(requests.parts, return_inverse=True)
    lengths = np.zeros(len(parts), np.int64)
    np.maximum.at(lengths, place, requests.part_tokens)
    starts = np.cumsum(lengths) - lengths
    ends = int(lengths.sum()) + np.cumsum(requests.output_tokens)
    unlike = int(ends[-1])  # numbers from here on stand for tokens in place of a reply's
    session, prompts = -1, dict[int, tuple[int, Ids]]()  # of the session, by turn: request, prompt
    for index in order.tolist():
        if requests.session[index] != session:
            session, prompts = int(requests.session[index]), {}
        own = slice(requests.part_offsets[index], requests.part_offsets[index + 1])
        pieces = [
            _numbers(int(starts[part]), int(count))
            for part, count in zip(place[own], requests.part_tokens[own], strict=True)
        ]
        if (extended := int(requests.extends[index])) in prompts:
            parent, prompt = prompts[extended]
            reply = max(int(requests.input_tokens[index]) - len(prompt) - sum(map(len, pieces)), 0)
            as_it_came = min(reply, int(requests.carried[index]), int(requests.output_tokens[parent]))
            came = _numbers(int(ends[parent] - requests.output_tokens[parent]), as_it_came)
            pieces = [prompt, came, _numbers(unlike, reply - as_it_came), *pieces]
            unlike += reply - as_it_came
        text = np.concatenate([NO_TOKENS, *pieces])[: requests.input_tokens[index]]
        prompts[int(requests.turn[index])] = (index, text)
        made = int(requests.output_tokens[index])
        lacking = int(requests.input_tokens[index]) - len(text)
        yield np.concatenate([text, _numbers(unlike, lacking), _numbers(int(ends[index]) - made, made)])
        unlike += lacking


def _numbers(start: int, count: int) -> Ids:
    return np.arange(start, start + count, dtype=np.uint64)
