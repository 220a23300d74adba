"""The bytes of a request. Pure; all requests are built before the clock starts."""

from __future__ import annotations

import json
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


def body(
    model: str,
    chat: bool,
    prompt: npt.NDArray[np.int32],
    output_len: int,
    ignore_eos: bool,
    cache_salt: str | None = None,
) -> bytes:
    """The request's JSON: greedy, streamed, with usage at the end.

    Usage with every chunk (`continuous_usage_stats`) would count the tokens of merged chunks, but we do not ask for it:
    it costs vLLM's front end some 3 % more CPU a token (benchmarks/counted_chunks.py), and where chunks merge the front
    end is the bottleneck. If a server sends it anyway (`--enable-force-include-usage`), it is used.

    `ignore_eos` and `cache_salt` are vLLM's own: sent only if requested, because OpenAI refuses unknown fields.
    """
    ids = prompt.tolist()
    if chat:
        text = " ".join(WORDS[token % len(WORDS)] for token in ids)
        asked = {"messages": [{"role": "user", "content": text}]}
    else:
        asked = {"prompt": ids}
    fields = {
        "model": model,
        **asked,
        "max_completion_tokens" if chat else "max_tokens": output_len,
        "temperature": 0,
        **({"ignore_eos": True} if ignore_eos else {}),
        **({"cache_salt": cache_salt} if cache_salt else {}),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return json.dumps(fields, separators=(",", ":")).encode()
