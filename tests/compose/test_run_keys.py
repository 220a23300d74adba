"""Run keys are the identity of what was measured: a change of the code never changes them."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from hydra import compose
from published import RESULTS, read_published

from vbench import compose as ours
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan_run, repeats
from vbench.schema import RunConfig, from_plain

PINNED = json.loads(Path(__file__).with_name("run_keys.json").read_text(encoding="utf-8"))  # overrides: keys


pytestmark = pytest.mark.usefixtures("hydra")


def find_key(record):
    """The key that a record's config and engine have today."""
    config = from_plain(RunConfig, record.config)
    return plan_run(config, record.environment["engine"], parent=record.parent).key


def test_every_published_record_is_known_by_the_key_that_it_has():
    kept = read_published()
    archives = [ZipFile(path).namelist() for path in RESULTS.rglob("*.zip")]
    assert len(kept) == sum(name.endswith("record.json") for names in archives for name in names) >= 134
    unknown = [each for each in kept if find_key(each) != each.run_key]
    # The key of a search holds its procedure as well, of which the published one used an earlier form.
    assert [each.name for each in unknown] == ["llama8b · 1xh200 · tp1 · conversations sticky slo sessions"]


@pytest.mark.parametrize("overrides", PINNED)
def test_a_composed_config_keeps_its_keys(overrides):
    run = check_run(ours.run_config(compose("config", overrides.split(), return_hydra_config=True)))
    assert [plan_run(each, "vllm 0.26.0").key for each in repeats(run)] == PINNED[overrides]
