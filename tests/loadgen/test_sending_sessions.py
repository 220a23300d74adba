"""Sessions against the fake server: what later prompts carry, when they are sent, and which replica gets them."""

from __future__ import annotations

import dataclasses
import re
import urllib.request

import numpy as np
import pytest
from builders import run_config

from tests.fake_vllm import running
from vbench.loadgen import Endpoint, Load, Workers
from vbench.schema import Routing
from vbench.schema.structure import singles
from vbench.workload.prompts import prompts
from vbench.workload.sharing import send_times

TURNS = {"turns": 4, "first_len": 40, "next_len": [8, 24], "think_time_s": 0.1, "system_len": 32}


@pytest.fixture(scope="module")
def workers():
    with Workers(2) as started:
        yield started


@pytest.fixture(scope="module")
def server():
    with running("--itl-s", "0.002") as url:
        yield url


def load(*urls, chat=False, processes=2, routing=None, timeout_s=30.0, **values):
    """Six users' conversations, with a cache of their own."""
    given = {"lengths": "conversations", "num_prompts": 40, "sessions": 6, "output_len": 20, "conversations": TURNS}
    workload = run_config(workload=given | values).workload
    asked = prompts(workload, 32000, "", 4096)
    return Load(
        endpoints=tuple(Endpoint(url, f"fake-{index}", chat=chat) for index, url in enumerate(urls)),
        prompts=asked.ids,
        output_len=asked.output_len,
        scheduled=send_times(workload),
        max_concurrency=None,
        ignore_eos=True,
        timeout_s=timeout_s,
        processes=processes,
        cache_salt=f"{values}{processes}{routing}",
        structure=asked.structure,
        sessions=workload.sessions,
        routing=routing,
        returns_ids=True,
    )


def test_sessions_need_as_many_streams_as_may_be_in_flight_and_not_as_they_have_turns():
    alone = load("http://server", num_prompts=400)
    assert (len(alone), alone.most_in_flight) == (400, 6)
    assert dataclasses.replace(alone, max_concurrency=4).most_in_flight == 4
    two_at_a_time = np.concatenate([alone.structure.after, alone.structure.after[:1]])
    forked = dataclasses.replace(alone, structure=dataclasses.replace(alone.structure, after=two_at_a_time))
    assert forked.most_in_flight == 12


def counter(url, name):
    with urllib.request.urlopen(f"{url}/metrics") as reply:
        return float(re.search(rf"^vllm:{name}{{.*}} (.*)$", reply.read().decode(), re.MULTILINE)[1])


def parents(requests):
    """Of each request that extends another, its place and that of the other."""
    places = {pair: place for place, pair in enumerate(zip(requests.session, requests.turn, strict=True))}
    return [
        (place, places[requests.session[place], requests.extends[place]])
        for place in np.flatnonzero(requests.extends >= 0).tolist()
    ]


def test_a_turn_carries_the_turns_before_it_with_their_replies_as_they_came(workers, server):
    before = counter(server, "prefix_cache_hits_total")
    requests, _ = workers.run(load(server))
    assert requests.error.tolist() == [""] * 40
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist()
    implied = 0
    for turn, earlier in parents(requests):
        assert requests.carried[turn] == requests.output_tokens[earlier] == 20
        history = requests.input_tokens[earlier] + 20
        assert requests.input_tokens[turn] > history
        implied += (history - 1) // 16 * 16  # the reply's last token is not in the cache
    hits = counter(server, "prefix_cache_hits_total") - before
    firsts = requests.extends < 0
    shared = 32 * (firsts.sum() - 1)  # all first prompts but one hit the system prompt
    assert implied <= hits <= implied + shared


@pytest.mark.alone  # milliseconds
def test_a_turn_is_due_its_think_time_after_the_reply_and_sent_within_milliseconds(workers, server):
    requests, _ = workers.run(load(server))
    pairs = parents(requests)
    assert len(pairs) > 20
    for turn, earlier in pairs:
        assert requests.scheduled[turn] == pytest.approx(requests.finished[earlier] + 0.1, abs=1e-6)
        assert requests.sent[turn] >= requests.scheduled[turn]
    assert np.median(requests.sent - requests.scheduled) < 0.005


def test_a_session_that_ends_is_replaced_so_that_no_more_are_there_than_asked(workers, server):
    requests, _ = workers.run(load(server))
    numbers = np.unique(requests.session)
    assert len(numbers) > 6
    begun = np.array([requests.scheduled[requests.session == number].min() for number in numbers])
    ended = np.array([requests.finished[requests.session == number].max() for number in numbers])
    there = [(begun <= instant).sum() - (ended < instant).sum() for instant in begun]
    assert max(there) <= 6
    assert requests.turn[requests.extends < 0].max() > 0  # some began in mid-life


def test_a_session_that_begins_with_requests_side_by_side_sends_none_of_them_before_its_turn(workers, server):
    n, each = 24, 3  # eight sessions: two requests side by side, then one that waits for both
    structure = dataclasses.replace(
        singles([[index] for index in range(n)]),
        session=np.arange(n) // each,
        turn=np.arange(n) % each,
        after=np.array([(first + place, first + 2) for first in range(0, n, each) for place in (0, 1)]),
        wait_s=np.full(n, 0.05),
    )
    given = load(server, processes=1, num_prompts=n)
    ids = [np.full(8, 300 + index, np.int32) for index in range(n)]
    asked = dataclasses.replace(given, prompts=ids, structure=structure, scheduled=np.zeros(n), sessions=2)
    assert asked.most_in_flight == 4
    requests, _ = workers.run(asked)
    assert requests.error.tolist() == [""] * n
    begun = [requests.scheduled[requests.session == number][:2] for number in range(n // each)]
    ended = np.sort([requests.finished[requests.session == number].max() for number in range(n // each)])
    assert [pair.tolist() for pair in begun[:2]] == [[0.0, 0.0]] * 2
    for number, pair in enumerate(begun[2:]):  # as the session that it replaces has ended, and its wait has passed
        assert pair == pytest.approx(ended[number] + 0.05, abs=1e-6)


def test_messages_of_a_chat_carry_the_replies_as_text(workers, server):
    requests, _ = workers.run(load(server, chat=True))
    assert requests.error.tolist() == [""] * 40
    for turn, earlier in parents(requests):
        assert requests.usage_input_tokens[turn] > requests.usage_input_tokens[earlier] + 20


@pytest.mark.parametrize("routing", [Routing.sticky, Routing.round_robin, Routing.prefix_hash])
def test_sessions_keep_to_their_replica_or_take_turns(workers, server, routing):
    with running("--itl-s", "0.002") as other:
        requests, _ = workers.run(load(server, other, routing=routing, processes=1, num_prompts=32))
    of_session = [len(set(requests.replica[requests.session == number])) for number in np.unique(requests.session)]
    if routing is Routing.sticky:
        assert set(of_session) == {1}
        assert set(requests.replica) == {0, 1}
    elif routing is Routing.prefix_hash:
        assert len(set(requests.replica)) == 1  # all begin with the one system prompt
    else:
        assert max(of_session) == 2
        assert np.bincount(requests.replica).tolist() == [16, 16]


def test_an_empty_reply_is_carried_as_nothing(workers):
    with running("--itl-s", "0.002", "--fail", "empty_reply") as url:
        requests, _ = workers.run(load(url))
    assert requests.status.tolist() == [200] * 40
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist()
    assert requests.carried.tolist() == [0] * 40


def test_a_server_that_tells_no_ids_gets_other_tokens_of_the_replies_length(workers, server):
    requests, _ = workers.run(dataclasses.replace(load(server), returns_ids=False))
    assert requests.error.tolist() == [""] * 40
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist()
    assert requests.carried.tolist() == [0] * 40


def test_the_turns_after_a_failed_one_are_not_sent(workers):
    with running("--itl-s", "0.002", "--fail", "http_500") as url:
        requests, _ = workers.run(load(url))
    sent = ~np.isnan(requests.sent)
    assert (requests.extends[sent] < 0).all()
    assert set(requests.error[~sent]) == {"an earlier request of the session failed"}
    assert sent.sum() == len(np.unique(requests.session))
