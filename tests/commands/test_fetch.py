"""Weights ahead, as a user fetches them, from a small hub on loopback."""

import json
import random
from functools import cache
from pathlib import Path

import pytest
from doors import fake, run_folders, vbench
from fake_hub import COMMIT, TOKEN, Model, serving

from vbench.schema.record import Record

SHARDS = [f"model-{part:05}-of-00002.safetensors" for part in (1, 2)]
BYTES = 12_000_000
PIECE = 10 * 2**20  # in which huggingface_hub writes
LLAMA = "neuralmagic/Meta-Llama-3.1-8B-FP8"  # what model=llama8b and model=mistral7b name
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"


@cache
def content(seed: int) -> bytes:
    return random.Random(seed).randbytes(BYTES)


def model(**facts) -> Model:
    index = {"weight_map": {f"layer{place}": name for place, name in enumerate(SHARDS)}}
    return Model(
        {
            ".gitattributes": b"*.safetensors lfs",
            "README.md": b"# a model",
            "config.json": b"{}",
            "tokenizer.json": b"{}",
            "model.safetensors.index.json": json.dumps(index).encode(),
            **{name: content(place) for place, name in enumerate(SHARDS)},
            "pytorch_model.bin": content(7),
            "original/consolidated.00.pth": content(8),
        },
        **facts,
    )


LOADED = {"config.json", "tokenizer.json", "model.safetensors.index.json", *SHARDS}


@pytest.fixture
def hub():
    with serving({LLAMA: model(), MISTRAL: model()}) as hub:
        yield hub


def fetch(hub, home: Path, *words: str, module: str = "vbench.fetch", **env: str):
    surroundings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": ""}
    return vbench(*words, cwd=home, module=module, **(surroundings | env))


def snapshot(home: Path, hub_id: str = LLAMA) -> Path:
    return home / "hf" / "hub" / f"models--{hub_id.replace('/', '--')}" / "snapshots" / COMMIT


def cached(home: Path, hub_id: str = LLAMA) -> set[str]:
    return {path.name for path in snapshot(home, hub_id).glob("**/*")}


def test_what_a_server_loads_is_brought_into_the_cache_and_nothing_else(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=llama8b")
    assert ended.returncode == 0, ended.stderr
    assert cached(tmp_path) == LOADED
    assert [(snapshot(tmp_path) / name).read_bytes() for name in SHARDS] == [content(0), content(1)]
    assert "llama8b: 24.0 MB in 5 files" in ended.stdout
    assert "free there" in ended.stdout
    assert "llama8b: whole" in ended.stdout
    assert not hub.cdn_saw_token


def test_what_is_there_is_not_fetched_again(hub, tmp_path):
    fetch(hub, tmp_path, "model=llama8b")
    hub.heal()
    ended = fetch(hub, tmp_path, "model=llama8b")
    assert (ended.returncode, hub.sent) == (0, {})
    assert "all here" in ended.stdout


def test_after_a_break_the_same_command_goes_on_in_the_middle_of_a_file(hub, tmp_path):
    hub.break_after = 11_000_000
    ended = fetch(hub, tmp_path, "model=llama8b")
    assert ended.returncode == 1
    assert "are in the cache; run the same command again to continue" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not cached(tmp_path) & set(SHARDS)
    kept = sorted(path.stat().st_size for path in tmp_path.glob("hf/hub/**/*.vbench.incomplete"))
    assert kept[-1] == PIECE

    hub.heal()
    ended = fetch(hub, tmp_path, "model=llama8b")
    assert ended.returncode == 0, ended.stderr
    assert sum(hub.sent.values()) == 2 * BYTES - sum(kept)
    assert f"bytes={PIECE}-" in [asked for _, asked in hub.ranges]
    assert [(snapshot(tmp_path) / name).read_bytes() for name in SHARDS] == [content(0), content(1)]
    assert not list(tmp_path.glob("hf/**/*incomplete"))


def test_what_a_break_has_spoiled_is_thrown_away_and_not_served(hub, tmp_path):
    hub.break_after = 11_000_000
    fetch(hub, tmp_path, "model=llama8b")
    for partial in tmp_path.glob("hf/hub/**/*.vbench.incomplete"):
        partial.write_bytes(b"\0" * partial.stat().st_size)
    hub.heal()
    ended = fetch(hub, tmp_path, "model=llama8b")
    assert ended.returncode == 1
    assert "damaged" in ended.stderr
    assert fetch(hub, tmp_path, "model=llama8b").returncode == 0
    assert [(snapshot(tmp_path) / name).read_bytes() for name in SHARDS] == [content(0), content(1)]


def test_too_little_disk_is_refused_before_anything_is_fetched(hub, tmp_path):
    hub.models[LLAMA] = model(sizes={SHARDS[0]: 10**18})
    ended = fetch(hub, tmp_path, "-m", "model=llama8b,mistral7b")
    assert ended.returncode == 2
    assert "1,000,000.0 TB to fetch, but only" in ended.stderr or "1.0 EB to fetch, but only" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert hub.sent == {}


REFUSALS = {
    "gated": (model(gated=True), "", "gated; accept its terms at"),
    "private": (model(private=True), "", "not on http://127.0.0.1"),
    "a token that is none": (model(), "hf_wrong", "does not accept HF_TOKEN (HTTP 401)"),
    "no weights": (Model({"config.json": b"{}", "model.gguf": content(1)}), "", "no weights that vLLM loads"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_had_is_refused_in_one_line_that_says_what_to_do(hub, tmp_path, case):
    hub.models[LLAMA], token, why = REFUSALS[case]
    ended = fetch(hub, tmp_path, "model=llama8b", HF_TOKEN=token)
    assert ended.returncode == 2
    assert f"model.hub_id={LLAMA}" in ended.stderr
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert hub.sent == {}


def test_a_model_that_is_on_no_hub_is_refused_by_its_name(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=llama8b", "model.hub_id=nobody/nothing", HF_TOKEN=TOKEN)
    assert ended.returncode == 2
    assert "model.hub_id=nobody/nothing: not on http://127.0.0.1" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_hub_out_of_reach_is_said_to_be(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=llama8b", HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "http://127.0.0.1:9 cannot be reached" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_token_opens_what_is_gated_and_is_seen_nowhere_else(hub, tmp_path):
    hub.models[LLAMA] = model(gated=True)
    ended = fetch(hub, tmp_path, "model=llama8b", HF_TOKEN=TOKEN)
    assert ended.returncode == 0, ended.stderr
    assert not hub.cdn_saw_token
    assert TOKEN not in ended.stdout + ended.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def test_one_model_that_fails_does_not_stop_the_others(hub, tmp_path):
    hub.models[LLAMA] = model(gated=True)
    ended = fetch(hub, tmp_path, "-m", "model=llama8b,mistral7b,tiny", "workload.num_prompts=4,8")
    assert ended.returncode == 1
    assert ended.stderr.count("gated") == 1
    assert cached(tmp_path, MISTRAL) == LOADED


def test_a_campaign_is_fetched_by_its_own_words_and_leaves_its_folder_alone(hub, tmp_path):
    ended = fetch(hub, tmp_path, "-m", "+campaign=published", "model=llama8b,mistral7b", "hydra/launcher=inline")
    assert ended.returncode == 0, ended.stderr
    assert cached(tmp_path) == cached(tmp_path, MISTRAL) == LOADED
    assert not (tmp_path / "multirun").exists()


def test_dummy_weights_need_no_fetching(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=llama8b", "engine.weights=dummy")
    assert ended.returncode == 0
    assert "nothing to fetch" in ended.stdout


def test_offline_says_what_is_there_and_asks_nobody(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=llama8b", HF_HUB_OFFLINE="1")
    assert ended.returncode == 2
    assert "HF_HUB_OFFLINE is set" in ended.stderr
    fetch(hub, tmp_path, "model=llama8b")
    ended = fetch(hub, tmp_path, "model=llama8b", HF_HUB_OFFLINE="1")
    assert ended.returncode == 0, ended.stderr
    assert "llama8b: whole" in ended.stdout


def test_bad_words_get_the_sentences_of_every_door(hub, tmp_path):
    ended = fetch(hub, tmp_path, "model=lama8b")
    assert ended.returncode == 2
    assert "model=lama8b: no such choice; did you mean llama8b?" in ended.stderr


def test_help_teaches(tmp_path):
    ended = vbench("--help", cwd=tmp_path, module="vbench.fetch")
    assert ended.returncode == 0
    assert "HF_TOKEN" in ended.stdout
    assert ended.stdout.count("\n  python -m vbench.fetch ") == 3


POINT = ("model=llama8b", "hardware=cpu", "workload.num_prompts=2", "workload=random", "workload.output_len=4")


def test_a_session_whose_weights_are_neither_here_nor_in_reach_is_refused_before_it_starts(hub, tmp_path):
    ended = fetch(hub, tmp_path, *POINT, fake(), module="vbench", HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "its weights are not whole in" in ended.stderr
    assert " -m vbench fetch model=llama8b" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("multirun/*/*/"))


def test_a_session_whose_weights_are_here_runs_without_the_hub_and_its_server_does_not_ask_it(hub, tmp_path):
    fetch(hub, tmp_path, "model=llama8b")
    server = fake("--log-env", "HF_HUB_OFFLINE")
    ended = fetch(hub, tmp_path, *POINT, server, module="vbench", HF_ENDPOINT="http://127.0.0.1:9")
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr  # a busy host may make the run INVALID
    (folder,) = run_folders(tmp_path)
    assert Record.load(folder).failure is None
    (log,) = tmp_path.glob("multirun/*/*/server.log")
    assert "HF_HUB_OFFLINE=1" in log.read_text()
