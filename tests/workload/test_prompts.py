import json

import numpy as np
import pytest
from builders import run_config
from hypothesis import given
from hypothesis import strategies as st

from vbench.schema import Lengths, Workload
from vbench.schema.errors import Refused
from vbench.workload.prompts import digest, lengths, prompts, redraw, replace_beginnings


def workload(**values):
    return run_config(workload=values).workload


def test_sharegpt_lengths_are_the_studys_pairs_in_their_order_and_never_ask_for_nothing():
    pairs = lengths(workload(num_prompts=1280))
    assert pairs[:2].tolist() == [[14, 129], [30, 883]]
    assert pairs.shape == (1280, 2)
    assert pairs.min() >= 1


def test_beyond_1280_the_pairs_repeat():
    pairs = lengths(workload(num_prompts=1290))
    assert pairs[1280:].tolist() == pairs[:10].tolist()


@given(st.integers(1, 50), st.tuples(st.integers(1, 40), st.integers(0, 40)), st.integers(1, 60))
def test_random_lengths_stay_within_their_bounds(n, span, fixed):
    low, high = span[0], span[0] + span[1]
    pairs = lengths(workload(lengths="random", num_prompts=n, input_len=[low, high], output_len=fixed))
    assert pairs.shape == (n, 2)
    assert low <= pairs[:, 0].min() <= pairs[:, 0].max() <= high
    assert (pairs[:, 1] == fixed).all()


def test_prompts_have_exactly_the_lengths_and_ids_of_the_vocabulary():
    asked = prompts(workload(num_prompts=20), 32000, "", 2000)
    assert [len(ids) for ids in asked.ids] == lengths(workload(num_prompts=20))[:, 0].tolist()
    assert all(ids.dtype == np.int32 and ids.min() >= 0 and ids.max() < 32000 for ids in asked.ids)


def test_the_same_workload_gives_the_same_prompts_and_another_load_shares_none():
    first, again, other = (prompts(workload(num_prompts=n), 32000, "", 2000).ids for n in (4, 4, 8))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all((a[:8] != b[:8]).any() for a, b in zip(first, other, strict=False))


def test_the_digest_names_the_content_that_is_read(tmp_path):
    file = tmp_path / "talks.json"
    file.write_text("[]")
    before = digest(workload(lengths="sharegpt_file", path=str(file)))
    file.write_text("[ ]")
    assert digest(workload(lengths="sharegpt_file", path=str(file))) != before
    assert digest(workload()) != before


def talk(question: str, answer: str) -> dict:
    return {"conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]}


@pytest.fixture
def words(tmp_path):
    """A tokenizer of one id a word, as a folder."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "a": 1, "b": 2}, unk_token="?"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.save(str(tmp_path / "tokenizer.json"))
    return str(tmp_path)


def test_a_sharegpt_file_is_filtered_by_vllms_bounds_and_by_the_context(tmp_path, words):
    file = tmp_path / "talks.json"
    fits = talk("a " * 10, "b " * 12)
    drops = [talk("a", "b " * 9), talk("a " * 9, "b"), talk("a " * 1025, "b " * 9), talk("a " * 90, "b " * 90)]
    file.write_text(json.dumps([*drops, fits, {"conversations": []}]))
    asked = prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=1), 3, words, 100)
    assert asked.ids[0].tolist() == [1] * 10
    assert asked.output_len.tolist() == [12]


def test_a_sharegpt_file_that_holds_too_few_is_refused_by_name(tmp_path, words):
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([talk("a " * 10, "b " * 12)]))
    with pytest.raises(Refused, match=r"workload.num_prompts=2: .* only 1 fitting"):
        prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=2), 3, words, 100)


def test_ids_lie_above_the_special_tokens_and_below_the_last_quarter_of_the_vocabulary():
    asked = prompts(workload(lengths="random", num_prompts=50, input_len=100), 400, "", 2000)
    assert set(np.concatenate(asked.ids)) == set(range(256, 300))


def test_random_lengths_include_both_ends():
    pairs = lengths(workload(lengths="random", num_prompts=100, input_len=[1, 2], output_len=[3, 4]))
    assert (set(pairs[:, 0]), set(pairs[:, 1])) == ({1, 2}, {3, 4})


def test_what_a_workload_asks_stays_what_it_was_when_its_records_were_made():
    asked = prompts(workload(num_prompts=2), 32000, "", 2000)
    assert digest(workload()) == "fead6723459253a1"
    assert asked.ids[0][:4].tolist() == [8353, 4963, 13039, 20462]
    assert digest(workload(lengths="random")) == "6b86b273ff34fce1"


BIG = 10_000


@pytest.mark.parametrize(
    ("question", "answer", "context", "kept"),
    [
        (4, 4, BIG, True),
        (3, 4, BIG, False),
        (4, 3, BIG, False),
        (1024, 1024, BIG, True),
        (1025, 4, BIG, False),
        (1024, 1025, BIG, False),
        (4, 2044, BIG, True),
        (50, 50, 100, True),
        (50, 51, 100, False),
    ],
)
def test_a_sharegpt_pair_is_kept_up_to_each_bound(tmp_path, words, question, answer, context, kept):
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([talk("a " * question, "b " * answer)]))
    load = workload(lengths="sharegpt_file", path=str(file), num_prompts=1)
    if kept:
        asked = prompts(load, 3, words, context)
        assert (len(asked.ids[0]), asked.output_len.tolist()) == (question, [answer])
    else:
        with pytest.raises(Refused, match="only 0 fitting"):
            prompts(load, 3, words, context)


FITS = talk("a " * 10, "b " * 12)


@pytest.mark.parametrize(
    "odd",
    [
        talk(None, "b " * 9),
        talk("a " * 9, None),
        talk(5, "b " * 9),
        talk(["a"] * 9, "b " * 9),
        talk("a " * 9 + "\ud800", "b " * 9),
        talk("a " * 9, "b " * 9 + "\udc00"),
        {"conversations": [{"from": "human"}, {"from": "gpt"}]},
        {"conversations": ["a " * 9, "b " * 9]},
        {"conversations": None},
        {"conversations": "a " * 9},
        {"conversations": 7},
        {"id": "without"},
        "a string",
        None,
        7,
    ],
)
def test_what_no_client_could_send_is_left_out_of_a_sharegpt_file(tmp_path, words, odd):
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([odd, FITS, odd, FITS, odd]))
    for seed in range(3):
        asked = prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=2, seed=seed), 3, words, 100)
        assert [ids.tolist() for ids in asked.ids] == [[1] * 10] * 2
        assert asked.output_len.tolist() == [12, 12]


def test_a_refusal_says_how_many_entries_were_no_text(tmp_path, words):
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([talk(None, None), FITS, talk("a", "b"), {"id": "without"}]))
    with pytest.raises(Refused, match="has only 1 fitting conversations of 3, 1 of which are not text"):
        prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=2), 3, words, 100)


def test_a_whole_surrogate_pair_is_text(tmp_path, words):
    file = tmp_path / "talks.json"
    file.write_text(json.dumps([talk("a " * 9 + "\U0001f600", "b " * 9)]))
    assert len(prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=1), 3, words, 100).ids[0]) == 10


@pytest.mark.parametrize("text", ["{}", '{"conversations": []}', "7", "[", "", "[" * 100_000, "\x80"])
def test_a_file_that_is_not_sharegpt_is_refused_by_its_path(tmp_path, words, text):
    file = tmp_path / "talks.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused, match=f"workload.path={file}: not a ShareGPT JSON file"):
        prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=1), 3, words, 100)


def test_a_folder_without_a_readable_tokenizer_is_refused_by_its_key(tmp_path):
    file = tmp_path / "talks.json"
    file.write_text("[]")
    with pytest.raises(Refused, match=f"model.hub_id={tmp_path}: its tokenizer is neither cached nor reachable"):
        prompts(workload(lengths="sharegpt_file", path=str(file), num_prompts=1), 3, str(tmp_path), 100)


def test_redrawn_prompts_have_the_same_lengths_and_follow_from_the_nonce():
    asked = prompts(Workload(lengths=Lengths.random, num_prompts=3, input_len=[4, 40]), 1000, "", 2000)
    one, same, other = (redraw(asked, 1000, nonce) for nonce in ("a", "a", "b"))
    assert [len(each) for each in one.ids] == [len(each) for each in asked.ids]
    assert (one.output_len == asked.output_len).all()
    assert all((a == b).all() for a, b in zip(one.ids, same.ids, strict=True))
    first = [tuple(each[0].tolist()) for each in (asked.ids, one.ids, other.ids)]
    assert len(set(first)) == 3
    assert min(map(min, one.ids)) >= 256
    assert max(map(max, one.ids)) < 750


def test_replaced_beginnings_leave_the_rest_of_a_files_prompts_and_share_no_first_block():
    asked = prompts(Workload(lengths=Lengths.random, num_prompts=3, input_len=[4, 40]), 1000, "", 2000)
    one, other = (replace_beginnings(asked, 1000, nonce) for nonce in ("a", "b"))
    assert [len(each) for each in one.ids] == [len(each) for each in asked.ids]
    assert all((new[4:] == old[4:]).all() for new, old in zip(one.ids, asked.ids, strict=True))
    assert all((new[:4] != old[:4]).any() for new, old in zip(one.ids, asked.ids, strict=True))
    assert all((new[:4] != old[:4]).any() for new, old in zip(one.ids, other.ids, strict=True))
