"""The JSON bodies of a load's requests: built before the clock starts, or joined from parts as the replies come.

A later turn's prompt is the bytes of the turn before it, the reply's token ids as the server gave them, and parts that
were encoded before the start: joining takes microseconds. Nothing is parsed but the reply that is carried on, once it
has ended.
"""

from __future__ import annotations

import re
from typing import Protocol

import numpy as np

from vbench.loadgen import request
from vbench.loadgen.load import Endpoint, Load
from vbench.loadgen.wire import Reply, Stream
from vbench.schema.record import Ints
from vbench.schema.structure import Structure

_IDS = re.compile(rb'"token_ids": ?\[([0-9, ]+)\]')  # not "prompt_token_ids"
_OPENING = b'"token_ids":['  # as vLLM writes it
_CONTENT = re.compile(rb'"content": ?"((?:[^"\\]|\\.)+)"')
_TOKENS = re.compile(rb'"completion_tokens": ?(\d+)')
_THOUGHTS = [re.compile(rb'"%b": ?"(?:[^"\\]|\\.)' % key) for key in (b"reasoning", b"reasoning_content")]  # not empty
_THOUGHT_TOKENS = re.compile(rb'"reasoning_tokens": ?(\d+)')


class Bodies(Protocol):
    """What a replica is sent."""

    input_tokens: Ints  # (n,) of each prompt
    carried: Ints  # (n,) tokens of an earlier reply in it

    def build(self, index: int, model: str) -> bytes:
        """The body of request `index` to a replica that calls its model so. What its prompt extends has ended."""

    def keep_reply(self, index: int, reply: Reply) -> None:
        """Takes the finished reply of request `index`, if a later prompt carries it."""


class Prepared:
    """All bodies, built at once."""

    def __init__(self, load: Load, endpoint: Endpoint) -> None:
        self.input_tokens = np.array([len(prompt) for prompt in load.prompts], np.int64)
        self.carried = np.empty(0, np.int64)
        self._bodies = [
            _join(
                load,
                endpoint.model,
                endpoint.chat,
                [_own(endpoint, [request.encode(prompt, endpoint.chat)])],
                int(length),
            )
            for prompt, length in zip(load.prompts, load.output_len, strict=True)
        ]

    def build(self, index: int, model: str) -> bytes:  # noqa: ARG002  they were built for one model
        return self._bodies[index]

    def keep_reply(self, index: int, reply: Reply) -> None:
        """Nothing carries it."""


class Assembled:
    """Bodies joined from parts, each when it is sent; one for all replicas, as a session may move between them."""

    def __init__(self, load: Load, endpoint: Endpoint, structure: Structure) -> None:
        self._load, self._endpoint, self._structure = load, endpoint, structure
        self._parts = [request.encode(part, endpoint.chat) for part in load.prompts]
        tokens = np.array([len(part) for part in load.prompts], np.int64)
        self.input_tokens = structure.prompt_tokens(tokens, load.output_len)
        self._own_tokens = self.input_tokens.copy()
        later = structure.extends >= 0
        parents = structure.extends[later]
        self._own_tokens[later] -= self.input_tokens[parents] + load.output_len[parents]
        self.carried = np.zeros(len(load), np.int64)
        self._extends = structure.extends.tolist()
        self._extended = np.bincount(structure.extends + 1, minlength=len(load) + 1)[1:].tolist()  # by how many
        self._contexts: dict[int, list[bytes]] = {}  # pieces of prompt and reply, of requests still to be extended
        self._tokens: dict[int, tuple[int, int]] = {}  # of them: tokens of the prompt, of the reply as it came

    def build(self, index: int, model: str) -> bytes:
        pieces = list(self._take_context(index))
        own = [self._parts[part] for part in self._structure.own_parts(index).tolist()]
        pieces.append(_own(self._endpoint, own))
        if self._extended[index]:
            self._contexts[index] = pieces
        return _join(self._load, model, self._endpoint.chat, pieces, int(self._load.output_len[index]))

    def keep_reply(self, index: int, reply: Reply) -> None:
        if not self._extended[index] or index not in self._contexts:
            return
        piece, tokens, is_other = self._read(index, reply)
        self._contexts[index].append(piece)
        self._tokens[index] = tokens, 0 if is_other else tokens

    def _take_context(self, index: int) -> list[bytes]:
        """The pieces of the prompt and reply that this prompt extends; they are dropped after their last use."""
        parent = self._extends[index]
        if parent < 0:
            return []
        replied, self.carried[index] = self._tokens[parent]
        self.input_tokens[index] = self.input_tokens[parent] + replied + self._own_tokens[index]
        self._extended[parent] -= 1
        return self._contexts[parent] if self._extended[parent] else self._contexts.pop(parent)

    def _read(self, index: int, reply: Reply) -> tuple[bytes, int, bool]:
        """The reply as a piece, the tokens of that, and whether they are others than the engine made: filled up to
        their number, or without the reasoning before them.
        """
        raw = b"".join(reply.reads)
        counted = _TOKENS.match(raw, max(raw.rfind(b'"completion_tokens"'), 0))
        tokens = int(counted[1]) if counted else int(self._load.output_len[index])
        if self._endpoint.chat:
            content = _find(_CONTENT, raw, reply)
            kept = _count_kept(raw, len(content), tokens)
            return request.message("assistant", b"".join(content)), kept, kept < tokens
        # Splitting takes a quarter of the time of a search by pattern; the first piece lies ahead of any id.
        ids = b",".join([piece[: piece.find(b"]")] for piece in raw.split(_OPENING)[1:]])
        if _count(ids) != tokens:  # a read ended within an event's ids
            ids = b",".join(_find(_IDS, raw, reply))
        if ids and _count(ids) == tokens:
            return ids, tokens, False
        own = np.concatenate([self._load.prompts[part] for part in self._structure.own_parts(index)])
        return request.encode(np.resize(own, tokens), chat=False), tokens, True


def _count_kept(raw: bytes, contents: int, tokens: int) -> int:
    """How many of a chat's tokens the next prompt carries: the model's reasoning is never sent back.

    Of reasoning that was streamed, it is the share of the chunks that brought content.
    """
    thoughts = max(len(each.findall(raw)) for each in _THOUGHTS)  # some servers send both keys
    if thoughts:
        return round(tokens * contents / (contents + thoughts))
    told = _THOUGHT_TOKENS.match(raw, max(raw.rfind(b'"reasoning_tokens"'), 0))
    return max(tokens - int(told[1]), min(contents, tokens)) if told else tokens


def _find(pattern: re.Pattern[bytes], raw: bytes, reply: Reply) -> list[bytes]:
    """What the pattern finds in the reply's events, in order."""
    events: list[bytes] = []
    stream = Stream(reply)
    while (found := stream.take()) is not None:
        events += [event.data for event in found]
    return pattern.findall(b"\n".join(events)) if events else pattern.findall(raw)


def _count(ids: bytes) -> int:
    return ids.count(b",") + 1 if ids else 0


def _own(endpoint: Endpoint, parts: list[bytes]) -> bytes:
    """A request's own parts as one piece: ids, or the user's message."""
    return request.message("user", b" ".join(parts)) if endpoint.chat else b",".join(parts)


def _join(load: Load, model: str, chat: bool, pieces: list[bytes], output_len: int) -> bytes:
    returns_ids = load.returns_ids and not chat
    before, after = request.frame(model, chat, output_len, load.ignore_eos, load.cache_salt, returns_ids)
    return b"%b%b%b" % (before, b",".join(filter(None, pieces)), after)
