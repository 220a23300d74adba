"""What a reply that is over has said: chunks, tokens, the finish reason, the error. Pure, and never in the hot path."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from vbench.loadgen.wire import Reply, events, unframed
from vbench.record import Ints

ERROR_LENGTH = 300
TEXT = re.compile(rb'"(?:text|content)": ?("(?:[^"\\]|\\.)+")')
STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})+"')  # of JSON, not empty
NO_TEXT = (b"\n", b"")  # no event's data starts with a blank


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
    times: list[int] = []
    texts: list[bool] = []  # whether there was text in it
    counts: list[int | None] = []  # tokens so far, where the server says so in every event
    total: int | None = None
    finish_reason = error = ""
    done = False
    before, after = NO_TEXT
    for time, data in events(reply):
        if (
            data.startswith(before)
            and data.endswith(after)
            and data.isascii()  # what may be broken UTF-8 is for the parser to tell
            and STRING.fullmatch(data, len(before), len(data) - len(after))
        ):
            times.append(time)
            texts.append(True)
            counts.append(None)
            continue
        if data == b"[DONE]":
            done = True
            continue
        try:
            event = json.loads(data)
            error = error or _complaint(event)
            usage = event.get("usage")
            count = int(usage["completion_tokens"]) if usage else None
            for choice in event.get("choices") or ():
                text = _brings(choice)
                if text is not None:
                    times.append(time)
                    texts.append(text)
                    counts.append(count)
                finish_reason = choice.get("finish_reason") or finish_reason
            total = total if count is None else count
            before, after = _around_text(data, event)
        except (ValueError, TypeError, AttributeError, LookupError):
            error = error or "unreadable event: " + one_line(data)
    if not reply.whole:
        error = error or reply.broken or "the reply never ended"
    elif not (done or finish_reason):
        error = error or "the stream stopped with neither a finish reason nor [DONE]"
    tokens = tokens_of_chunks(texts, counts, total)
    brought = tokens > 0
    return Reading(
        times=np.array(times, np.int64)[brought],
        tokens=tokens[brought],
        output_tokens=int(tokens.sum()) if total is None else total,
        finish_reason=finish_reason,
        error=error,
    )


def _around_text(data: bytes, event: dict[str, Any]) -> tuple[bytes, bytes]:
    """What stands before and after the text of an event that is one plain token; what no event starts with, else.

    Most events of a stream differ from the one before in their text only, and to parse each costs ten times as much.
    """
    choices = event.get("choices") or []
    texts = list(TEXT.finditer(data))
    if event.get("usage") or len(choices) != 1 or choices[0].get("finish_reason") or not _brings(choices[0]):
        return NO_TEXT
    return (data[: texts[0].start(1)], data[texts[0].end(1) :]) if len(texts) == 1 else NO_TEXT


def tokens_of_chunks(texts: list[bool], counts: list[int | None], total: int | None) -> Ints:
    """Tokens that each of m chunks brought, (m,); they sum to the server's `total` (None: it gave no usage).

    The first rule that fits:

    1. every chunk carries a usage count (`continuous_usage_stats`) and the counts reach the total: their differences;
    2. no total, or as many chunks as tokens: 1 each;
    3. more chunks than tokens: chunks without text brought none, the last of them first (a closing chunk that only
       names the finish reason), then as rule 4;
    4. the total spread evenly: the server has merged tokens, and does not say where. The first chunk has at least 1.
    """
    known = np.array([count for count in counts if count is not None], np.int64)
    steps = np.diff(known, prepend=0)
    if len(known) == len(counts) > 0 and known[-1] == total and (steps >= 0).all():
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


def _complaint(event: dict[str, Any]) -> str:
    """The error that an event carries; empty if none."""
    error = event.get("error") or (event if event.get("object") == "error" else None)
    return one_line(str(error.get("message") or error) if isinstance(error, dict) else str(error or ""))


def _refusal(reply: Reply) -> str:
    """Why there was no stream, with the body as the server's word for it."""
    if not reply.status:
        return reply.broken or "no reply"
    said, _ = unframed(reply)
    try:
        word = _complaint(json.loads(said)) or one_line(said)
    except (ValueError, AttributeError):
        word = one_line(said)
    return f"HTTP {reply.status}: {word}" if word else f"HTTP {reply.status}"


def _nothing(error: str) -> Reading:
    none = np.empty(0, np.int64)
    return Reading(times=none, tokens=none, output_tokens=0, finish_reason="", error=error)
