"""A server whose streams are odd and whose truth is known: `http://…/SCENARIO` is a base_url.

Each scenario says what a reply to a request of n tokens consists of: parts of its body, and seconds to wait in between.
Unless its name says otherwise the first token comes after TTFT_S, each other ITL_S later, and n are counted.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

TTFT_S, ITL_S = 0.1, 0.03
DONE = b"data: [DONE]\n\n"
Part = float | bytes


@dataclass(frozen=True)
class Reply:
    parts: list[Part]
    status: str = "200 OK"
    head: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    chunked: bool = True  # else until the connection closes
    cut: bool = False  # close the connection in mid-reply


SCENARIOS: dict[str, Callable[[int], Reply]] = {}


def scenario(script: Callable[[int], Reply | list[Part]]) -> None:
    def reply(n: int) -> Reply:
        made = script(n)
        return made if isinstance(made, Reply) else Reply(made)

    SCENARIOS[script.__name__] = reply


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def chat(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def word(finish: str | None = None) -> dict[str, Any]:
    return chat(finish, content=" w")


def usage(count: int | None, **more: Any) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": 8, "completion_tokens": count, **more}}


def counted(count: int | None, **more: Any) -> bytes:
    return event({"choices": [], **usage(count, **more)})


def words(n: int, finish: str | None = "length", **more: Any) -> list[Part]:
    """n tokens, an event each; the last says the finish reason."""
    parts: list[Part] = []
    for i in range(n):
        parts += [event(word(finish if i == n - 1 else None) | more), ITL_S]
    return parts


def merged(n: int, tokens: int = 4, finish: str = "length") -> list[Part]:
    starts = range(0, n, tokens)
    sizes = [min(tokens, n - start) for start in starts]
    parts: list[Part] = []
    for i, size in enumerate(sizes):
        parts += [event(chat(finish if i == len(sizes) - 1 else None, content=" w" * size)), ITL_S * size]
    return parts


def whole(n: int, *first: Part, last: bytes = b"") -> list[Part]:
    """An ordinary reply with something ahead of its first token."""
    return [*first, TTFT_S, *words(n), last or counted(n), DONE]


# ---- right, if a little odd: to be measured as they are


@scenario
def plain(n):
    return whole(n)


@scenario
def role_early(n):
    return whole(n, event(chat(role="assistant", content="")))


@scenario
def empty_early(n):
    return whole(n, event(chat(content="")))


@scenario
def empty_early_with_unknown_fields(n):
    return whole(n, event(chat(content="", provider="x", annotations=[])))


@scenario
def several_empty_early(n):
    return whole(n, event(chat(content="")), event(chat(content=None)), event(chat()))


@scenario
def empty_early_merged(n):
    return [event(chat(content="")), TTFT_S, *merged(n), counted(n), DONE]


@scenario
def empty_early_and_two_merged_at_the_end(n):
    tail = [event(chat("length", content=" w w")), 0.0, counted(n), DONE]
    return [event(chat(content="")), TTFT_S, *words(n - 2, None), ITL_S, *tail]


@scenario
def empty_at_the_end(n):
    return [TTFT_S, *words(n, None), event(chat("length", content="")), counted(n), DONE]


@scenario
def usage_every(n):
    parts: list[Part] = [TTFT_S]
    for i in range(n):
        parts += [event(word("length" if i == n - 1 else None) | usage(i + 1)), ITL_S]
    return [*parts, counted(n), DONE]


@scenario
def usage_twice(n):
    return whole(n, last=counted(n) + counted(n))


@scenario
def usage_null_every(n):
    return [TTFT_S, *words(n, **usage(None)), counted(n), DONE]


@scenario
def usage_missing_at_max_tokens(n):
    return [TTFT_S, *words(n), DONE]


@scenario
def null_event(n):
    return [TTFT_S, *words(n - 1, None), event(None), *words(1), counted(n), DONE]


@scenario
def pings(n):
    return whole(
        n, b": ping\n\n", b"event: ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b"id: 7\nretry: 5\n\n"
    )


@scenario
def bom(n):
    return [TTFT_S, b"\xef\xbb\xbf", *words(n), counted(n), DONE]


@scenario
def carriage_returns(n):
    return [part if isinstance(part, float) else part.replace(b"\n", b"\r\n") for part in whole(n)]


@scenario
def events_cut_anywhere(n):
    parts = []
    for part in whole(n):
        parts += [part] if isinstance(part, float) else [part[:9], part[9:-1], part[-1:]]
    return parts


@scenario
def until_the_connection_closes(n):
    return Reply(whole(n), chunked=False)


@scenario
def no_done(n):
    return whole(n)[:-1]


@scenario
def reasoning_streamed(n):
    thoughts = [part for _ in range(n // 2) for part in (event(chat(reasoning_content="t")), ITL_S)]
    details = {"completion_tokens_details": {"reasoning_tokens": n // 2}}
    return [TTFT_S, *thoughts, *words(n - n // 2), counted(n, **details), DONE]


@scenario
def reasoning_as_text(n):
    return [TTFT_S, *words(n), counted(n, completion_tokens_details={"reasoning_tokens": n // 2}), DONE]


@scenario
def reasoning_hidden(n):
    hidden = n // 2
    details = {"completion_tokens_details": {"reasoning_tokens": hidden}}
    return [TTFT_S + hidden * ITL_S, *words(n - hidden), counted(n, **details), DONE]


# ---- no measurement


@scenario
def abort_empty(n):
    return [TTFT_S, event(chat("abort", content="")), counted(0), DONE]


@scenario
def stop_empty(n):
    return [TTFT_S, event(chat("stop", content="")), counted(0), DONE]


@scenario
def aborted(n):
    return [TTFT_S, *words(n // 2, "abort"), counted(n // 2), DONE]


@scenario
def finish_error(n):
    return [TTFT_S, *words(n, "error"), counted(n), DONE]


@scenario
def error_midstream(n):
    return [TTFT_S, *words(n // 2, None), event({"error": {"message": "upstream timed out", "code": 504}}), DONE]


@scenario
def error_event_type(n):
    return [TTFT_S, *words(n // 2, None), b"event: error\n" + event({"message": "engine was lost"}), DONE]


@scenario
def error_event_in_words(n):
    return [TTFT_S, *words(n // 2), b"event: error\ndata: engine was lost\n\n", counted(n // 2), DONE]


@scenario
def error_without_its_key(n):
    return [TTFT_S, *words(n // 2), event({"message": "engine was lost", "code": 500}), counted(n // 2), DONE]


@scenario
def error_200_json(n):
    return Reply([event({"error": {"message": "model overloaded"}})[6:]], head={"Content-Type": "application/json"})


@scenario
def a_page(n):
    return Reply([b"<html>Sign in</html>"], head={"Content-Type": "text/html"})


@scenario
def compressed(n):
    return Reply([b"\x1f\x8b\x08\x00..."], head={"Content-Encoding": "gzip"})


@scenario
def moved(n):
    return Reply([], status="307 Temporary Redirect", head={"Location": "https://elsewhere/v1"})


@scenario
def loading(n):
    error = event({"error": {"message": "Loading model"}})[6:]
    return Reply([error], status="503 Service Unavailable", head={"Retry-After": "2"})


@scenario
def early_close(n):
    return Reply([TTFT_S, *words(n // 2, None)], cut=True)


@scenario
def stops_in_mid_stream(n):
    return [TTFT_S, *words(n // 2, None)]


@scenario
def done_without_a_finish_reason(n):
    return [TTFT_S, *words(n // 2, None), counted(n // 2), DONE]


@scenario
def usage_missing_and_merged(n):
    return [TTFT_S, *merged(n), DONE]


@scenario
def usage_now_and_then(n):
    """The last count comes with the second of three events: what the third brings is in none."""
    parts = merged(n)
    parts[2] = event(chat(content=" w" * 4) | usage(8))
    return [TTFT_S, *parts, DONE]


@scenario
def usage_null_at_the_end(n):
    return [TTFT_S, *merged(n, finish="stop"), counted(None), DONE]


@scenario
def usage_of_each_chunk(n):
    return [TTFT_S, *words(n, **usage(1)), DONE]


@scenario
def usage_of_nothing(n):
    return whole(n, last=counted(0))


@scenario
def usage_tenfold(n):
    return whole(n, last=counted(10 * n))


@scenario
def coalesced(n):
    return [TTFT_S + n * ITL_S, b"".join(part for part in whole(n) if isinstance(part, bytes))]


@scenario
def coalesced_by_three(n):
    parts: list[Part] = [TTFT_S]
    for start in range(0, n, 3):
        parts += [b"".join(words(min(3, n - start), "length" if start + 3 >= n else None)[::2]), 3 * ITL_S]
    return [*parts, counted(n), DONE]


@scenario
def one_event(n):
    return [TTFT_S + n * ITL_S, event(chat("length", content=" w" * n)), counted(n), DONE]


@scenario
def one_event_behind_an_empty_one(n):
    return [event(chat(content="")), TTFT_S + n * ITL_S, event(chat("length", content=" w" * n)), counted(n), DONE]


@scenario
def burst_at_the_end(n):
    return [TTFT_S + n * ITL_S, *(part for part in whole(n) if isinstance(part, bytes))]


# ---- the server


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Serves all scenarios from threads of this process; gives the URL without a path."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        yield "http://127.0.0.1:{1}".format(*listening.getsockname())
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            threading.Thread(target=_serve, args=(listening.accept()[0],), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(65536):
            received += data
            head, blank, body = received.partition(b"\r\n\r\n")
            length = int((re.search(rb"content-length: (\d+)", head.lower()) or [0, 0])[1])
            if not blank or len(body) < length:
                continue
            received = b""
            name = head.split()[1].decode().split("/")[1]
            reply = SCENARIOS[name](json.loads(body)["max_completion_tokens"])
            _send(connection, reply)
            if reply.cut or not reply.chunked:
                return


def _send(connection: socket.socket, reply: Reply) -> None:
    fields = reply.head | ({"Transfer-Encoding": "chunked"} if reply.chunked else {"Connection": "close"})
    lines = [f"HTTP/1.1 {reply.status}", *(f"{name}: {value}" for name, value in fields.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    due = time.perf_counter()
    for part in reply.parts:
        if isinstance(part, bytes):
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), part) if reply.chunked else part)
        else:
            due += part
            time.sleep(max(due - time.perf_counter(), 0.0))
    if reply.chunked and not reply.cut:
        connection.sendall(b"0\r\n\r\n")
