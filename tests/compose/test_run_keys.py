"""Run keys are the identity of what was measured: a change of the code never changes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose

from vbench import compose as ours
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan_run, repeats
from vbench.schema import RunConfig, from_plain

RECORDS = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/**/record.json"))
PINNED = json.loads(Path(__file__).with_name("run_keys.json").read_text(encoding="utf-8"))  # overrides: keys


pytestmark = pytest.mark.usefixtures("hydra")


def test_every_published_record_is_known_by_the_key_that_it_has():
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in RECORDS]
    assert len(kept) >= 75
    again = [plan_run(from_plain(RunConfig, each["config"]), each["environment"]["engine"]).key for each in kept]
    assert again == [each["run_key"] for each in kept]


@pytest.mark.parametrize("overrides", PINNED)
def test_a_composed_config_keeps_its_keys(overrides):
    run = check_run(ours.run_config(compose("config", overrides.split(), return_hydra_config=True)))
    assert [plan_run(each, "vllm 0.26.0").key for each in repeats(run)] == PINNED[overrides]
