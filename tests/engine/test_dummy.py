"""The folder for dummy weights: whole, exact in its vocabulary, and safe to write from many processes at once."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import random
from typing import TYPE_CHECKING

import pytest

from vbench.engine import weights
from vbench.engine.dummy import build_config_json, build_tokenizer_files, materialise, name_special_tokens
from vbench.schema import Engine, Model, Weights
from vbench.schema.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path
from types import ModuleType

LLAMA = Model(
    name="small",
    hub_id="vbench/small",
    architecture="LlamaForCausalLM",
    model_type="llama",
    num_hidden_layers=2,
    hidden_size=64,
    intermediate_size=128,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    vocab_size=1000,
    max_position_embeddings=512,
    config_json={"hidden_act": "silu", "bos_token_id": 998, "eos_token_id": [999, 3]},
)


def vocabulary(model: Model) -> dict[str, int]:
    vocab: dict[str, int] = build_tokenizer_files(model)["tokenizer.json"]["model"]["vocab"]
    return vocab


def test_nulls_are_written_as_null() -> None:
    written = json.dumps(build_config_json(LLAMA))
    assert '"sliding_window": null' in written
    assert '"rope_scaling": null' in written


def test_what_is_published_overrides_what_is_derived() -> None:
    model = dataclasses.replace(LLAMA, config_json={"torch_dtype": "float32"})
    assert build_config_json(model)["torch_dtype"] == "float32"


def test_experts_are_named_as_the_family_names_them() -> None:
    mixtral = dataclasses.replace(LLAMA, model_type="mixtral", num_experts=8, num_experts_per_tok=2)
    assert build_config_json(mixtral)["num_local_experts"] == 8
    qwen = dataclasses.replace(mixtral, model_type="qwen3_moe", moe_intermediate_size=32)
    assert (build_config_json(qwen)["num_experts"], build_config_json(qwen)["moe_intermediate_size"]) == (8, 32)
    assert not {"num_local_experts", "num_experts", "moe_intermediate_size"} & build_config_json(LLAMA).keys()


@pytest.mark.parametrize("vocab_size", [1000, 32000, 201088])
def test_the_vocabulary_has_every_id_once(vocab_size: int) -> None:
    vocab = vocabulary(dataclasses.replace(LLAMA, vocab_size=vocab_size))
    assert sorted(vocab.values()) == list(range(vocab_size))


def test_special_tokens_keep_the_ids_of_config_json() -> None:
    assert name_special_tokens(LLAMA) == {998: "<|bos_998|>", 999: "<|eos_999|>", 3: "<|eos_3|>"}
    assert vocabulary(LLAMA)["<|eos_3|>"] == 3
    assert build_tokenizer_files(LLAMA)["tokenizer_config.json"]["eos_token"] == "<|eos_999|>"


def test_a_special_token_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(Refused, match="1000 is not in the vocabulary of 1000"):
        build_tokenizer_files(dataclasses.replace(LLAMA, config_json={"eos_token_id": 1000}))


def test_transformers_loads_the_tokenizer(tmp_path: Path, transformers: ModuleType) -> None:
    folder = materialise(LLAMA, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert len(tokenizer) == LLAMA.vocab_size
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (998, 999)
    ordinary = [i for i in range(LLAMA.vocab_size) if i not in name_special_tokens(LLAMA)]
    assert all(tokenizer.decode([i]) for i in ordinary)
    assert tokenizer.decode(list(name_special_tokens(LLAMA)), skip_special_tokens=True) == ""


def test_words_come_back_as_the_ids_they_were(tmp_path: Path, transformers: ModuleType) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(materialise(LLAMA, tmp_path), local_files_only=True)
    ids = [i for token, i in vocabulary(LLAMA).items() if token.startswith("\u0120") and len(token) > 1]
    random.Random(0).shuffle(ids)
    text = tokenizer.decode(ids)
    assert tokenizer.encode(text, add_special_tokens=False) == ids
    assert tokenizer.decode(tokenizer.encode("Café, 1 of 2?", add_special_tokens=False)) == "Caf??, 1 of 2?"


def test_a_folder_is_written_once_and_never_again(tmp_path: Path) -> None:
    folder = materialise(LLAMA, tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert before.keys() == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert materialise(LLAMA, tmp_path) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_another_fact_makes_another_folder(tmp_path: Path) -> None:
    folder = materialise(LLAMA, tmp_path)
    other = materialise(dataclasses.replace(LLAMA, num_hidden_layers=3), tmp_path)
    assert folder != other
    assert json.loads((other / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] == 3


def test_processes_that_write_at_once_get_one_whole_folder(tmp_path: Path) -> None:
    model = dataclasses.replace(LLAMA, vocab_size=32000)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        folders = pool.starmap(materialise, [(model, tmp_path)] * 8, chunksize=1)
    assert set(folders) == {folders[0]}
    assert list(tmp_path.iterdir()) == [folders[0]]  # and nothing left over
    assert len(json.loads((folders[0] / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]) == 32000


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(NotADirectoryError):
        materialise(LLAMA, tmp_path / "cache")


def test_it_is_refused_before_a_server_is_started() -> None:
    outside = dataclasses.replace(LLAMA, config_json={**LLAMA.config_json, "bos_token_id": 1000})
    with pytest.raises(Refused, match="correct bos_token_id"):
        weights.require(outside, Engine(weights=Weights.dummy))
    weights.require(outside, Engine(weights=Weights.dummy, base_url="http://host:8000"))
