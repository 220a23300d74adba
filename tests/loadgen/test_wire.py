"""Replies decode the same however the network cuts them; nothing that a server sends hangs or crashes the client."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vbench.loadgen import reading
from vbench.loadgen.reading import Reading
from vbench.loadgen.tokens import tokens_of_chunks
from vbench.loadgen.wire import Event, Reply, Stream

SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
DONE = b"data: [DONE]\n\n"
UNFINISHED = "the server gave up: no finish reason"  # the error of a stream that is all right but for its end


def event(text: str | None = " word", finish: str | None = None, count: int | None = None) -> bytes:
    choices = [] if text is None else [{"index": 0, "text": text, "finish_reason": finish}]
    usage = None if count is None else {"prompt_tokens": 3, "completion_tokens": count}
    return b"data: " + json.dumps({"choices": choices, "usage": usage}).encode() + b"\n\n"


STREAM = [event(), event(" two"), event("", "length"), event(None, count=3), DONE]
BODY = b"".join(STREAM)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(parts: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    return SSE_HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"".join(chunk(part) for part in parts if part) + end


FRAMINGS = {
    "an event a chunk": chunked(STREAM),
    "all in one chunk": chunked([BODY]),
    "chunks that cut events": chunked([BODY[at : at + 7] for at in range(0, len(BODY), 7)]),
    "extensions and trailers": SSE_HEAD
    + b"transfer-encoding: chunked\r\n\r\n00%X ;x=y\r\n%b\r\n0;last=yes\r\nx-sum: 5\r\nx: 6\r\n\r\n"
    % (len(BODY), BODY),
    "content length": SSE_HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "until the connection closes": SSE_HEAD + b"\r\n" + BODY,
    "after an interim reply": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + chunked(STREAM),
    "carriage returns": chunked([part.replace(b"\n", b"\r\n") for part in STREAM]),
}


def decode(pieces: list[bytes]) -> tuple[Reply, bool]:
    """Feeds pieces at times 0, 1, 2, ...; and whether the reply ended exactly with the last."""
    reply = Reply()
    ends = [reply.feed(piece, now) for now, piece in enumerate(pieces)]
    if reply.framing == "until close":
        reply.close()
        return reply, not any(ends)
    return reply, ends == [False] * (len(pieces) - 1) + [True]


def read(reply: Reply) -> Reading:
    """The reading of a reply to a request of at most 1,000 tokens."""
    return reading.read(reply, 1000)


def events(reply: Reply) -> list[Event]:
    stream, found = Stream(reply), []
    while (some := stream.take()) is not None:
        found += some
    return found


def said(reading: Reading) -> tuple[list[int], int, str, str]:
    return reading.tokens.tolist(), reading.output_tokens, reading.finish_reason, reading.error


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_reply_cut_at_any_byte_decodes_the_same(framing: str) -> None:
    whole = FRAMINGS[framing]
    for at in range(1, len(whole)):
        reply, ended = decode([whole[:at], whole[at:]])
        assert ended, at
        assert said(read(reply)) == ([1, 1, 1], 3, "length", ""), at


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_reply_of_single_bytes_decodes_the_same(framing: str) -> None:
    reply, ended = decode([bytes([byte]) for byte in FRAMINGS[framing]])
    assert ended
    assert said(read(reply)) == ([1, 1, 1], 3, "length", "")


def test_an_event_arrives_with_the_bytes_that_complete_it() -> None:
    whole = FRAMINGS["an event a chunk"]
    ends = [whole.index(part) + len(part) for part in STREAM]
    for at in range(1, len(whole)):
        reply, _ = decode([whole[:at], whole[at:]])
        assert [event.time for event in events(reply)] == [0 if end <= at else 1 for end in ends]


@given(st.data())
def test_any_chunking_and_any_cutting_keep_the_times_of_the_events(data: st.DataObject) -> None:
    separator = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    payloads = data.draw(st.lists(st.binary(max_size=30).map(lambda raw: raw.hex().encode()), max_size=8))
    parts = [b"data: " + payload + separator * 2 for payload in payloads]
    body = b"".join(parts)
    framed = chunked(split(data, body))
    reply, ended = decode(split(data, framed))
    assert ended
    assert reply.whole
    assert reply.reusable
    arrivals = dict(zip(*completions(framed, reply.reads), strict=True))
    # The last byte of event i is byte ends[i] of the body; where that byte lies in the reply, the framing tells.
    places = [place for place, _ in bodily(framed)]
    ends = np.cumsum([len(part) for part in parts], dtype=int)
    assert [event.data for event in events(reply)] == payloads
    assert [event.time for event in events(reply)] == [arrivals[places[end - 1]] for end in ends]


def split(data: st.DataObject, whole: bytes) -> list[bytes]:
    """Cuts bytes in arbitrary places."""
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(whole) - 1, 1)), max_size=12)))
    return [part for part in (whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)) if part]


def completions(framed: bytes, pieces: list[bytes]) -> tuple[range, list[int]]:
    """Every byte's place and the time it arrived."""
    return range(len(framed)), [time for time, piece in enumerate(pieces) for _ in piece]


def bodily(framed: bytes) -> list[tuple[int, int]]:
    """Place and value of each byte of the body, by the plainest decoder there is."""
    at = framed.index(b"\r\n\r\n") + 4
    found = []
    while size := int(framed[at : framed.index(b"\r\n", at)], 16):
        at = framed.index(b"\r\n", at) + 2
        found += [(place, framed[place]) for place in range(at, at + size)]
        at += size + 2
    return found


NASTY = [
    b"\r\n",
    b"\r\n\r\n",
    b"-1\r\n\n",
    b"0\r\n",
    b"ffffffffffffffffff\r\n",
    b"1_0\r\n",
    b"data: 5\n\n",
    chunk(event()),
]
STARTS = [b"", b"HTTP/1.1 ", SSE_HEAD, SSE_HEAD + b"\r\n", chunked([])[:-5], chunked(STREAM)[:-5]]


@given(st.sampled_from(STARTS), st.lists(st.binary(max_size=40) | st.sampled_from(NASTY), max_size=20))
def test_garbage_neither_hangs_nor_crashes(start: bytes, garbage: list[bytes]) -> None:
    reply = Reply()
    for now, piece in enumerate([start, *garbage]):
        if reply.feed(piece, now):
            break
    reply.close()
    reading = read(reply)
    assert reply.whole or reply.broken
    assert len(reading.times) == len(reading.tokens)


KEYS = st.sampled_from(["choices", "usage", "delta", "text", "error", "completion_tokens", "object", "message"])
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_any_json_in_an_event_is_read(value: object) -> None:
    reply, _ = decode([chunked([b"data: " + json.dumps(value).encode() + b"\n\n", DONE])])
    reading = read(reply)
    assert len(reading.times) == len(reading.tokens)


@pytest.mark.parametrize("count", ["-1", "1e400", "9223372036854775808", "NaN"])
def test_a_count_that_cannot_be_is_an_unreadable_event(count: str) -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": %b}}\n\n' % count.encode()
    reply, _ = decode([chunked([event(), usage, DONE])])
    assert read(reply).error.startswith("unreadable event: ")
    assert read(reply).tokens.tolist() == [1]


def test_a_reply_that_never_ends_its_head_is_broken() -> None:
    reply = Reply()
    assert not reply.feed(SSE_HEAD, 0)
    assert reply.feed(b"x" * 70_000, 1)
    assert read(reply).error == "the reply's head never ends"


def test_another_protocol_is_broken_at_once() -> None:
    reply = Reply()
    assert reply.feed(b"SSH-2.0-OpenSSH_9.2\r\n", 0)
    assert read(reply).error == "this is not HTTP/1"


def test_a_connection_lost_in_mid_reply_keeps_its_chunks_and_says_so() -> None:
    reply = Reply()
    reply.feed(chunked(STREAM[:2], end=b""), 5)
    reply.close()
    assert said(read(reply)) == ([1, 1], 2, "", "the connection closed in mid-reply")


def test_a_connection_lost_before_the_reply_says_so() -> None:
    reply = Reply()
    reply.close()
    assert read(reply).error == "the connection closed unanswered"


def test_a_stream_that_stops_without_a_word_is_an_error() -> None:
    reply, _ = decode([chunked([event(), event()])])
    assert said(read(reply)) == ([1, 1], 2, "", "the stream stopped with neither a finish reason nor [DONE]")


@pytest.mark.parametrize(
    "framing", [b"content-length: %d\r\n\r\n%b", b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
def test_a_refusal_keeps_its_status_and_the_servers_word(framing: bytes) -> None:
    body = b'{"error": {"message": "maximum context\\nlength", "code": 400}}'
    reply, ended = decode([b"HTTP/1.1 400 Bad Request\r\n" + framing % (len(body), body)])
    assert ended
    assert reply.status == 400
    assert reply.reusable
    assert read(reply).error == "HTTP 400: maximum context length"


def test_a_refusal_in_plain_text_is_kept_as_it_is() -> None:
    reply, _ = decode([b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 9\r\n\r\nupstream\n"])
    assert not reply.reusable
    assert read(reply).error == "HTTP 502: upstream"


def test_an_error_event_is_the_replys_error() -> None:
    failing = b'data: {"error": {"message": "EngineCore died", "code": 500}}\n\n'
    reply, _ = decode([chunked([event(), failing, DONE])])
    assert said(read(reply)) == ([1], 1, "", "EngineCore died")


def test_an_empty_reply_has_no_chunks() -> None:
    reply, _ = decode([chunked([event(None, count=0), DONE])])
    assert said(read(reply)) == ([], 0, "", UNFINISHED)


def test_a_chats_announcement_of_its_speaker_is_no_chunk() -> None:
    deltas = [{"role": "assistant", "content": ""}, {"content": "a"}, {"content": ""}, {"reasoning": "b"}]
    stream = [b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n" for delta in deltas]
    reply, _ = decode([chunked([stream[0], DONE])])
    assert said(read(reply)) == ([], 0, "", UNFINISHED)
    reply, _ = decode([chunked([*stream, DONE])])
    assert said(read(reply)) == ([1, 1, 1], 3, "", UNFINISHED)


def test_pings_are_no_events() -> None:
    reply, _ = decode([chunked([b": ping\n\n", event(), b"event: ping\n\n", DONE])])
    assert said(read(reply)) == ([1], 1, "", UNFINISHED)


def test_tokens_by_continuous_usage() -> None:
    assert tokens_of_chunks([True] * 3, [2, 3, 7], 7).tolist() == [2, 1, 4]


def test_tokens_one_a_chunk_where_the_counts_agree_or_none_is_given() -> None:
    assert tokens_of_chunks([True] * 3, [None] * 3, 3).tolist() == [1, 1, 1]
    assert tokens_of_chunks([True] * 3, [None] * 3, None).tolist() == [1, 1, 1]


def test_a_closing_chunk_without_text_brings_nothing_where_it_is_one_too_many() -> None:
    assert tokens_of_chunks([True, False, True, False], [None] * 4, 3).tolist() == [1, 1, 1, 0]


def test_merged_tokens_are_spread_evenly_and_the_first_chunk_has_one() -> None:
    assert tokens_of_chunks([True] * 4, [None] * 4, 10).tolist() == [3, 2, 3, 2]
    assert tokens_of_chunks([True] * 4, [None] * 4, 2).tolist() == [1, 0, 1, 0]


def test_chunks_ahead_of_any_text_brought_nothing_unless_there_is_no_text_at_all() -> None:
    assert tokens_of_chunks([False, True, True], [None] * 3, 3).tolist() == [0, 2, 1]
    assert tokens_of_chunks([False, True, False], [None] * 3, None).tolist() == [0, 1, 1]
    assert tokens_of_chunks([False] * 3, [None] * 3, 3).tolist() == [1, 1, 1]


def test_hidden_tokens_are_in_no_chunk() -> None:
    assert tokens_of_chunks([True] * 3, [None] * 3, 8, hidden=5).tolist() == [1, 1, 1]
    assert tokens_of_chunks([True] * 3, [6, 7, 8], 8, hidden=5).tolist() == [1, 1, 1]


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 60))
def test_the_sum_of_the_tokens_is_never_lost(texts: list[bool], total: int) -> None:
    tokens = tokens_of_chunks(texts, [None] * len(texts), total)
    assert tokens.sum() == total
    assert (tokens >= 0).all()


@given(st.lists(st.text() | st.none(), max_size=12), st.booleans(), st.data())
def test_events_that_differ_in_their_text_only_are_read_as_each_by_itself(
    texts: list[str | None], ascii_only: bool, data: st.DataObject
) -> None:
    def parts(*numbers: int) -> list[bytes]:
        events = [
            {"id": number, "choices": [{"text": text, "finish_reason": None}]}
            for number, text in zip(numbers, texts, strict=True)
        ]
        dumped = [json.dumps(event, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for event in events]
        return [chunk(b"data: " + each + b"\n\n") for each in dumped] + [chunk(DONE) + b"0\r\n\r\n"]

    alike, unlike = parts(*[7] * len(texts)), parts(*(number % 10 for number in range(len(texts))))
    together = data.draw(st.lists(st.integers(1, 3), min_size=len(alike), max_size=len(alike)))  # chunks a piece
    ends = np.minimum(np.cumsum(together), len(alike)).tolist()

    def reading(chunks: list[bytes]) -> Reading:
        pieces = [b"".join(chunks[begin:end]) for begin, end in zip([0, *ends], ends)]  # noqa: B905
        reply, _ = decode([chunked([], end=b""), *filter(None, pieces)])
        assert reply.whole
        return read(reply)

    assert said(reading(alike)) == said(reading(unlike))
    assert reading(alike).times.tolist() == reading(unlike).times.tolist()


def test_a_long_stream_is_read_alike_wherever_something_else_stands_in_it() -> None:
    parts = [event(f" {number % 40}") for number in range(600)]
    for place in (15, 16, 17, 271, 272, 273, 598):
        parts[place] = parts[place].replace(b'"text"', b'"more": 0, "text"')
    sizes = [3 if place in (20, 100, 300) else 1 for place in range(594)]  # chunks a piece
    starts = np.cumsum([0, *sizes])
    pieces = [b"".join(map(chunk, parts[start : start + size])) for start, size in zip(starts, sizes, strict=False)]
    reply, ended = decode([chunked([], end=b""), *pieces, chunk(DONE) + b"0\r\n\r\n"])
    assert ended
    assert said(read(reply)) == ([1] * 600, 600, "", UNFINISHED)
    assert read(reply).times.tolist() == np.repeat(np.arange(1, 595), sizes).tolist()


def test_a_plain_chunk_cut_in_two_among_whole_ones_arrives_with_the_end_of_its_event() -> None:
    whole = chunk(event())
    for cut in range(1, len(whole)):
        pieces = [whole, whole, whole[:cut], whole[cut:] + whole, whole, chunk(DONE) + b"0\r\n\r\n"]
        reply, ended = decode([chunked([], end=b""), *pieces])
        assert ended
        assert read(reply).times.tolist() == [1, 2, 3 if cut >= len(whole) - 2 else 4, 4, 5]
        assert read(reply).error == UNFINISHED


@pytest.mark.parametrize("broken", [b'"\xff"', b'"\\x"', b'"a"b"', b'"'])
def test_a_broken_text_among_whole_ones_is_found(broken: bytes) -> None:
    parts = [event(), event(), event("X").replace(b'"X"', broken), event(), DONE]
    for reply in (decode([chunked(parts)])[0], decode([chunked([], b""), *map(chunk, parts), b"0\r\n\r\n"])[0]):
        assert read(reply).error.startswith("unreadable event: ")
        assert read(reply).output_tokens == 3


def test_what_differs_behind_the_text_is_read_even_where_it_is_as_long() -> None:
    parts = [event(), event(), event(finish="ab"), DONE]
    assert len(parts[2]) == len(parts[1])
    reply, _ = decode([chunked([], b""), *map(chunk, parts), b"0\r\n\r\n"])
    assert said(read(reply)) == ([1, 1, 1], 3, "ab", "the server gave up: finish reason ab")


def test_chunks_that_tell_token_ids_are_read_alike_whether_skimmed_or_parsed():
    def event(place, ids, text='" w"', finish="null"):
        return f'{{"choices":[{{"index":0,"text":{text},"finish_reason":{finish},"token_ids":{ids}}}]}}'.encode()

    events = [event(place, [1000 + place]) for place in range(40)]
    events[20] = event(20, [7, 8])  # two tokens in one chunk
    events[30] = event(30, [9], text='""')  # half a character
    events.append(event(40, [3], finish='"length"'))
    usage = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":42}}'
    reply, at = Reply(), 0
    reply.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", at)
    for data in [*events, usage, b"[DONE]"]:
        at += 10
        body = b"data: " + data + b"\n\n"
        reply.feed(b"%x\r\n%b\r\n" % (len(body), body), at)
    reply.feed(b"0\r\n\r\n", at + 10)
    found = reading.read(reply, 42)
    assert found.error == ""
    assert found.output_tokens == found.tokens.sum() == 42
    assert found.times.tolist() == list(range(10, 420, 10))
