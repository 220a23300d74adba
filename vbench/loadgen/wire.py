"""HTTP/1.1 replies and their server-sent events. Pure: no socket, no clock, no knowledge of tokens.

While a stream is live, `Reply.feed` only keeps its bytes with their arrival times and looks for its end: parsing
between two arrivals would delay the second time stamp. `Stream` parses afterwards.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LONGEST_HEAD = 65_536
LONGEST_LINE = 4_096  # a chunk's size with its extensions, or all trailers
CHUNKED, LENGTH, UNTIL_CLOSE = "chunked", "length", "until close"

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_UNFINISHED_SIZE = re.compile(rb"[0-9A-Fa-f]{0,15}[ \t]*(?:;[^\r\n]*)?\r?")
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: |\r\n)")
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})+"')  # of JSON, not empty
_END = b"\n\n\r\n"  # of a chunk that is one event
# A chunk's size line, by the total length of that line, the data and the final line end; longer chunks are rare.
_SIZE_LINES = {len(b"%x" % size) + size + 4: b"%x\r\n" % size for size in range(1, 4096)}
BOM = b"\xef\xbb\xbf"  # may occur once, at the very start
GLANCE = 16  # reads that are checked first for plain chunks: there may be none


class Reply:
    """One reply as it arrives. Nothing here raises: bytes that cannot be a reply set `broken`."""

    __slots__ = (
        "_between_chunks", "_kept", "_left", "body_at", "broken", "framing", "reads", "reusable", "status", "times",
        "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.reads: list[bytes] = []  # as received, head included
        self.times = array("q")  # arrival of each piece, ns
        self.status = 0
        self.framing = ""  # unknown until the head is whole
        self.body_at = 0  # where the body starts in the joined reads
        self.reusable = False  # whether the connection stays open for another request
        self.whole = False
        self.broken = ""  # why it can never be complete
        self._between_chunks = False
        self._left = 0  # bytes until the body's end, or until the next chunk's size
        self._kept = b""  # an incomplete head or size line

    def feed(self, data: bytes, now: int) -> bool:
        """Adds what arrived at `now` (ns). True once the reply is complete or broken: then feed it no more."""
        self.reads.append(data)
        self.times.append(now)
        if self._between_chunks and (line := _SIZE_LINES.get(len(data))) and data.startswith(line):
            return False  # nearly always: one piece, one chunk
        return self._follow(data)

    def close(self) -> None:
        """Notes that the connection closed: this completes a reply without a length, and breaks any other."""
        if self.framing == UNTIL_CLOSE:
            self.whole = True
        elif not (self.whole or self.broken):
            self.broken = "the connection closed in mid-reply" if self.reads else "the connection closed unanswered"

    def _follow(self, data: bytes) -> bool:
        if not self.framing:
            data = self._read_head(self._kept + data)
            if not self.framing:
                return bool(self.broken)
        if self.framing == CHUNKED:
            return self._skip_chunks(self._kept + data)
        if self.framing == LENGTH:
            self._left -= len(data)
            self.whole = self._left <= 0
        return self.whole

    def _read_head(self, data: bytes) -> bytes:
        """Keeps an unfinished head; else sets the framing and returns what followed the head."""
        end = data.find(b"\r\n\r\n") + 4
        status = _STATUS.match(data)
        if not status and (end > 3 or not b"HTTP/1.".startswith(data[:7])):
            return self._break("this is not HTTP/1")
        if not status or end == 3:
            self._kept = data
            return self._break("the reply's head never ends") if len(data) > LONGEST_HEAD else b""
        self._kept = b""
        self.body_at += end
        if status[2].startswith(b"1"):  # an interim reply: the real one follows
            return self._read_head(data[end:])
        self.status = int(status[2])
        fields = {}
        for line in data[:end].split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            fields[name.strip().lower()] = value.strip().lower()
        self.reusable = status[1] == b"1" and fields.get(b"connection") != b"close"
        length = fields.get(b"content-length", b"")
        if self.status in (204, 304):
            self.framing = LENGTH
        elif b"chunked" in fields.get(b"transfer-encoding", b""):
            self.framing = CHUNKED
        elif length.isdigit() and len(length) < 16:
            self.framing, self._left = LENGTH, int(length)
        else:
            self.framing, self.reusable = UNTIL_CLOSE, False
        return data[end:]

    def _skip_chunks(self, data: bytes) -> bool:
        """Skips from size line to size line; true at the end of the reply."""
        self._kept = b""
        at = 0
        while (at := at + self._left) < len(data):
            self._left = 0
            size = _SIZE.match(data, at)
            if not size:
                return self._keep(data[at:]) if _UNFINISHED_SIZE.fullmatch(data, at) else self._break_framing()
            if (length := int(size[1], 16)) == 0:
                self.whole = data.find(b"\r\n\r\n", size.end() - 2) >= 0  # trailers, if any, and a blank line
                return self.whole or self._keep(data[at:])
            at = size.end()
            self._left = length + 2
        self._left = at - len(data)
        self._between_chunks = self._left == 0
        return False

    def _keep(self, unfinished: bytes) -> bool:
        self._between_chunks = False
        self._kept = unfinished
        return len(unfinished) > LONGEST_LINE and self._break_framing()

    def _break_framing(self) -> bool:
        self._break("the reply's chunked framing is broken")
        return True

    def _break(self, why: str) -> bytes:
        self.broken, self.reusable = why, False
        return b""


class Event(NamedTuple):
    """A server-sent event that has data, or whose type is an error."""

    time: int  # arrival of its last byte, ns
    data: bytes
    is_error: bool = False


class Around(NamedTuple):
    """What stands around the text of an event that is one plain token, and around its token id, if it tells one."""

    before: bytes  # the text, a JSON string
    between: bytes  # what stands between text and id; empty if there is no id
    after: bytes


class Stream:
    """The events of a finished reply, parsed chunk by chunk."""

    def __init__(self, reply: Reply) -> None:
        self._reads, self._times = reply.reads, reply.times
        self._next = 0  # index of the next read
        self._raw = bytearray()  # bytes pulled from the reads and not parsed yet
        self._ends: list[tuple[int, int]] = []  # of the reads in `_raw`, and when they arrived
        self._event = bytearray()  # an incomplete event
        self._begun = False  # whether an event was returned
        self._chunked = reply.framing == CHUNKED
        while len(self._raw) < reply.body_at:
            self._pull()
        self._drop(reply.body_at)

    def take(self) -> list[Event] | None:
        """Returns the events that the next chunk completes. None at the end.

        An event ends with the last byte of the blank line after it. A reply without chunks is read as one chunk.
        """
        start, stop, end = self._chunk()
        if not end:
            return None
        found, had, taken = [], len(self._event), 0
        self._event += self._raw[start:stop]
        for blank in [blank.end() for blank in _BLANK_LINE.finditer(self._event, max(had - 2, 0))]:
            block = bytes(self._event[taken:blank])
            if (data := _data(block if self._begun else block.removeprefix(BOM))) is not None:
                found.append(Event(self._arrival(start + blank - had), *data))
            taken, self._begun = blank, True
        del self._event[:taken]
        self._drop(end)
        return found

    def skim(self, around: Around) -> list[int]:
        """Skips the next chunks as long as each is one event of one plain token.

        Returns their arrival times. Nearly all chunks look like this, and parsing one would cost 50 times as much.
        """
        start, end = b"data: " + around.before, around.after + _END
        plain: dict[bytes, int] = {}  # number of such chunks in a piece; 0 if it has anything else
        found: list[int] = []
        reach = GLANCE if self._chunked and not (self._raw or self._event) else 0
        while reach:
            reads = self._reads[self._next : self._next + reach]
            for piece in set(reads).difference(plain):
                plain[piece] = _plain_chunks(piece, start, around.between, end)
            counts = [plain[piece] for piece in reads]
            reach = reach * 16 if len(reads) == reach else 0
            if 0 in counts:
                counts, reach = counts[: counts.index(0)], 0
            times = self._times[self._next : self._next + len(counts)]
            found += times if sum(counts) == len(counts) else np.repeat(times, counts).tolist()
            self._next += len(counts)
        return found

    def rest(self) -> bytes:
        """Returns the rest of the body, without its framing."""
        parts = []
        while (chunk := self._chunk())[2]:
            parts.append(bytes(self._raw[chunk[0] : chunk[1]]))
            self._drop(chunk[2])
        return b"".join(parts)

    def _chunk(self) -> tuple[int, int, int]:
        """Pulls the next chunk, as far as it arrived: start and stop of its data, and its end; zeros if none."""
        if not self._chunked:
            while self._pull():
                pass
            return 0, len(self._raw), len(self._raw)
        while not (size := _SIZE.match(self._raw)) and self._pull():
            pass
        length = int(size[1], 16) if size else 0
        if not size or not length:
            return 0, 0, 0
        start, end = size.end(), size.end() + length + 2
        del size  # the match keeps the buffer from being resized
        while len(self._raw) < end and self._pull():
            pass
        return start, min(start + length, len(self._raw)), end

    def _pull(self) -> bool:
        """Appends one more piece, if there is one."""
        if self._next == len(self._reads):
            return False
        self._raw += self._reads[self._next]
        self._ends.append((len(self._raw), self._times[self._next]))
        self._next += 1
        return True

    def _drop(self, count: int) -> None:
        """Drops the first pulled bytes."""
        del self._raw[:count]
        self._ends = [(end - count, time) for end, time in self._ends if end > count]

    def _arrival(self, end: int) -> int:
        """Arrival time of the byte before this position."""
        return self._ends[bisect_left(self._ends, (end,))][1]


def _plain_chunks(piece: bytes, start: bytes, between: bytes, end: bytes) -> int:
    """The number of complete chunks in a piece, each one plain token; 0 if it has anything else."""
    line = _SIZE_LINES.get(len(piece), b"")
    if line and piece.startswith(line + start) and piece.endswith(end):
        text = piece[len(line + start) : -len(end)]
        if not between:
            return int(_is_string(text))
        text, found, token = text.rpartition(between)
        return int(bool(found) and token.isdigit() and _is_string(text))
    chunks = [chunk + _END for chunk in piece.split(_END)]
    several = len(chunks) > 2 and chunks.pop() == _END
    return len(chunks) if several and all(_plain_chunks(chunk, start, between, end) for chunk in chunks) else 0


@lru_cache(maxsize=65_536)
def _is_string(text: bytes) -> bool:
    """Whether it is a non-empty JSON string. Text that may be broken UTF-8 is left to the parser."""
    return text.isascii() and _STRING.fullmatch(text) is not None


def _data(block: bytes) -> tuple[bytes, bool] | None:
    """An event's data, and whether its type is an error; None for comments (pings) and events without data."""
    if block.startswith(b"data:") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
        return block[5:].strip(), False  # nearly always: one line and a blank line
    fields = [line.partition(b":") for line in block.splitlines()]
    data = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
    is_error = any(name == b"event" and value.strip() == b"error" for name, _, value in fields)
    return (b"\n".join(data).strip(), is_error) if data or is_error else None


def header(reply: Reply, name: str) -> str:
    """The value of a field of the reply's head; empty if absent."""
    head = b"".join(reply.reads)[: reply.body_at].decode("latin-1")
    for line in reversed(head.split("\r\n")):  # the real reply's head follows an interim one's
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return ""
