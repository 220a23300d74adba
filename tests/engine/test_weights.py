import json

import pytest
from builders import run_config

from vbench.engine import weights
from vbench.schema import Engine, Weights
from vbench.schema.errors import Refused

SMALL = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
SHARDS = [f"model-{part:05}-of-00003.safetensors" for part in (1, 2, 3)]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("there", "loaded"),
    [
        ([*SHARDS, INDEX, "pytorch_model.bin", "original/consolidated.00.pth"], [*SHARDS, INDEX]),
        (["model.safetensors", "original/model.safetensors", "metal/model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "model.onnx", "model.Q4.gguf"], ["pytorch_model.bin"]),
        # a Mistral's own format, which vLLM takes before any other
        (["consolidated.safetensors", *SHARDS, "params.json"], ["consolidated.safetensors", "params.json"]),
    ],
)
def test_of_each_repository_one_kind_of_weights_and_the_small_files_are_loaded(there, loaded):
    found = weights.select_loaded([*there, *SMALL, ".gitattributes", "README.md", "figures/plot.png", "LICENSE.pdf"])
    assert sorted(found) == sorted([*loaded, *SMALL])


def folder(path, names, **contents):
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_text(contents.get(name, "{}"))
    return path


def test_a_folder_with_all_that_its_index_lists_is_whole(tmp_path):
    index = json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[2]}})
    home = folder(tmp_path, [*SMALL, *SHARDS])
    (home / INDEX).write_text(index)
    assert weights.find_missing(home) is None
    (home / SHARDS[1]).unlink()
    assert weights.find_missing(home) == SHARDS[1]


@pytest.mark.parametrize(
    ("names", "lacks"),
    [
        ([*SMALL, "model.safetensors"], None),
        ([*SMALL, *SHARDS], None),
        ([*SMALL, *SHARDS[:2]], "one of model's 3 files"),
        (SMALL, "weights"),
        (["config.json", "model.safetensors", "tokenizer_config.json"], "a tokenizer"),
        (["tokenizer.json", "model.safetensors"], "config.json"),
    ],
)
def test_what_a_folder_lacks_is_named(tmp_path, names, lacks):
    assert weights.find_missing(folder(tmp_path, names)) == lacks


def test_a_link_whose_content_is_gone_is_no_weight(tmp_path):
    home = folder(tmp_path, SMALL)
    (home / "model.safetensors").symlink_to(tmp_path / "gone")
    assert weights.find_missing(home) == "weights"


def test_a_local_folder_must_be_there_and_whole(tmp_path):
    engine = Engine(weights=Weights.hub)
    model = run_config(model={"hub_id": str(tmp_path / "mine")}).model
    with pytest.raises(Refused, match=r"model.hub_id=.*mine: no such folder"):
        weights.require(model, engine)
    folder(tmp_path / "mine", SMALL)
    with pytest.raises(Refused, match="lacks weights"):
        weights.require(model, engine)
    folder(tmp_path / "mine", ["model.safetensors"])
    weights.require(model, engine)
    assert weights.build_environment(model, engine) == {}


@pytest.mark.parametrize(
    "engine",
    [
        Engine(weights=Weights.dummy),
        Engine(base_url="http://host:8000"),
        Engine(extra_args=["--download-dir", "/scratch"]),
        Engine(extra_args=["--load-format=runai_streamer"]),
        Engine(env={"HF_HOME": "/elsewhere"}),
    ],
)
def test_a_server_that_loads_no_weights_or_has_them_from_elsewhere_is_not_judged(engine):
    model = run_config(model={"hub_id": "/no/such/folder"}).model
    weights.require(model, engine)
    assert weights.build_environment(model, engine) == {}


def test_a_folder_whose_index_is_damaged_is_not_whole(tmp_path):
    for name in ("config.json", "tokenizer.json", "model-00001-of-00001.safetensors"):
        (tmp_path / name).touch()
    for text in ("{", "[]", "{}", '{"weight_map": 7}'):
        (tmp_path / "model.safetensors.index.json").write_text(text)
        assert weights.find_missing(tmp_path) == "a whole model.safetensors.index.json"
