"""`vbench new`: a file of conf/ that Hydra composes, from a config.json or from this host's GPU."""

import json
import shlex

import pytest
from hydra import compose
from omegaconf import OmegaConf

from vbench import compose as ours
from vbench.compose import new
from vbench.host.gpus import GpuFacts
from vbench.plan.rules import check_run
from vbench.schema.pasting import say_command

CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_hidden_layers": 2, "hidden_size": 64,
    "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000,
    "max_position_embeddings": 2048, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
    "rope_theta": 1e6, "odd_key": [1, 2],
}  # fmt: skip
CARD = GpuFacts(0, "GPU-1", "NVIDIA RTX 6000 (Test)", 49140, 0, frozenset())


def source(folder):
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder / "config.json")


@pytest.mark.usefixtures("hydra")
def test_a_model_of_a_config_json_composes_as_its_printed_line_says(tmp_path, capsys):
    words = ["model", source(tmp_path), "name=mine", "hub_id=me/mine", f"dir={tmp_path / 'conf'}"]
    assert new.main(words) == 0
    written, used = capsys.readouterr().out.splitlines()
    assert written == f"wrote {tmp_path}/conf/model/mine.yaml"
    assert used.startswith(f"use it: {say_command('model=mine', 'engine.weights=dummy')} ")
    overrides = [*shlex.split(used.partition(" vbench ")[2]), "hardware=1xh100"]
    run = check_run(ours.run_config(compose("config", overrides, return_hydra_config=True)))
    assert (run.model.hub_id, run.model.num_experts, run.model.rope_theta) == ("me/mine", 8, 1e6)
    assert run.model.config_json == CONFIG


def test_a_file_that_exists_is_not_overwritten(tmp_path, capsys):
    words = ["model", source(tmp_path), "name=mine", f"dir={tmp_path}"]
    assert new.main(words) == 0
    before = (tmp_path / "model" / "mine.yaml").read_text()
    assert new.main(words) == 2
    assert "mine.yaml exists; give another name=" in capsys.readouterr().err
    assert (tmp_path / "model" / "mine.yaml").read_text() == before


def test_a_gpu_that_conf_does_not_know(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(new.gpus, "find_gpus", lambda: [CARD, CARD])
    assert new.main(["gpu", "name=rtx6000", f"dir={tmp_path}"]) == 0
    facts = OmegaConf.to_container(OmegaConf.load(tmp_path / "hardware" / "rtx6000.yaml"))
    assert facts["gpus"] == 2
    assert facts["gpu"]["product"] == r"^NVIDIA\ RTX\ 6000\ \(Test\)$"
    assert f"hardware=rtx6000 'hydra.searchpath=[file://{tmp_path}]'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "say `model SOURCE` or `gpu`"),
        (["modle", "x"], "say `model SOURCE` or `gpu`"),
        (["model"], "model takes one SOURCE"),
        (["model", "nothing-here"], "nothing-here: no such file or folder, and not OWNER/NAME on the hub"),
        (["model", "a/b", "name=../x"], "name=../x: letters, digits"),
        (["model", "a/b", "nam=x"], "nam=: no such option; model takes name, hub_id, dir"),
        (["gpu"], "no NVIDIA driver"),
    ],
)
def test_bad_input_gets_one_line(words, reason, capsys, monkeypatch):
    monkeypatch.setattr(new.gpus, "find_gpus", list)
    assert new.main(words) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1


def test_a_gpu_that_conf_knows_is_named(capsys, monkeypatch):
    monkeypatch.setattr(
        new.gpus, "find_gpus", lambda: [CARD.__class__(0, "u", "NVIDIA H100 80GB HBM3", 81559, 0, frozenset())]
    )
    assert new.main(["gpu"]) == 2
    assert "is h100 already: hardware=1xh100" in capsys.readouterr().err
