"""Reads a finished reply: its chunks, tokens, finish reason and error. Pure; it never runs in the hot path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench.loadgen.tokens import tokens_of_chunks
from vbench.loadgen.wire import Around, Event, Reply, Stream, header
from vbench.schema.record import Ints

ERROR_LENGTH = 300
MOST_TOKENS = 2**31  # of a reply
FINISHED = {"stop", "length", "tool_calls", "content_filter"}  # OpenAI's; any other means that the server gave up
REASONING = ("reasoning", "reasoning_content")
VISIBLE = ("content", "refusal", "tool_calls", "function_call")  # of a chat's delta
TOKEN_ID = re.compile(rb',"token_ids": ?\[(\d+)\]')
TEXT = re.compile(rb'"(?:text|content)": ?("(?:[^"\\]|\\.)+")')


@dataclass(frozen=True)
class Reading:
    """The content of a reply. `error` is one line, empty on success; a reply may break off after m chunks.

    `tokens` sum to `output_tokens`, less the tokens that the server counted and never streamed (hidden reasoning).
    """

    times: Ints  # (m,) arrival of each chunk that brought tokens, ns
    tokens: Ints  # (m,) at least 1 each
    output_tokens: int  # by usage, else the sum of tokens
    finish_reason: str
    error: str
    input_tokens: int = 0  # of the prompt, by usage; 0 if the server does not tell


def read(reply: Reply, asked: int) -> Reading:
    """Reads a finished reply, however it ended. `asked` is the request's max_tokens."""
    if reply.status != 200:
        return _empty_reading(_status_error(reply))
    transcript, stream = _Transcript(asked), Stream(reply)
    while (events := stream.take()) is not None:
        around = None
        for event in events:
            around = transcript.add(event)
        if around:
            transcript.add_plain_tokens(stream.skim(around))
    return transcript.reading(_explain_incomplete(reply, transcript))


class _Transcript:
    """What was read so far."""

    def __init__(self, asked: int) -> None:
        self.asked = asked
        self.times: list[int] = []
        self.texts: list[bool] = []  # for each chunk, whether it has text
        self.counts: list[int | None] = []  # tokens so far, if the server counts them in every event
        self.total: int | None = None
        self.counted = 0  # chunks that had come as the server counted last
        self.prompt = 0
        self.hidden = 0  # reasoning tokens, as the server counts them
        self.streams_reasoning = False
        self.finish_reason = ""
        self.error = ""
        self.done = False
        self.events = 0

    def add(self, event: Event) -> Around | None:
        """Adds one event; returns the bytes around its text if it is one plain token."""
        self.events += 1
        if event.is_error:
            self.error = self.error or _error_in(event.data)
        elif event.data == b"[DONE]":
            self.done = True
        else:
            try:
                return self._add_json(event.time, event.data, json.loads(event.data))
            except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
                self.error = self.error or "unreadable event: " + one_line(event.data)
        return None

    def _add_json(self, time: int, data: bytes, event: Any) -> Around | None:
        if event is None:
            return None
        self.error = self.error or _complaint(event)
        count = self._add_usage(event.get("usage") or {})
        for choice in event.get("choices") or ():
            text = _has_text(choice)
            if text is not None:
                self.times.append(time)
                self.texts.append(text)
                self.counts.append(count)
            delta = choice.get("delta") or {}
            self.streams_reasoning |= any(delta.get(key) for key in REASONING)
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if count is not None:
            self.total, self.counted = count, len(self.times)
        return _split_around_text(data, event)

    def _add_usage(self, usage: dict[str, Any]) -> int | None:
        """Returns the reply's tokens so far; None if the event does not say."""
        self.prompt = _count(usage.get("prompt_tokens") or 0) or self.prompt
        if usage.get("completion_tokens") is None:
            return None
        details = usage.get("completion_tokens_details") or {}
        self.hidden = _count(details.get("reasoning_tokens") or usage.get("reasoning_tokens") or 0)
        return _count(usage["completion_tokens"])

    def add_plain_tokens(self, times: list[int]) -> None:
        """Adds plain tokens that arrived at these times."""
        self.times += times
        self.texts += [True] * len(times)
        self.counts += [None] * len(times)

    def reading(self, broken_off: str) -> Reading:
        with_text = sum(self.texts)
        total = self._total(with_text)
        hidden = 0 if total is None or self.streams_reasoning else max(min(self.hidden, total - with_text), 0)
        tokens = tokens_of_chunks(self.texts, self.counts, total, hidden)
        brought = tokens > 0
        return Reading(
            times=np.array(self.times, np.int64)[brought],
            tokens=tokens[brought],
            output_tokens=int(tokens.sum()) if total is None else total,
            finish_reason=self.finish_reason,
            error=self.error or broken_off or self._find_contradiction(total, with_text),
            input_tokens=self.prompt,
        )

    def _total(self, with_text: int) -> int | None:
        """The reply's tokens: as the server counted them, or max_tokens if the reply's end proves that; else None."""
        counted = None if any(self.texts[self.counted :]) else self.total  # what came after the last count is not in it
        proven = self.finish_reason == "length" and self.asked in (with_text, len(self.texts))
        return self.asked if counted is None and proven else counted

    def _find_contradiction(self, total: int | None, with_text: int) -> str:
        """Why a complete reply cannot be used as a measurement; empty if it can."""
        if self.finish_reason not in FINISHED:
            why = f"finish reason {one_line(str(self.finish_reason))}" if self.finish_reason else "no finish reason"
            return f"the server gave up: {why}"
        if total is None:
            return "the server sent no usage at the end: a chunk may be any number of tokens"
        if total < with_text:
            return f"the server counted {total} tokens in {with_text} chunks of text"
        if total > self.asked:
            return f"the server counted {total} tokens where max_tokens was {self.asked}"
        return ""


def one_line(text: bytes | str) -> str:
    """Text of any kind as one line that fits in a table."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(words.split())[:ERROR_LENGTH]


def _explain_incomplete(reply: Reply, transcript: _Transcript) -> str:
    """Why the reply is incomplete; empty if it is complete."""
    if not reply.whole:
        return reply.broken or "the reply never ended"
    if transcript.done or transcript.finish_reason:
        return ""
    if transcript.events:
        return "the stream stopped with neither a finish reason nor [DONE]"
    encoding = header(reply, "content-encoding")
    if encoding and encoding != "identity":
        return f"the reply is compressed ({one_line(encoding)}), though nobody asked for that: no event can be timed"
    words = _error_in(Stream(reply).rest())
    return f"no stream of events: {words}" if words else "the reply has no body"


def _split_around_text(data: bytes, event: dict[str, Any]) -> Around | None:
    """What stands around the text of an event that is one plain token; None for any other event."""
    choices = event.get("choices") or []
    if event.get("usage") or len(choices) != 1 or choices[0].get("finish_reason") or not _has_text(choices[0]):
        return None
    texts = list(TEXT.finditer(data))
    if len(texts) != 1:
        return None
    before, after = data[: texts[0].start(1)], data[texts[0].end(1) :]
    if choices[0].get("token_ids") is None:
        return Around(before, b"", after)
    told = TOKEN_ID.search(after)
    return told and Around(before, after[: told.start(1)], after[told.end(1) :])


def _has_text(choice: dict[str, Any]) -> bool | None:
    """Whether a choice has text; None if it only announces the role, as a chat's first event does.

    A choice without text still counts: a token that is half a character has none.
    """
    if "text" in choice:
        return bool(choice["text"])
    delta = choice.get("delta") or {}
    if any(delta.get(name) for name in (*VISIBLE, *REASONING)):
        return True
    return None if "role" in delta else False


def _count(number: Any) -> int:
    """A server's token count. Raises ValueError if the number is impossible."""
    count = int(number)
    if not 0 <= count <= MOST_TOKENS:
        raise ValueError(count)
    return count


def _complaint(event: dict[str, Any]) -> str:
    """The error that an event carries; empty if none. An object with a message and no choices is an error too."""
    error = event.get("error") or (event if event.get("object") == "error" else None)
    if not error and "choices" not in event:
        error = event.get("message") or event.get("detail")
    return one_line(str(error.get("message") or error) if isinstance(error, dict) else str(error or ""))


def _error_in(body: bytes) -> str:
    """The error in a body, as JSON or plain text; never empty if the body has text."""
    try:
        return _complaint(json.loads(body)) or one_line(body)
    except (ValueError, AttributeError):
        return one_line(body) or "an error without a message"


def _status_error(reply: Reply) -> str:
    """Why there was no stream, with the server's body as the explanation."""
    if not reply.status:
        return reply.broken or "no reply"
    if 300 <= reply.status < 400 and (place := header(reply, "location")):
        return f"HTTP {reply.status}: moved to {one_line(place)}"
    body, later = Stream(reply).rest(), header(reply, "retry-after")
    words = f"HTTP {reply.status}: {_error_in(body)}" if body.strip() else f"HTTP {reply.status}"
    return f"{words} (Retry-After: {one_line(later)})" if later else words


def _empty_reading(error: str) -> Reading:
    none = np.empty(0, np.int64)
    return Reading(times=none, tokens=none, output_tokens=0, finish_reason="", error=error)
