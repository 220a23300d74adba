"""The loads that docs/workloads.md shows can be planned, and the most intricate of them works on a server."""

import json
import re
from pathlib import Path

import pytest
from doors import fake, run_folders, vbench
from hydra import compose

from vbench import compose as ours
from vbench.plan.rules import check_run
from vbench.schema.record import REQUESTS, Requests
from vbench.schema.workload import SHARING
from vbench.workload.prompts import lengths, prompts

ROOT = Path(__file__).parents[2]
LOADS = re.findall(r"^python -m vbench (workload=.*)$", (ROOT / "docs" / "workloads.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", LOADS, ids=lambda command: command.split()[0])
@pytest.mark.usefixtures("hydra")
def test_each_load_that_the_page_shows_can_be_planned(command, tmp_path, monkeypatch):
    rows = [{"timestamp": 1000 * row, "input_length": 512, "output_length": 4, "hash_ids": [row]} for row in range(3)]
    (tmp_path / "trace.jsonl").write_text("\n".join(map(json.dumps, rows)))
    agent = {"block_size": 64, "requests": [{"t": 0, "in": 64, "out": 4, "hash_ids": [1]}]}
    (tmp_path / "agents.jsonl").write_text(json.dumps(agent))
    monkeypatch.chdir(tmp_path)
    run = check_run(ours.run_config(compose("config", [*command.split(), "hardware=cpu"], return_hydra_config=True)))
    asked = prompts(run.workload, run.model.vocab_size, "", 2000)
    assert len(asked.output_len) == run.workload.num_prompts
    assert asked.structure is not None


def test_the_page_shows_every_load_that_shares_prompts():
    assert {command.split()[0].partition("=")[2] for command in LOADS} >= {each.name for each in SHARING}


def test_agents_of_the_page_work_on_a_server(tmp_path):
    (command,) = (each for each in LOADS if each.startswith("workload=agents"))
    ended = vbench(*command.split(), "hardware=cpu", fake("--itl-s", "0.002"), cwd=tmp_path)
    (found,) = run_folders(tmp_path)
    requests = Requests.load(found / REQUESTS)
    assert requests.error.tolist() == [""] * 24, ended.stdout + ended.stderr
    assert requests.input_tokens.tolist() == requests.usage_input_tokens.tolist()
    assert (requests.carried[requests.extends >= 0] == 8).all()


@pytest.mark.parametrize("kind", ["prefix", "conversations", "agents"])
@pytest.mark.usefixtures("hydra")
def test_each_choice_can_be_run_as_it_is(kind):
    words = [f"workload={kind}", "model=llama8b", "hardware=1xh100", "engine.max_model_len=131072"]
    run = check_run(ours.run_config(compose("config", words, return_hydra_config=True)))
    assert len(lengths(run.workload)) == run.workload.num_prompts
