"""What a reply that is over has said: chunks, tokens, the finish reason, the error. Pure, and never in the hot path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench.loadgen.wire import Reply, Stream
from vbench.schema.record import Ints

ERROR_LENGTH = 300
MOST_TOKENS = 2**31  # of a reply
TEXT = re.compile(rb'"(?:text|content)": ?("(?:[^"\\]|\\.)+")')


@dataclass(frozen=True)
class Reading:
    """What a reply said. `error` is one line, empty where all went well; a reply may break after m chunks."""

    times: Ints  # (m,) arrival of each chunk that brought tokens, ns
    tokens: Ints  # (m,) at least 1 each
    output_tokens: int  # by usage, else the sum of tokens
    finish_reason: str
    error: str


def read(reply: Reply) -> Reading:
    """Reads a reply that is over, however it ended."""
    if reply.status != 200:
        return _nothing(_refusal(reply))
    said, stream = _Said(), Stream(reply)
    while (events := stream.take()) is not None:
        around = None
        for time, data in events:
            around = said.hear(time, data)
        if around:
            said.more(stream.skim(*around))
    if not reply.whole:
        said.error = said.error or reply.broken or "the reply never ended"
    elif not (said.done or said.finish_reason):
        said.error = said.error or "the stream stopped with neither a finish reason nor [DONE]"
    return said.reading()


class _Said:
    """What was read so far."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.texts: list[bool] = []  # whether there was text in it
        self.counts: list[int | None] = []  # tokens so far, where the server says so in every event
        self.total: int | None = None
        self.finish_reason = ""
        self.error = ""
        self.done = False

    def hear(self, time: int, data: bytes) -> tuple[bytes, bytes] | None:
        """One event; what stands around its text if it is one plain token."""
        if data == b"[DONE]":
            self.done = True
            return None
        try:
            event = json.loads(data)
            self.error = self.error or _complaint(event)
            usage = event.get("usage")
            count = _count(usage["completion_tokens"]) if usage else None
            for choice in event.get("choices") or ():
                text = _brings(choice)
                if text is not None:
                    self.times.append(time)
                    self.texts.append(text)
                    self.counts.append(count)
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
            self.total = self.total if count is None else count
            return _around_text(data, event)
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
            self.error = self.error or "unreadable event: " + one_line(data)
            return None

    def more(self, times: list[int]) -> None:
        """Plain tokens that arrived then."""
        self.times += times
        self.texts += [True] * len(times)
        self.counts += [None] * len(times)

    def reading(self) -> Reading:
        tokens = tokens_of_chunks(self.texts, self.counts, self.total)
        brought = tokens > 0
        return Reading(
            times=np.array(self.times, np.int64)[brought],
            tokens=tokens[brought],
            output_tokens=int(tokens.sum()) if self.total is None else self.total,
            finish_reason=self.finish_reason,
            error=self.error,
        )


def _around_text(data: bytes, event: dict[str, Any]) -> tuple[bytes, bytes] | None:
    """What stands before and after the text of an event that is one plain token; None for any other."""
    choices = event.get("choices") or []
    if event.get("usage") or len(choices) != 1 or choices[0].get("finish_reason") or not _brings(choices[0]):
        return None
    texts = list(TEXT.finditer(data))
    return (data[: texts[0].start(1)], data[texts[0].end(1) :]) if len(texts) == 1 else None


def tokens_of_chunks(texts: list[bool], counts: list[int | None], total: int | None) -> Ints:
    """Tokens that each of m chunks brought, (m,); they sum to the server's `total` (None: it gave no usage).

    The first rule that fits:

    1. every chunk carries a usage count (`continuous_usage_stats`) and the counts reach the total: their differences;
    2. no total, or as many chunks as tokens: 1 each;
    3. more chunks than tokens: chunks without text brought none, the last of them first (a closing chunk that only
       names the finish reason), then as rule 4;
    4. the total spread evenly: the server has merged tokens, and does not say where. The first chunk has at least 1.
    """
    if counts and None not in counts:
        known = np.array(counts, np.int64)
        steps = np.diff(known, prepend=0)
        if known[-1] == total and (steps >= 0).all():
            return steps
    brought = np.ones(len(texts), np.int64)
    if total is None or total == len(texts):
        return brought
    excess = max(len(texts) - total, 0)
    silent = [index for index, text in enumerate(texts) if not text]
    brought[silent[::-1][:excess]] = 0
    speaking = brought > 0
    shares = -(-np.arange(speaking.sum() + 1) * total // max(speaking.sum(), 1))
    brought[speaking] = np.diff(shares)
    return brought


def one_line(text: bytes | str) -> str:
    """Text of any kind as one line that fits in a table."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join(words.split())[:ERROR_LENGTH]


def _brings(choice: dict[str, Any]) -> bool | None:
    """Whether a choice has text; None where it only announces the speaker, as a chat's first event does.

    A choice without text counts: tokens such as half a character have none.
    """
    if "text" in choice:
        return bool(choice["text"])
    delta = choice.get("delta") or {}
    if any(value for name, value in delta.items() if name != "role"):
        return True
    return None if "role" in delta else False


def _count(said: Any) -> int:
    """Tokens, as a server counts them. Raises ValueError where nobody can have made so many."""
    count = int(said)
    if not 0 <= count <= MOST_TOKENS:
        raise ValueError(count)
    return count


def _complaint(event: dict[str, Any]) -> str:
    """The error that an event carries; empty if none."""
    error = event.get("error") or (event if event.get("object") == "error" else None)
    return one_line(str(error.get("message") or error) if isinstance(error, dict) else str(error or ""))


def _refusal(reply: Reply) -> str:
    """Why there was no stream, with the body as the server's word for it."""
    if not reply.status:
        return reply.broken or "no reply"
    said = Stream(reply).rest()
    try:
        word = _complaint(json.loads(said)) or one_line(said)
    except (ValueError, AttributeError):
        word = one_line(said)
    return f"HTTP {reply.status}: {word}" if word else f"HTTP {reply.status}"


def _nothing(error: str) -> Reading:
    none = np.empty(0, np.int64)
    return Reading(times=none, tokens=none, output_tokens=0, finish_reason="", error=error)
