"""Hits of a run against those that its load implies: from the parts of the prompts to shares, and the verdicts."""

import dataclasses

import numpy as np
import pytest
from builders import requests, run_config

from vbench.metrics.cached import CacheFacts, Hits, count_cached, find_hits, hit_metrics
from vbench.metrics.conversing import session_metrics, ttft_by_cached_share, ttft_by_turn
from vbench.metrics.prefix_cache import content_of
from vbench.metrics.validity import judge
from vbench.schema.structure import Structure

NOBODY = np.empty(0, np.int64)


def structured(rows, part_tokens, replies, carried, sent=None, **columns):
    """Requests of rows (session, turn, extended request or -1, own parts); a reply takes a second a token."""
    at = [3.0 * index for index in range(len(rows))] if sent is None else sent
    chunks = [[(start + 1 + token, 1) for token in range(count)] for start, count in zip(at, replies, strict=True)]
    sessions, turns, extends, own = zip(*rows, strict=True)
    structure = Structure(
        session=np.array(sessions),
        turn=np.array(turns),
        extends=np.array(extends),
        after=np.empty((0, 2), np.int64),
        wait_s=np.zeros(len(rows)),
        offsets=np.cumsum([0, *map(len, own)]),
        parts=np.array([part for parts in own for part in parts]),
    )
    tokens = np.array(part_tokens)
    lengths = structure.prompt_tokens(tokens, np.array(replies))
    made = requests(*chunks, sent=at, input_tokens=lengths, carried=np.array(carried), **columns)
    return made.with_structure(structure, tokens)


def two_turns(carried):
    """A prompt of 8 and a reply of 5 tokens, then a turn that carries both and adds 4."""
    return structured([(0, 0, -1, [0]), (0, 1, 0, [1])], [8, 4], [5, 1], [0, carried], sent=[0.0, 10.0])


def test_a_turn_hits_the_prompt_before_it_and_the_reply_as_far_as_it_came():
    facts = CacheFacts(block_size=4, gpu_blocks=(100,))
    as_it_came, filled = find_hits(two_turns(5), facts), find_hits(two_turns(0), facts)
    assert as_it_came.implied.tolist() == as_it_came.simulated.tolist() == [0, 12]  # 8 + 4 of the reply's 5
    assert filled.implied.tolist() == filled.simulated.tolist() == [0, 8]


def test_equal_parts_are_equal_tokens_wherever_they_stand():
    rows = [(0, 0, -1, [0, 1]), (1, 0, -1, [0, 2]), (2, 0, -1, [2, 0])]
    made = structured(rows, [8, 4, 8], [1, 1, 1], [0, 0, 0])
    found = content_of(made, 4)
    assert found.prompt_tokens.tolist() == [12, 16, 16]
    first, second, third = (set(each) for each in np.split(found.ids, found.offsets[1:-1]))
    assert len(first & second) == 2
    assert not (first | second) & third  # other blocks behind another beginning
    assert find_hits(made, CacheFacts(4)).implied.tolist() == [0, 8, 0]


def test_sub_agents_extend_one_turn_and_a_request_may_come_before_its_parent_s_neighbour():
    rows = [(0, 0, -1, [0]), (1, 0, -1, [3]), (0, 1, 0, [1]), (0, 2, 0, [2])]
    made = structured(rows, [8, 4, 4, 9], [4, 1, 1, 1], [0, 0, 4, 4])
    # 8 + 3 of the reply were computed: two full blocks; the third and fourth requests share what they extend.
    assert find_hits(made, CacheFacts(4, (100,))).simulated.tolist() == [0, 0, 8, 12]


def test_shares_are_of_all_prompt_tokens_and_losses_add_up():
    rows = [(0, 0, -1, [0, 1]), (1, 0, -1, [0, 2]), (2, 0, -1, [0, 3]), (3, 0, -1, [0, 4])]
    replica = np.array([0, 1, 0, 1])
    made = structured(rows, [8, 4, 4, 4, 4], [1, 1, 1, 1], [0] * 4, replica=replica)
    hits = find_hits(made, CacheFacts(4, (100, 100)))
    counted = {"server_prefix_cache_queries": 48.0, "server_prefix_cache_hits": 12.0}
    found = hit_metrics(made, hits, counted)
    assert found["prefix_hits_implied"] == 24 / 48
    assert found["prefix_hits_routed"] == 16 / 48
    assert found["prefix_hits_simulated"] == 16 / 48
    assert found["prefix_hits_measured"] == 12 / 48
    assert found["prefix_hits_lost_to_routing"] == pytest.approx(8 / 48)
    assert found["prefix_hits_lost_to_eviction"] == pytest.approx(4 / 48)
    assert found["cached_input_tokens"] == pytest.approx(12)
    assert found["computed_input_tokens"] == pytest.approx(36)
    assert found["input_throughput"] == pytest.approx(48 / 10)
    assert found["computed_input_throughput"] == pytest.approx(36 / 10)


def test_hits_are_a_share_of_what_was_sent_where_the_engine_counts_a_waiting_prompt_at_each_attempt():
    made = structured([(0, 0, -1, [0]), (1, 0, -1, [0])], [40], [1, 1], [0, 0])
    hits = find_hits(made, CacheFacts(4, (100,)))
    counted = {"server_prefix_cache_queries": 200.0, "server_prefix_cache_hits": 36.0, "server_prompt_tokens": 80.8}
    found = hit_metrics(made, hits, counted)
    assert found["prefix_hits_simulated"] == found["prefix_hits_measured"] == 36 / 80
    assert found["prefix_queries_repeated"] == pytest.approx(1.5)
    once = hit_metrics(made, hits, counted | {"server_prefix_cache_queries": 40.0, "server_prefix_cache_hits": 10.0})
    assert once["prefix_hits_measured"] == 10 / 40  # a prompt that was withdrawn as it waited was never looked up
    assert "prefix_queries_repeated" not in once


def test_hits_of_repeated_queries_make_no_prompt_tokens_that_were_never_sent():
    """Each of the two prompts was looked up three times, and the second one's hits were counted each time."""
    made = structured([(0, 0, -1, [0]), (1, 0, -1, [0])], [40], [1, 1], [0, 0])
    counted = {"server_prefix_cache_queries": 240.0, "server_prefix_cache_hits": 108.0, "server_prompt_tokens": 80.0}
    found = hit_metrics(made, find_hits(made, CacheFacts(4, (100,))), counted)
    assert found["prefix_hits_measured"] == found["prefix_hits_routed"] == 36 / 80  # was 108 / 80
    assert (found["cached_input_tokens"], found["computed_input_tokens"]) == (36, 44)  # was -28
    assert found["prefix_hits_lost_to_eviction"] == 0.0
    small = hit_metrics(made, Hits(np.array([0, 36]), np.array([0, 36]), np.array([0, 20])), counted)
    assert small["cached_input_tokens"] == pytest.approx(20)  # by the simulation: the counters only bound it
    assert small["prefix_hits_lost_to_eviction"] == pytest.approx(16 / 80)
    unknown = hit_metrics(made, find_hits(made, CacheFacts(4)), counted)
    assert unknown["cached_input_tokens"] == 36


def test_hits_behind_a_kv_connector_are_neither_computed_nor_evicted():
    made = two_turns(5)  # 12 of 25 tokens can hit
    counted = {"server_prefix_cache_queries": 25.0, "server_prefix_cache_hits": 4.0, "server_external_cache_hits": 8.0}
    found = hit_metrics(made, find_hits(made, CacheFacts(4)), counted)
    assert found["prefix_hits_measured"] == 4 / 25
    assert found["prefix_hits_external"] == 8 / 25
    assert found["cached_input_tokens"] == pytest.approx(12)
    assert found["prefix_hits_lost_to_eviction"] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("implied", "local", "external", "invalid"),
    [
        (0.0, 0, 100, set()),
        (0.0, 0, 101, {"prefix_cache_hits"}),  # a connector's cache outlives the session, and may not know salts
        (0.5, 3000, 2100, set()),
        (0.5, 3000, 2101, {"prefix_cache_hits"}),
    ],
)
def test_hits_behind_a_kv_connector_are_held_against_what_the_load_implies(implied, local, external, invalid):
    counted = {
        "server_prefix_cache_hits": local,
        "server_external_cache_hits": external,
        "prefix_hits_implied": implied,
    }
    assert codes(server_prefix_cache_queries=10_000.0, server_external_cache_queries=7_000.0, **counted)[0] == invalid
    if not local:  # prefix caching itself is switched off
        assert codes(server_external_cache_queries=10_000.0, **counted)[0] == invalid


@pytest.mark.parametrize("prompted", [{"server_prompt_tokens": 80.9}, {}])
def test_queries_of_other_users_are_not_taken_for_repeated_ones(prompted):
    made = structured([(0, 0, -1, [0]), (1, 0, -1, [0])], [40], [1, 1], [0, 0])
    counted = {"server_prefix_cache_queries": 200.0, "server_prefix_cache_hits": 36.0} | prompted
    found = hit_metrics(made, find_hits(made, CacheFacts(4, (100,))), counted)
    assert found["prefix_hits_measured"] == 36 / 200
    assert "prefix_queries_repeated" not in found


def test_the_cached_tokens_of_the_requests_that_count_leave_those_of_the_warm_up_out():
    hits, counts = Hits(np.array([4, 8, 12]), np.array([4, 8, 12]), None), np.array([False, True, True])
    assert count_cached(hits, counts, {"cached_input_tokens": 12.0}).tolist() == [4.0, 6.0]  # half of what there was
    assert count_cached(hits, counts, {}).tolist() == [8.0, 12.0]
    nothing = Hits(*[np.zeros(3, np.int64)] * 2, None)
    assert count_cached(nothing, counts, {"cached_input_tokens": 9.0}).tolist() == [0.0, 0.0]
    assert count_cached(None, counts, {}) is None


def test_a_load_without_shared_parts_has_no_such_metric():
    made = requests([(1.0, 1)])
    assert find_hits(made, CacheFacts()) is None
    assert hit_metrics(made, None, {"server_prefix_cache_queries": 8.0}) == {}


def codes(**found):
    judged = judge(requests(*([(1.0, 1), (1.1, 1)] for _ in range(320))), run_config().workload, found)
    return {each.code for each in judged.invalid}, {each.code for each in judged.warnings}


def measured(share, simulated=None, implied=0.5, routed=None):
    routed = implied if routed is None else routed
    found = {
        "server_prefix_cache_queries": 10_000.0,
        "server_prefix_cache_hits": 10_000.0 * share,
        "prefix_hits_measured": share,
        "prefix_hits_implied": implied,
        "prefix_hits_routed": routed,
        "prefix_hits_lost_to_routing": implied - routed,
        "prefix_hits_lost_to_eviction": routed - share,
    }
    return found | ({} if simulated is None else {"prefix_hits_simulated": simulated})


@pytest.mark.parametrize(
    ("found", "invalid", "warnings"),
    [
        (measured(0.5, 0.5), set(), set()),
        (measured(0.51, 0.5), set(), set()),
        (measured(0.52, 0.5), {"prefix_cache_hits"}, set()),  # no cache can have more than an infinite one
        (measured(0.52), {"prefix_cache_hits"}, set()),
        (measured(0.3, 0.3), set(), {"evicted_prefixes"}),
        (measured(0.3, 0.35), {"cache_mismatch"}, {"evicted_prefixes"}),
        (measured(0.35, 0.3), {"cache_mismatch"}, {"evicted_prefixes"}),
        (measured(0.3, 0.329), set(), {"evicted_prefixes"}),
        (measured(0.4, 0.29) | {"prefix_queries_repeated": 0.081}, set(), {"evicted_prefixes"}),
        (measured(0.4, 0.29) | {"prefix_queries_repeated": 0.079}, {"cache_mismatch"}, {"evicted_prefixes"}),
        (measured(0.3, 0.331) | {"prefix_queries_repeated": 2.0}, {"cache_mismatch"}, {"evicted_prefixes"}),
        (measured(0.3, 0.331), {"cache_mismatch"}, {"evicted_prefixes"}),
        ({"prefix_hits_lost_to_eviction": 0.01, "prefix_hits_lost_to_routing": 0.01}, set(), set()),
        ({"prefix_hits_lost_to_eviction": 0.0101}, set(), {"evicted_prefixes"}),
        ({"prefix_hits_lost_to_routing": 0.0101}, set(), {"scattered_prefixes"}),
        (measured(0.3), set(), {"evicted_prefixes"}),  # the size of the cache is not known
        (measured(0.3, 0.3, routed=0.3), set(), {"scattered_prefixes"}),
        (measured(0.0, 0.0, implied=0.0), set(), set()),
    ],
)
def test_hits_are_judged_by_what_the_load_implies(found, invalid, warnings):
    assert codes(**found) == (invalid, warnings)


def test_ttft_is_told_by_turn_without_the_first_request_of_a_session_in_mid_life():
    rows = [(0, 0, -1, [0]), (0, 1, 0, [1]), (1, 5, -1, [2]), (1, 6, 2, [3])]
    made = structured(rows, [8, 4, 90, 4], [1] * 4, [0, 1, 0, 1])
    found = ttft_by_turn(made)
    counts = {key: found[key] for key in found if key.startswith("mean_")}
    assert counts == {"mean_ttft_turn1_ms": 1000.0, "mean_ttft_turn2_3_ms": 1000.0, "mean_ttft_turn4_7_ms": 1000.0}
    assert ttft_by_turn(requests([(1.0, 1)])) == {}


def test_ttft_is_told_by_the_share_of_the_prompt_that_was_cached():
    made = requests(*([(at, 1)] for at in (4.0, 3.0, 2.0, 1.0)), input_tokens=np.full(4, 100))
    found = ttft_by_cached_share(made, np.array([0, 49, 50, 90]))
    means = {key: value for key, value in found.items() if key.startswith("mean_")}
    assert means == {
        "mean_ttft_cached0_ms": 4000.0,
        "mean_ttft_cached1_49_ms": 3000.0,
        "mean_ttft_cached50_89_ms": 2000.0,
        "mean_ttft_cached90_up_ms": 1000.0,
    }


def test_a_session_is_completed_if_all_of_it_was_sent_and_answered():
    rows = [(0, 0, -1, [0]), (0, 1, 0, [1]), (1, 3, -1, [0]), (2, 0, -1, [0]), (3, 0, -1, [0]), (3, 1, 4, [1])]
    error = np.array(["", "", "", "reset", "", ""])
    made = structured(rows, [8, 4], [1] * 6, [0] * 6, error=error)
    found = session_metrics(made, incomplete=np.array([3]))
    assert found["sessions"] == 4
    assert found["sessions_completed"] == 2  # the third failed, of the fourth a turn was not sent
    assert found["mean_session_ms"] == 4000.0  # of the first: the second began in mid-life
    assert found["session_throughput"] == pytest.approx(2 / 16)
    assert found["mean_active_sessions"] == pytest.approx((4 + 1 + 1 + 4) / 16)
    assert session_metrics(requests([(1.0, 1)]), NOBODY) == {}


def test_sessions_of_the_warm_up_are_counted_from_its_end_on_and_have_no_duration():
    """Sent every 3 s, answered within 1 s: one session of the warm-up, one across its end, one behind it."""
    rows = [(0, 0, -1, [0]), (0, 1, 0, [1]), (1, 0, -1, [0]), (1, 1, 2, [1]), (2, 0, -1, [0]), (2, 1, 4, [1])]
    made = structured(rows, [8, 4], [1] * 6, [0] * 6)
    found = session_metrics(made, NOBODY, since=7.0)
    assert (found["sessions"], found["sessions_completed"]) == (2, 2)
    assert found["session_throughput"] == pytest.approx(2 / 7)  # from 9 to 16 s
    assert found["mean_active_sessions"] == pytest.approx((1 + 4) / 7)
    assert found["mean_session_ms"] == 4000.0
    assert found["std_session_ms"] == 0.0
    assert session_metrics(made, NOBODY, since=99.0) == {"sessions": 0.0, "sessions_completed": 0.0}


def test_a_session_that_the_end_of_the_load_cut_is_in_progress_until_then():
    """Two users all the time, of whom the first still thinks, 6 s after its reply, as the load ends."""
    rows = [(0, 0, -1, [0]), (1, 0, -1, [0]), (1, 1, 1, [1]), (1, 2, 2, [1])]
    made = structured(rows, [8, 4], [1] * 4, [0] * 4, sent=[0.0, 0.0, 3.0, 6.0])
    assert session_metrics(made, NOBODY)["mean_active_sessions"] == pytest.approx((1 + 7) / 7)
    cut = session_metrics(made, incomplete=np.array([0, 5]))  # the sixth never began
    assert cut["mean_active_sessions"] == pytest.approx(2.0)
    assert (cut["sessions"], cut["sessions_completed"]) == (2, 1)


def test_turns_are_told_in_groups_that_double():
    made = structured([(0, turn, turn - 1, [turn]) for turn in range(17)], [8] * 17, [1] * 17, [0] * 17)
    slower = dataclasses.replace(made, chunk_times=made.chunk_times + made.turn)  # the n-th turn takes n seconds
    found = {key: value / 1e3 for key, value in ttft_by_turn(slower).items() if key.startswith("mean_")}
    assert found == {
        "mean_ttft_turn1_ms": 1.0,
        "mean_ttft_turn2_3_ms": 2.5,
        "mean_ttft_turn4_7_ms": 5.5,
        "mean_ttft_turn8_15_ms": 11.5,
        "mean_ttft_turn16_up_ms": 16.5,
    }


def test_recorded_agents_are_sessions_though_no_prompt_extends_another():
    """Nor do a sub-agent's first prompt and a summary: only the first request of a session can be in mid-life."""
    made = structured([(0, 0, -1, [0]), (0, 1, -1, [1]), (1, 4, -1, [2]), (1, 5, -1, [3])], [8] * 4, [1] * 4, [0] * 4)
    assert session_metrics(made, NOBODY) == ttft_by_turn(made) == {}  # a trace that names chats, sent at its own times
    agents = dataclasses.replace(made, wait_s=np.array([0.0, 2.0, 0.0, 0.0]))
    assert session_metrics(agents, NOBODY)["sessions_completed"] == 2
    assert {key for key in ttft_by_turn(agents) if "median" in key} == {
        "median_ttft_turn1_ms", "median_ttft_turn2_3_ms", "median_ttft_turn4_7_ms"
    }  # fmt: skip
    warm = ttft_by_turn(agents, counted=np.array([False, True, False, True]))
    assert {key for key in warm if "median" in key} == {"median_ttft_turn2_3_ms", "median_ttft_turn4_7_ms"}


def test_a_session_begins_in_mid_life_from_its_second_turn_on():
    begins_with = {turn: structured([(0, turn, -1, [0]), (0, 20, 0, [1])], [8, 4], [1, 1], [0, 1]) for turn in (0, 1)}
    assert "mean_ttft_turn1_ms" in ttft_by_turn(begins_with[0])
    assert "mean_ttft_turn2_3_ms" not in ttft_by_turn(begins_with[1])


def test_a_replica_whose_cache_is_not_told_leaves_the_simulation_out():
    made = structured([(0, 0, -1, [0]), (0, 1, 0, [1])], [8, 4], [1, 1], [0, 1], replica=np.array([0, 1]))
    assert find_hits(made, CacheFacts(4, (100, 100))).simulated is not None
    assert find_hits(made, CacheFacts(4, (100,))).simulated is None


def test_several_engines_are_told_by_the_one_that_hit_least_and_most():
    made = two_turns(5)
    hits = find_hits(made, CacheFacts(4, (100,)))
    found = hit_metrics(made, hits, {}, [0.2, 0.6])
    assert (found["prefix_hits_least_engine"], found["prefix_hits_most_engine"]) == (0.2, 0.6)
    assert "prefix_hits_least_engine" not in hit_metrics(made, hits, {}, [0.2])
