"""`experiment=` names a folder and an MLflow experiment: what either would refuse is refused before anything runs."""

import dataclasses

import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.schema.errors import Refused


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "/abs", "a/", "a//b", "a/../b", "a\nb", "a\0b", "x" * 257, "x" * 300, "ä" * 128],
)
def test_a_name_that_is_no_folder_or_no_experiment_is_refused(name):
    with pytest.raises(Refused, match=r"^experiment="):
        check_run(dataclasses.replace(run_config(), experiment=name))


@pytest.mark.parametrize("name", ["x", "a b", "a/b", "..x", "[odd]", "x" * 255, "ä" * 127, f"{'x' * 128}/{'y' * 127}"])
def test_other_names_are_taken(name):
    assert check_run(dataclasses.replace(run_config(), experiment=name)).experiment == name
