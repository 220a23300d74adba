"""Names become folders and MLflow experiments: what either would refuse is refused before anything runs."""

import dataclasses

import pytest
from builders import run_config

from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("meta-llama/Llama-3.1-8B", "it names a folder; leave out slashes"),
        ("../../mine", "leave out slashes"),
        ("a\nb", "leave out slashes and control characters"),
        ("x" * 300, "model and hardware have names of 303 bytes; a folder's name takes 215"),
        ("ä" * 120, "names of 243 bytes"),
    ],
)
def test_a_model_whose_name_no_folder_can_have_is_refused(name, why):
    with pytest.raises(Refused, match=f"^model.name=.*{why}") as refusal:
        check_run(run_config(model={"name": name}))
    assert len(str(refusal.value)) < 200
    assert "\n" not in str(refusal.value)


def test_hardware_whose_name_no_folder_can_have_is_refused():
    with pytest.raises(Refused, match=r"^hardware.gpu.name='1xa/b'"):
        check_run(run_config(hardware={"gpus": 1, "gpu": {"name": "a/b", "product": "B", "memory_mib": 81559}}))


@pytest.mark.parametrize("name", ["x" * 200, "ä" * 100, "-x", ".x", "a b", "50%"])
def test_a_model_of_another_name_is_planned_into_a_folder_that_can_be_made(name, tmp_path):
    (session,) = plan([(check_run(run_config(model={"name": name})), "fake")])
    folder = tmp_path / session.folder / session.runs[0].folder
    folder.mkdir(parents=True)
    assert folder.parent.parent == tmp_path
