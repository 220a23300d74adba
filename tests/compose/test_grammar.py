"""Where Hydra's grammar means other than what people type."""

import pytest
from doors import vbench
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hydra.types import RunMode

from vbench import compose as ours
from vbench.compose.messages import explain
from vbench.compose.sweeper import GridSweeper

pytestmark = pytest.mark.usefixtures("hydra")


def composed(*overrides: str):
    return ours.run_config(compose("config", list(overrides), return_hydra_config=True))


def points(*words: str) -> list[list[str]]:
    overrides = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(words))
    (batch,) = GridSweeper.split_arguments(overrides, None)
    return batch


def test_objectives_given_together_replace_those_that_were_set():
    assert composed("workload=slo_search").workload.slo.limits == {"ttft_ms": 500, "tpot_ms": 50}
    assert composed("workload=slo_search", "workload.slo={ttft_ms: 1}").workload.slo.limits == {"ttft_ms": 1}
    assert composed("workload=slo_search", "workload.slo={}").workload.slo.limits == {}
    both = composed("workload=slo_search", "workload.slo={ttft_ms: 1}", "workload.slo.tpot_ms=2")
    assert both.workload.slo.limits == {"ttft_ms": 1, "tpot_ms": 2}


def test_they_replace_in_the_points_of_a_grid_too():
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    asked = [["hardware=cpu", "workload=slo_search", f"workload.slo={slo}"] for slo in ("{e2el_ms: 1}", "{tpot_ms: 2}")]
    assert [run.workload.slo.limits for run in ours.grid(loader, master, asked)] == [{"e2el_ms": 1}, {"tpot_ms": 2}]


def test_a_dict_replaces_a_dict_and_a_plus_adds_to_it():
    kept = "VLLM_CPU_KVCACHE_SPACE"
    assert composed("hardware=cpu", "engine.env={A: b}").engine.env == {"A": "b"}
    assert composed("hardware=cpu", "+engine.env={A: b}").engine.env.keys() == {kept, "A"}


def test_a_dict_that_was_null_can_be_given():
    scaling = {"rope_type": "linear", "factor": 4.0}
    assert composed("model.rope_scaling={rope_type: linear, factor: 4.0}").model.rope_scaling == scaling


def test_a_range_of_fractions_is_what_a_person_would_list():
    rates = [point[0].partition("=")[2] for point in points("workload.request_rate=range(0.1,1,0.1)")]
    assert rates == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
    assert points("a=range(1,1.3,0.1)") == [["a=1.0"], ["a=1.1"], ["a=1.2"]]
    assert points("a=range(0.3,0,-0.1)") == [["a=0.3"], ["a=0.2"], ["a=0.1"]]
    assert points("a=range(1,4)") == [["a=1"], ["a=2"], ["a=3"]]


@pytest.mark.parametrize("again", ["workload.num_prompts=16", "workload.num_prompts=16,32"])
def test_a_grid_key_given_twice_is_refused(again, tmp_path):
    ended = vbench("hardware=cpu", "workload.num_prompts=4,8", again, cwd=tmp_path)
    assert ended.returncode == 2
    refusal = f"workload.num_prompts: given twice, as workload.num_prompts=4,8 and as {again}; give it once"
    assert ended.stderr == f"vbench: {refusal}\n"
    assert not list(tmp_path.glob("multirun/*/*/"))


def test_a_word_with_an_equals_sign_in_a_list_is_named_with_the_quotes_that_it_needs():
    given = "engine.command=[srun,--container-image=vllm/vllm-openai:v0.26.0,vllm,serve]"
    with pytest.raises(OverrideParseException) as raised:
        composed(given)
    quoted = '"--container-image=vllm/vllm-openai:v0.26.0"'
    assert explain(raised.value).endswith(f"'engine.command=[…,{quoted},…]'")
    words = ["srun", "--container-image=vllm/vllm-openai:v0.26.0", "vllm", "serve"]
    assert composed(given.replace(quoted.strip('"'), quoted)).engine.command == words
