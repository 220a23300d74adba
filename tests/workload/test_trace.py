"""Traces: whose lengths, at whose times."""

import json

import numpy as np
import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.schema import to_plain
from vbench.schema.errors import Refused
from vbench.workload.arrivals import schedule_arrivals
from vbench.workload.prompts import digest, lengths, prompts

BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
46.5,GPT-4,417,0,417,Conversation log
"""
PLAIN = "timestamp,input_length,output_tokens\n2.5,30,7\n\n2.0,10,5\n4.0,20,6\n"
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": FIRST}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": SECOND}
""".replace("FIRST", str(list(range(14)))).replace("SECOND", str([*range(10), 20, 21, 22]))  # ten blocks are shared
RNG = np.random.default_rng(0)


@pytest.fixture
def load(tmp_path):
    """A workload that replays a text as a trace."""

    def made(text, n, **values):
        path = tmp_path / "trace"
        path.write_text(text)
        return run_config(workload={"lengths": "trace", "path": str(path), "num_prompts": n, **values}).workload

    return made


def test_burst_gpts_columns_are_read_in_seconds_from_zero_and_a_failed_reply_counts_one_token(load):
    replayed = load(BURST_GPT, 3)
    assert schedule_arrivals(replayed, RNG).tolist() == [0.0, 40.0, 41.5]
    assert lengths(replayed).tolist() == [[472, 18], [1087, 230], [417, 1]]


def test_mooncakes_times_are_milliseconds(load):
    replayed = load(MOONCAKE, 2)
    assert schedule_arrivals(replayed, RNG) == pytest.approx([0.0, 3.053])
    assert lengths(replayed).tolist() == [[6955, 52], [6472, 26]]


QWEN = """{"timestamp": 61.114, "input_length": 1999, "output_length": 52, "hash_ids": IDS}
{"timestamp": 62.5, "input_length": 9, "output_length": 26, "hash_ids": [7]}
""".replace("IDS", str(list(range(125))))
UNTOLD = MOONCAKE.replace(str(list(range(14))), "[]").replace(str([*range(10), 20, 21, 22]), "[0, 1]")
SECONDS_OR_NOT = """{"timestamp": 61, "input_length": 1999, "output_length": 52}
{"timestamp": 62.5, "input_length": 9, "output_length": 26}
"""


def test_alibabas_times_are_seconds_though_its_keys_are_mooncakes(load):
    assert schedule_arrivals(load(QWEN, 2), RNG) == pytest.approx([0.0, 1.386])
    whole = QWEN.replace("61.114", "61").replace("62.5", "63")
    assert schedule_arrivals(load(whole, 2), RNG) == pytest.approx([0.0, 2.0])


@pytest.mark.parametrize("text", [SECONDS_OR_NOT, QWEN + MOONCAKE, UNTOLD])
def test_times_of_unknown_unit_are_refused(load, text):
    n = text.count("\n")
    with pytest.raises(
        Refused, match=r"timestamp [\d.]+ may be .* or milliseconds, .*workload.trace.time_unit=s or ms"
    ):
        schedule_arrivals(load(text, n), RNG)


def test_plain_columns_are_read_and_rows_put_in_the_order_of_their_times(load):
    replayed = load(PLAIN, 3)
    assert schedule_arrivals(replayed, RNG).tolist() == [0.0, 0.5, 2.0]
    assert lengths(replayed).tolist() == [[10, 5], [30, 7], [20, 6]]


def test_only_the_first_rows_are_taken_and_begin_at_zero(load):
    assert schedule_arrivals(load(BURST_GPT, 2), RNG).tolist() == [0.0, 40.0]


def test_prompts_are_random_ids_of_the_traces_lengths(load):
    asked = prompts(load(PLAIN, 3), 32000, "", 2000)
    assert [len(ids) for ids in asked.ids] == [10, 30, 20]
    assert asked.output_len.tolist() == [5, 7, 6]


def test_the_digest_names_the_files_content(load):
    assert digest(load(PLAIN, 2)) != digest(load(PLAIN.replace("30", "31"), 2))
    assert digest(load(PLAIN, 2)) == digest(load(PLAIN, 2))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (PLAIN, r"workload.num_prompts=4: .* has only 3 rows"),
        ("", "its header has no column timestamp, request tokens or"),
        ("time,input_tokens,output_tokens\n", "its header has no column timestamp$"),
        (PLAIN.replace("30", "many"), "line 2 is not a row of a trace .*many"),
        (PLAIN.replace("2.5", "nan"), "line 2 is not a row of a trace .*finite"),
        (PLAIN.replace("10,5", "10"), "line 4 is not a row of a trace"),
        (MOONCAKE.replace("input_length", "input"), "line 1 is not a row of a trace .*input_length"),
        (MOONCAKE + "{", "line 3 is not a row of a trace"),
        ("\x00\x00", "workload.path"),
    ],
)
def test_what_is_no_trace_is_refused_by_its_line(load, text, why):
    with pytest.raises(Refused, match=why):
        lengths(load(text, 4))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"request_rate": 2.0}, "workload.request_rate=2.0: a trace brings its own times"),
        ({"ramp_up_strategy": "linear", "ramp_up_start_rps": 1.0, "ramp_up_end_rps": 2.0}, "a trace brings its own"),
        ({"path": None}, "workload.path: not given; give the path of a trace"),
    ],
)
def test_what_contradicts_a_trace_is_refused(load, values, why):
    with pytest.raises(Refused, match=why):
        check_run(run_config(workload=to_plain(load(PLAIN, 2)) | values))


def test_a_request_that_does_not_fit_the_context_is_refused_before_anything_starts(load):
    with pytest.raises(Refused, match=r"take 7007 tokens, but engine\.max_model_len=2000"):
        check_run(run_config(workload=to_plain(load(MOONCAKE, 2))))


def test_a_prompt_of_no_token_counts_one_and_names_are_read_in_either_case(load):
    assert lengths(load("TimeStamp,INPUT_TOKENS,Output_Length\n1,0,3\n", 1)).tolist() == [[1, 3]]


@pytest.mark.parametrize("row", ["-1,5", "5,-1"])
def test_a_negative_length_is_no_row(load, row):
    with pytest.raises(Refused, match=r"line 2 is not a row of a trace .*not negative"):
        lengths(load(f"timestamp,input_tokens,output_tokens\n0,{row}\n", 1))


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,110,27
"""


def test_azures_columns_and_dates_are_read(load):
    replayed = load(AZURE, 2)
    assert schedule_arrivals(replayed, RNG) == pytest.approx([0.0, 0.052])
    assert lengths(replayed).tolist() == [[4808, 10], [110, 27]]


def test_a_stated_unit_is_taken_and_times_are_scaled(load):
    assert schedule_arrivals(load(UNTOLD, 2, trace={"time_unit": "ms"}), RNG) == pytest.approx([0.0, 3.053])
    assert schedule_arrivals(load(UNTOLD, 2, trace={"time_unit": "s"}), RNG) == pytest.approx([0.0, 3053.0])
    assert schedule_arrivals(load(QWEN, 2, trace={"time_scale": 0.5}), RNG) == pytest.approx([0.0, 0.693])


def test_all_rows_are_sent_by_default_and_a_window_keeps_its_own(load):
    assert check_run(run_config(workload=to_plain(load(PLAIN, None)))).workload.num_prompts == 3
    windowed = load(PLAIN, None, trace={"window_s": [0.4, 2.5]})
    run = check_run(run_config(workload=to_plain(windowed)))
    assert run.workload.num_prompts == 2
    assert schedule_arrivals(run.workload, RNG) == pytest.approx([0.1, 1.6])
    with pytest.raises(Refused, match=r"window_s=\[9.0, 10.0\]: the trace has no request in it"):
        check_run(run_config(workload=to_plain(load(PLAIN, None, trace={"window_s": [9, 10]}))))


def test_prompts_share_the_blocks_that_the_trace_names(load):
    asked = prompts(load(MOONCAKE, 2), 32000, "", 8192)
    first, second = (np.concatenate([asked.ids[part] for part in asked.structure.own_parts(row)]) for row in (0, 1))
    assert (len(first), len(second)) == (6955, 6472)
    assert (first[:5120] == second[:5120]).all()
    assert (first[5120:6472] != second[5120:]).mean() > 0.99


def test_chats_that_continue_others_are_in_their_session(load):
    rows = [
        {"chat_id": 1, "parent_chat_id": -1, "timestamp": 1.5, "input_length": 16, "output_length": 4, "hash_ids": [1]},
        {"chat_id": 2, "parent_chat_id": -1, "timestamp": 2, "input_length": 16, "output_length": 4, "hash_ids": [2]},
        {"chat_id": 3, "parent_chat_id": 1, "timestamp": 3, "input_length": 33, "output_length": 4, "hash_ids": [1, 3]},
    ]
    structure = prompts(load("\n".join(map(json.dumps, rows)), 3), 32000, "", 8192).structure
    assert structure.session.tolist() == [0, 1, 0]
    assert structure.turn.tolist() == [0, 0, 1]


def rows_of(ids_of_prompts):
    rows = (
        {"timestamp": at, "input_length": tokens, "output_length": 4, "hash_ids": ids}
        for at, (tokens, ids) in enumerate(ids_of_prompts)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize(
    ("text", "unfit"),
    [
        (rows_of([(256, [1, 2, 3, 4]), (256, [1, 2, 3, 9])]), "2 of 2 rows"),  # blocks of 64 tokens, as other recorders
        (QWEN + MOONCAKE, "4 of 4 rows"),
        (MOONCAKE + rows_of([(2048, [0, 1])]), "1 of 3 rows"),
    ],
)
def test_hash_ids_that_are_no_blocks_of_a_known_size_are_refused_where_rows_share_them(load, text, unfit, unit):
    """With a stated unit such a trace was replayed without its sharing, VALID, with the prefix cache's hits at 0."""
    with pytest.raises(Refused, match=rf"{unfit} share hash_ids .*neither 16 nor 512 .*remove hash_ids"):
        schedule_arrivals(load(text, text.count("\n"), trace={"time_unit": unit}), RNG)


def test_one_row_of_a_hundred_may_have_another_number_of_hash_ids(load):
    flawed = rows_of([(1024, [1, 2])] * 99 + [(2048, [1, 2])])
    assert len(schedule_arrivals(load(flawed, 100), RNG)) == 100
    with pytest.raises(Refused, match="1 of 99 rows"):
        schedule_arrivals(load(flawed.split("\n", 1)[1], 99), RNG)


def test_prompts_of_less_than_a_block_share_it_where_the_unit_is_stated(load):
    short = load(rows_of([(12, [1]), (12, [1]), (12, [2])]), 3, trace={"time_unit": "s"})
    asked = prompts(short, 32000, "", 8192)
    first, second, other = ([asked.ids[part] for part in asked.structure.own_parts(row)] for row in range(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
