"""The bytes of a request. Pure; all requests are built before the clock starts."""

from __future__ import annotations

import json
from functools import lru_cache
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from vbench.loadgen.load import Endpoint

# A chat needs text. Common words are one token each in most vocabularies; the template adds a few tokens.
_COMMON = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name"
)
WORDS = _COMMON.split()


def path(endpoint: Endpoint) -> str:
    return "/v1/chat/completions" if endpoint.chat else "/v1/completions"


def head(endpoint: Endpoint) -> bytes:
    """The request's head up to the body's length: `head + length + blank line + body` is a request."""
    url = urlsplit(endpoint.base_url)
    lines = [
        f"POST {url.path.rstrip('/')}{path(endpoint)} HTTP/1.1",
        f"Host: {url.netloc.rpartition('@')[2]}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        *([f"Authorization: Bearer {endpoint.api_key}"] if endpoint.api_key else []),
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode()


def encode(ids: npt.NDArray[np.int32], chat: bool) -> bytes:
    """Token ids as a piece of a prompt's JSON; for a chat, as words of a JSON string."""
    if chat:
        return " ".join(WORDS[token % len(WORDS)] for token in ids.tolist()).encode()
    return json.dumps(ids.tolist(), separators=(",", ":"))[1:-1].encode()


def message(role: str, text: bytes) -> bytes:
    """A chat's message; `text` is escaped for JSON already."""
    return b'{"role":"%b","content":"%b"}' % (role.encode(), text)


@lru_cache(maxsize=65_536)
def frame(
    model: str,
    chat: bool,
    output_len: int,
    ignore_eos: bool,
    cache_salt: str | None = None,
    returns_ids: bool = False,
) -> tuple[bytes, bytes]:
    """A request's JSON before and after its prompt's ids or messages: greedy, streamed, with usage at the end.

    Usage with every chunk (`continuous_usage_stats`) would count the tokens of merged chunks, but we do not ask for it:
    it costs vLLM's front end some 3 % more CPU a token (benchmarks/counted_chunks.py), and where chunks merge the front
    end is the bottleneck. If a server sends it anyway (`--enable-force-include-usage`), it is used.

    `ignore_eos`, `cache_salt` and `return_token_ids` are vLLM's own: sent only if requested, because OpenAI refuses
    unknown fields.
    """
    prompt = "messages" if chat else "prompt"
    fields = {
        "model": model,
        prompt: [],
        "max_completion_tokens" if chat else "max_tokens": output_len,
        "temperature": 0,
        **({"ignore_eos": True} if ignore_eos else {}),
        **({"cache_salt": cache_salt} if cache_salt else {}),
        **({"return_token_ids": True} if returns_ids else {}),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    mark = f'"{prompt}":['
    before, _, after = json.dumps(fields, separators=(",", ":")).partition(mark)
    return (before + mark).encode(), after.encode()
