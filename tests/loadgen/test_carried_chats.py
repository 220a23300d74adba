"""A chat's next prompt carries what the model said, not what it thought: its tokens are counted so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests import odd_server
from vbench.loadgen import Endpoint, Load
from vbench.loadgen.bodies import Assembled
from vbench.loadgen.wire import Reply
from vbench.schema.structure import singles

OWN, N = 4, 10


def thoughts(n, *keys):
    return [odd_server.event(odd_server.chat(**dict.fromkeys(keys, "t")))] * n


MORE = {
    "no_reasoning": odd_server.whole(N),
    "reasoning_under_two_keys": [
        *thoughts(N // 2, "reasoning", "reasoning_content"),
        *odd_server.words(N // 2),
        odd_server.counted(N),
    ],
    "nothing_but_reasoning": [*thoughts(N, "reasoning"), odd_server.counted(N)],
}


def received(name):
    reply = Reply()
    reply.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 1)
    for part in MORE.get(name) or odd_server.SCENARIOS[name](N).parts:
        if isinstance(part, bytes):
            reply.feed(b"%x\r\n%b\r\n" % (len(part), part), 2)
    reply.feed(b"0\r\n\r\n", 3)
    assert reply.whole
    return reply


@pytest.mark.parametrize(
    ("name", "kept", "as_it_came"),
    [
        ("no_reasoning", N, N),
        ("reasoning_streamed", N // 2, 0),
        ("reasoning_under_two_keys", N // 2, 0),
        ("nothing_but_reasoning", 0, 0),
        ("reasoning_hidden", N // 2, 0),
        ("reasoning_as_text", N, N),
    ],
)
def test_reasoning_is_in_no_later_prompt(name, kept, as_it_came):
    structure = dataclasses.replace(
        singles([[0], [1]]),
        session=np.zeros(2, np.int64),
        turn=np.arange(2),
        extends=np.array([-1, 0]),
        after=np.array([[0, 1]]),
    )
    endpoint = Endpoint("http://host", "m", chat=True)
    load = Load(
        endpoints=(endpoint,),
        prompts=[np.arange(8, dtype=np.int32), np.arange(OWN, dtype=np.int32)],
        output_len=np.full(2, N),
        scheduled=np.zeros(2),
        max_concurrency=None,
        ignore_eos=False,
        timeout_s=1.0,
        structure=structure,
    )
    bodies = Assembled(load, endpoint, structure)
    bodies.build(0, "m")
    bodies.keep_reply(0, received(name))
    assert b'"role":"assistant","content":"%b"}' % (b" w" * kept) in bodies.build(1, "m")
    assert bodies.input_tokens.tolist() == [8, 8 + kept + OWN]
    assert bodies.carried.tolist() == [0, as_it_came]
