"""Loads whose prompts share parts: what hangs together in them, by their numbers."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.schema import Order
from vbench.schema.errors import Refused
from vbench.workload.draws import distribution
from vbench.workload.prefix import group_order
from vbench.workload.prompts import lengths, prompts, redraw
from vbench.workload.rows import mid_life
from vbench.workload.sharing import find_script, waits_s

RNG = np.random.default_rng(1)
TALKS = {"lengths": "conversations", "num_prompts": 400, "sessions": 50, "output_len": 8}
SHORT = {"turns": 10, "first_len": 20, "next_len": 4, "think_time_s": "exponential:2"}
WORK = {
    "lengths": "agents", "num_prompts": 300, "sessions": 4, "output_len": 10,
    "agents": {"rounds": [4, 12], "system_len": 64, "task_len": 16, "result_len": 8, "tool_time_s": 0.5,
               "subagent_share": 0.5, "subagents": 2, "subagent_rounds": 3, "compact_at": 150, "compact_len": 20},
}  # fmt: skip


def workload(**values):
    return run_config(workload=values).workload


def ids_of(asked, index):
    return np.concatenate([asked.ids[part] for part in asked.structure.own_parts(index)])


@pytest.mark.parametrize(("value", "mean", "most"), [
    (7, 7, 7), ([4, 16], 10, 16), ("exponential:9", 9, None), ("exponential:9:12", None, 12),
    ("lognormal:50:80", 80, None), ("lognormal:50:80:100", None, 100),
])  # fmt: skip
def test_drawn_counts_have_the_mean_that_was_asked_and_stay_within_the_most(value, mean, most):
    drawn = distribution(value, "prefix.suffix_len", 1).counts(20_000, np.random.default_rng(3))
    assert drawn.min() >= 1
    assert mean is None or drawn.mean() == pytest.approx(mean, rel=0.04)
    assert most is None or drawn.max() == most


@pytest.mark.parametrize("value", [
    "exponential", "exponential:0", "lognormal:9:8", "normal:3:4", [5, 3], [1], 0, True, None, "exponential:5:nan",
])  # fmt: skip
def test_what_describes_no_length_is_refused_by_its_key(value):
    with pytest.raises(Refused, match=r"workload.prefix.suffix_len=.*: must be a number, \[least, most\]"):
        distribution(value, "prefix.suffix_len", 1)


def test_prompts_of_a_group_begin_alike_and_no_others_do():
    asked = prompts(workload(lengths="prefix", num_prompts=12, prefix={"groups": 3, "prefix_len": 40}), 32000, "", 2000)
    groups = [asked.structure.own_parts(index)[0] for index in range(12)]
    assert np.bincount(groups).tolist() == [4, 4, 4]
    for index in range(12):
        for other in range(index):
            alike = (ids_of(asked, index)[:40] == ids_of(asked, other)[:40]).mean()
            assert alike == 1 if groups[index] == groups[other] else alike < 0.2
    assert lengths(workload(lengths="prefix", num_prompts=12, prefix={"suffix_len": 9}))[:, 0].tolist() == [1033] * 12


def test_groups_are_sent_in_the_order_asked():
    assert group_order(6, 3, Order.round_robin, RNG).tolist() == [0, 1, 2, 0, 1, 2]
    assert group_order(6, 3, Order.grouped, RNG).tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(group_order(6, 3, Order.shuffled, RNG).tolist()) == [0, 0, 1, 1, 2, 2]


def test_a_seed_reproduces_a_load_whichever_replica_gets_it_and_another_seed_does_not():
    first = prompts(workload(**TALKS, conversations=SHORT, seed=5), 32000, "", 2000)
    again = prompts(workload(**TALKS, conversations=SHORT, seed=5, routing="sticky"), 32000, "", 2000)
    other = prompts(workload(**TALKS, conversations=SHORT, seed=6), 32000, "", 2000)
    assert all((one == two).all() for one, two in zip(first.ids, again.ids, strict=True))
    assert not np.array_equal(ids_of(first, 0)[:16], ids_of(other, 0)[:16])


def test_a_nonce_changes_every_token_and_keeps_what_is_shared():
    asked = prompts(workload(lengths="prefix", num_prompts=8, prefix={"groups": 2, "prefix_len": 40}), 32000, "", 2000)
    new = redraw(asked, 32000, "another run")
    assert (ids_of(asked, 0)[:40] != ids_of(new, 0)[:40]).mean() > 0.9
    assert new.structure is asked.structure


def test_users_begin_in_mid_life_so_that_turns_are_as_frequent_at_the_start_as_later():
    made = find_script(workload(**{**TALKS, "num_prompts": 4000, "sessions": 400}, conversations=SHORT))
    first = made.structure.extends[:] < 0
    begun = first & (made.structure.session < 400)
    assert np.mean(made.structure.turn[begun]) == pytest.approx(4.5, abs=0.5)  # of 10 turns, 0 to 9
    assert np.mean(made.scheduled[begun]) == pytest.approx(2, rel=0.2)  # what is left of an exponential wait
    assert (made.structure.turn[first & ~begun] == 0).all()


def test_a_session_of_nine_turns_is_met_nine_times_as_often_as_one_of_a_single_turn():
    rng, turns = np.random.default_rng(0), SimpleNamespace(counts=lambda n, _: np.resize([1, 9], n))
    met = [mid_life(turns, rng) for _ in range(400)]
    assert np.mean([whole for _, whole in met]) == pytest.approx((1 * 1 + 9 * 9) / 10, abs=0.5)
    assert {age for age, whole in met if whole == 9} == set(range(9))
    assert {age for age, whole in met if whole == 1} == {0}


def test_the_context_grows_by_reply_and_message():
    made = find_script(workload(**TALKS, conversations=SHORT))
    sizes, structure = made.lengths[:, 0], made.structure
    later = np.flatnonzero(structure.extends >= 0)
    assert (sizes[later] - sizes[structure.extends[later]] == 8 + 4).all()
    assert sizes.max() == 20 + 9 * (8 + 4)


def test_the_time_that_a_load_takes_counts_its_think_times():
    load = workload(**{**TALKS, "num_prompts": 40, "sessions": 2}, conversations={**SHORT, "think_time_s": 3})
    assert 40 * 3 / 2 <= waits_s(load) <= 40 * 3 / 2 + 10 * 3
    assert waits_s(workload(lengths="prefix")) == waits_s(workload()) == 0


def test_sessions_arrive_at_their_rate():
    load = {key: value for key, value in TALKS.items() if key != "sessions"}
    made = find_script(workload(**load, session_rate=4.0, conversations=SHORT))
    begun = made.scheduled[made.structure.extends < 0]
    assert (len(begun) - 1) / begun.max() == pytest.approx(4.0)
    assert (made.structure.turn[made.structure.extends < 0] == 0).all()


def test_a_round_waits_for_all_the_sub_agents_of_the_round_before():
    structure = find_script(workload(**WORK)).structure
    waits = np.bincount(structure.after[:, 1], minlength=len(structure))
    assert set(waits) == {0, 1, 2}
    assert (structure.session[structure.after[:, 0]] == structure.session[structure.after[:, 1]]).all()
    assert (structure.after[:, 0] < structure.after[:, 1]).all()
    heads = np.flatnonzero((structure.extends < 0) & (waits == 1))  # sub-agents' first requests, and compacted ones
    assert all(structure.own_parts(int(head))[0] == 0 for head in heads)  # the shared system prompt


def test_a_context_beyond_compact_at_is_replaced_by_a_summary():
    made = find_script(workload(**{**WORK, "agents": {**WORK["agents"], "subagent_share": 0, "rounds": 40}}))
    assert made.lengths[:, 0].max() <= 150 + 8 + 10
    compacted = (made.structure.extends < 0) & (np.bincount(made.structure.after[:, 1], minlength=300) == 1)
    assert compacted.any()
    assert set(made.lengths[compacted, 0]) == {64 + 20}


@pytest.mark.parametrize(("values", "said"), [
    ({"lengths": "conversations"}, "give either workload.sessions"),
    ({**TALKS, "session_rate": 1.0}, "give either workload.sessions"),
    ({**TALKS, "request_rate": 2.0}, "sessions set their own pace"),
    ({**TALKS, "num_prompts": 40}, "fewer than workload.sessions=50"),
    ({**TALKS, "sessions": None, "session_rate": 5.0, "warmup_s": 10.0, "duration_s": 20.0},
     "that is 67 sessions, which at session_rate=5.0 arrive before duration_s=20.0 is over; set enough for 150"),
    ({"lengths": "random", "sessions": 2}, "workload=random has no sessions"),
    ({"lengths": "random", "prefix": {"groups": 2}}, "workload.prefix: describes workload=prefix"),
    ({"lengths": "prefix", "prefix": {"groups": 0}}, "workload.prefix.groups=0"),
    ({**TALKS, "conversations": {"turns": "about:5"}}, "workload.conversations.turns=about:5"),
    ({**WORK, "agents": {"subagent_share": 2.0}}, "workload.agents.subagent_share=2.0"),
    ({"lengths": "random", "num_prompts": None}, "workload.num_prompts=null"),
])  # fmt: skip
def test_what_contradicts_itself_is_refused_by_its_key(values, said):
    with pytest.raises(Refused, match=said):
        check_run(run_config(workload=values))


def test_a_seed_that_draws_too_few_sessions_for_the_time_is_refused_whichever_repeat_it_is():
    drawn = {"lengths": "conversations", "num_prompts": 100, "output_len": 8}
    drawn["conversations"] = {**SHORT, "turns": "exponential:5"}
    begun = [
        int(find_script(workload(**drawn, seed=seed, session_rate=1.0, duration_s=1.0)).structure.session[-1]) + 1
        for seed in range(4)
    ]
    fewest = min(begun)
    assert begun[0] > fewest
    enough = {**drawn, "session_rate": 1.0, "duration_s": float(fewest + 1)}
    check_run(run_config(workload=enough))
    with pytest.raises(Refused, match=f"that is {fewest} sessions, which at session_rate=1.0 arrive before"):
        check_run(run_config(workload={**enough, "repeats": 4}))


RECORDED = [
    {"id": "a", "block_size": 64, "hash_id_scope": "local", "requests": [
        {"t": 0.0, "type": "s", "in": 100, "out": 7, "hash_ids": [1, 2], "api_time": 2.0},
        {"t": 3.0, "type": "subagent", "requests": [
            {"t": 0.0, "type": "n", "in": 64, "out": 3, "hash_ids": [9], "api_time": 1.0},
            {"t": 1.5, "type": "n", "in": 64, "out": 3, "hash_ids": [9]},
        ]},
        {"t": 3.0, "type": "subagent", "requests": [{"t": 0.0, "type": "n", "in": 64, "out": 3, "hash_ids": [9]}]},
        {"t": 8.0, "type": "s", "in": 128, "out": 5, "hash_ids": [1, 3], "think_time": 0.25},
    ]},
    {"id": "b", "block_size": 64, "requests": [{"t": 0.0, "in": 64, "out": 1, "hash_ids": [1]}]},
]  # fmt: skip


def test_recorded_agents_keep_their_blocks_waits_and_subagents(tmp_path):
    (tmp_path / "agents.jsonl").write_text("\n".join(map(json.dumps, RECORDED)))
    values = {"lengths": "agent_trace", "path": str(tmp_path / "agents.jsonl"), "num_prompts": None, "sessions": 1}
    run = check_run(run_config(workload=values))
    made = find_script(run.workload)
    assert made.lengths.tolist() == [[100, 7], [64, 3], [64, 3], [64, 3], [128, 5], [64, 1]]
    assert made.structure.session.tolist() == [0, 0, 0, 0, 0, 1]
    assert made.structure.after.tolist() == [[0, 1], [1, 2], [0, 3], [0, 4], [2, 4], [3, 4]]
    assert made.structure.wait_s.tolist() == [0, 0, 0.5, 0, 0.25, 0]
    own = [made.structure.own_parts(index).tolist() for index in range(6)]
    assert own[1] == own[2] == own[3]
    assert own[0][0] == own[4][0] != own[5][0]  # hash ids are of one conversation


@pytest.mark.parametrize("begins", [0.0, 3.0])
def test_what_follows_subagents_does_not_wait_for_their_recorded_time_once_more(tmp_path, begins):
    """The subagents begin at 3 s and end at 5.5 s, by times of their own or of the conversation; the next is at 8 s."""
    recorded = copy.deepcopy(RECORDED[:1])
    main = recorded[0]["requests"]
    del main[3]["think_time"]
    for place, second in enumerate(main[1]["requests"]):
        second["t"] = begins + 1.5 * place
        second["api_time"] = 1.0
    (tmp_path / "agents.jsonl").write_text(json.dumps(recorded[0]))
    values = {"lengths": "agent_trace", "path": str(tmp_path / "agents.jsonl"), "num_prompts": None, "sessions": 1}
    waits = find_script(check_run(run_config(workload=values)).workload).structure.wait_s
    assert waits.tolist() == [0, 0, 0.5, 0, 2.5]  # was 6, which the subagents had taken part of already


def test_a_recording_that_tells_neither_a_wait_nor_a_time_is_refused(tmp_path):
    recorded = copy.deepcopy(RECORDED[:1])
    del recorded[0]["requests"][0]["t"], recorded[0]["requests"][3]["think_time"]
    (tmp_path / "agents.jsonl").write_text(json.dumps(recorded[0]))
    values = {"lengths": "agent_trace", "path": str(tmp_path / "agents.jsonl"), "num_prompts": None, "sessions": 1}
    with pytest.raises(Refused, match=r"conversation 1 is not one of an agent \(KeyError\('t'\)\)"):
        check_run(run_config(workload=values))


def span(operation, start, end, told, answer, counts, **more):
    """A span of the GenAI conventions, at seconds after midnight."""
    attributes = {"gen_ai.operation.name": operation, **more.pop("attributes", {})}
    if counts:
        attributes |= dict(zip(("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"), counts, strict=True))
        attributes |= {"gen_ai.input.messages": json.dumps(told), "gen_ai.output.messages": answer}
    times = {name: f"2026-01-01T00:00:{at:06.3f}Z" for name, at in (("start_time", start), ("end_time", end))}
    return {"trace_id": "t", "attributes": attributes, **times, **more}


ASK, NEXT = {"role": "user", "content": "look it up" * 10}, {"role": "user", "content": "and then?"}
CALLS = [{"role": "assistant", "tool_calls": [{"id": "x", "function": {"name": "find", "arguments": '{"a": 1}'}}]}]
SAME = {"role": "assistant", "parts": [{"type": "tool_call", "id": "y", "name": "find", "arguments": {"a": 1}}]}
FOUND = {"role": "tool", "tool_call_id": "x", "content": "it is there"}
SPANS = [
    span("invoke_agent", 0, 9, [], [], None),
    span("chat", 0, 2, [ASK], CALLS, (100, 7)),
    span("execute_tool", 2, 3, [], [], None),
    span("chat", 2.5, 4, [NEXT], [], (30, 5)),
    span("chat", 3, 5, [ASK, SAME, FOUND], [{"role": "assistant", "content": "so"}], (150, 9)),
    span("chat", 5, 6, [ASK, SAME, FOUND], [], (150, 9), status={"code": 2}),
    span("chat", 6.5, 8, [ASK, SAME, FOUND, {"role": "assistant", "content": "so"}, NEXT], [], (180, 3)),
    span("chat", 0, 1, [ASK], [], (100, 7), trace_id="u"),
]  # fmt: skip


def as_otlp(flat):
    """The span as a collector's file exporter writes it."""
    kinds = {str: "stringValue", int: "intValue"}

    def value(content):
        if isinstance(content, list):
            return {"arrayValue": {"values": [value(each) for each in content]}}
        if isinstance(content, dict):
            return {"kvlistValue": {"values": listed(content)}}
        return {kinds[type(content)]: str(content)}

    def listed(values):
        return [{"key": name, "value": value(content)} for name, content in values.items()]

    times = {f"{name}TimeUnixNano": str(int(float(flat[f"{name}_time"][17:-1]) * 1e9)) for name in ("start", "end")}
    told = {"traceId": flat["trace_id"], "attributes": listed(flat["attributes"]), "status": flat.get("status", {})}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [told | times]}]}]}


@pytest.mark.parametrize("write", [
    lambda: "\n".join(map(json.dumps, SPANS)),
    lambda: json.dumps(SPANS),
    lambda: "\n".join(json.dumps({"spans": [each for each in SPANS if each["trace_id"] == name]}) for name in "tu"),
    lambda: "\n".join(json.dumps(as_otlp(each)) for each in SPANS),
])  # fmt: skip
def test_spans_of_agents_share_equal_messages_and_wait_as_long_as_they_did(tmp_path, write):
    (tmp_path / "spans.jsonl").write_text(write())
    values = {"lengths": "agent_trace", "path": str(tmp_path / "spans.jsonl"), "num_prompts": None, "sessions": 1}
    made = find_script(check_run(run_config(workload=values)).workload)
    assert made.lengths.tolist() == [[100, 7], [30, 5], [150, 9], [180, 3], [100, 7]]  # the failed one is left out
    assert made.structure.session.tolist() == [0, 0, 0, 0, 1]
    assert made.structure.after.tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]  # two side by side, the last behind both
    assert made.structure.wait_s == pytest.approx([0, 0.5, 1, 1.5, 0], abs=1e-3)
    own = [made.structure.own_parts(index).tolist() for index in range(5)]
    assert own[4] == own[0] == own[2][:1]
    assert own[3][:3] == own[2]
    assert made.part_tokens[own[3]].tolist() == [100, 7, 43, 9, 21]  # the reply has the tokens that were counted
    assert not set(own[1]) & set(own[3])  # what begins with another message shares nothing


@pytest.mark.parametrize(("spans", "said"), [
    ([SPANS[0]], "no span is a call of a model"),
    ([{**SPANS[1], "end_time": "late"}], "not spans of agents by the GenAI conventions"),
    ([span("chat", 0, 1, [], [], (5, 5))], "a call has no gen_ai.input.messages"),
    ([span("chat", 0, 1, [ASK], [], (5, 10**20))], "100000000000000000000 tokens of a call"),
])  # fmt: skip
def test_spans_that_do_not_tell_what_is_needed_are_refused(tmp_path, spans, said):
    (tmp_path / "spans.json").write_text(json.dumps(spans))
    values = {"lengths": "agent_trace", "path": str(tmp_path / "spans.json"), "num_prompts": None, "sessions": 1}
    with pytest.raises(Refused, match=said):
        check_run(run_config(workload=values))


def test_a_share_of_a_structure_keeps_whole_sessions():
    structure = find_script(workload(**WORK)).structure
    kept = np.flatnonzero(structure.session % 2 == 1)
    part = structure.select(kept)
    assert dataclasses.asdict(part)["session"].tolist() == structure.session[kept].tolist()
    assert part.after.shape[0] == (structure.session[structure.after[:, 1]] % 2 == 1).sum()
    for index in range(len(part)):
        assert part.own_parts(index).tolist() == structure.own_parts(int(kept[index])).tolist()
