"""HTTP/1.1 replies and their server-sent events. Pure: no socket, no clock, no knowledge of tokens.

While a stream is live, `Reply.feed` keeps its bytes with their arrival times and looks for nothing but its end: what is
read between two arrivals is time added to the second. `events` takes it apart afterwards.
"""

from __future__ import annotations

import re
from array import array

import numpy as np

LONGEST_HEAD = 65_536
LONGEST_LINE = 4_096  # a chunk's size with its extensions, or all trailers
CHUNKED, LENGTH, UNTIL_CLOSE = "chunked", "length", "until close"

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_UNFINISHED_SIZE = re.compile(rb"[0-9A-Fa-f]{0,15}[ \t]*(?:;[^\r\n]*)?\r?")
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: |\r\n)")
_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r")
_NEWLINES = re.compile(rb"\n\n")  # the same where no carriage returns are, found five times as fast


class Reply:
    """One reply as it arrives. Nothing here raises: what cannot be a reply is `broken`."""

    __slots__ = (
        "_between_chunks", "_kept", "_left", "body_at", "broken", "framing", "pieces", "reusable", "status", "times",
        "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.pieces: list[bytes] = []  # as received, head included
        self.times = array("q")  # arrival of each piece, ns
        self.status = 0
        self.framing = ""  # unknown until the head is whole
        self.body_at = 0  # where the body starts in the joined pieces
        self.reusable = False  # whether the connection stays open for another request
        self.whole = False
        self.broken = ""  # why it can never be whole
        self._between_chunks = False
        self._left = 0  # bytes until the body's end, or until the next chunk's size
        self._kept = b""  # a head or a size line that is not whole yet

    def feed(self, data: bytes, now: int) -> bool:
        """Takes what arrived at `now` (ns). True once the reply is whole or broken: then feed it no more."""
        self.pieces.append(data)
        self.times.append(now)
        if self._between_chunks:  # nearly always: one piece, one chunk
            end = data.find(b"\r\n")
            try:
                if end > 0 and (size := int(data[:end], 16)) and end + 4 + size == len(data):
                    return False
            except ValueError:
                pass
        return self._follow(data)

    def close(self) -> None:
        """The connection is gone: the end of a reply that has no other, a broken one else."""
        if self.framing == UNTIL_CLOSE:
            self.whole = True
        elif not (self.whole or self.broken):
            self.broken = "the connection closed in mid-reply" if self.pieces else "the connection closed unanswered"

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
        """Steps from size to size; true at the end of the reply."""
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


def events(reply: Reply) -> list[tuple[int, bytes]]:
    """The data of each event, with the arrival (ns) of the bytes that complete it: its blank line."""
    body, spans = unframed(reply)
    ends = np.array([blank.end() for blank in (_BLANK_LINE if b"\r" in body else _NEWLINES).finditer(body)], np.int64)
    if not len(ends):
        return []
    starts, stops = np.array(spans, np.int64).T
    stops_in_body = np.cumsum(stops - starts)
    span = np.searchsorted(stops_in_body, ends)  # the chunk that holds the event's last byte
    ends_in_raw = stops[span] - (stops_in_body[span] - ends)
    piece = np.searchsorted(np.cumsum([len(piece) for piece in reply.pieces]), ends_in_raw)
    times = [reply.times[index] for index in piece]
    blocks = [body[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    found = [(time, _data(block)) for time, block in zip(times, blocks, strict=True)]
    return [(time, data) for time, data in found if data is not None]


def unframed(reply: Reply) -> tuple[bytes, list[tuple[int, int]]]:
    """The body without its framing, and where its parts lie in the joined pieces."""
    raw = b"".join(reply.pieces)
    spans = _chunk_spans(raw, reply.body_at) if reply.framing == CHUNKED else [(reply.body_at, len(raw))]
    return b"".join(raw[start:end] for start, end in spans), spans


def _chunk_spans(raw: bytes, at: int) -> list[tuple[int, int]]:
    """Where the chunks' data lie, as far as they have come."""
    spans = []
    while size := _SIZE.match(raw, at):
        start, length = size.end(), int(size[1], 16)
        if not length:
            break
        spans.append((start, min(start + length, len(raw))))
        at = start + length + 2
    return spans or [(at, at)]


def _data(block: bytes) -> bytes | None:
    """An event's data; None for comments (pings) and events without any."""
    if block.startswith(b"data:") and block.find(b"\n") == len(block) - 2 and b"\r" not in block:
        return block[5:].strip()  # nearly always: one line and a blank one
    lines = [line[5:].removeprefix(b" ") for line in block.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
