"""Every choice under conf/ composes, alone and in grids."""

import itertools
import math
import re

import pytest
from hydra import compose
from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from vbench import compose as ours
from vbench.compose.choices import SIZES as GPU_COUNTS
from vbench.plan.rules import check_run
from vbench.schema import RunConfig, Weights, from_plain, to_plain
from vbench.schema.errors import Refused

GROUPS = ("model", "parallelism", "engine", "workload", "hardware", "campaign")
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((ours.CONF / group).glob("*.yaml"))]
SIZES = [
    ("hardware", f"{size}x{file.stem}") for size in GPU_COUNTS for file in sorted((ours.CONF / "gpu").glob("*.yaml"))
]


pytestmark = pytest.mark.usefixtures("hydra")


def composed(*overrides: str) -> RunConfig:
    return ours.run_config(compose("config", list(overrides), return_hydra_config=True))


def combine(choices):
    """The choices, up to one of each group together: composing takes as long for several as for one."""
    groups = [[each for each in choices if each[0] == group] for group in GROUPS]
    return [dict(filter(None, row)) for row in itertools.zip_longest(*groups)]


@pytest.mark.parametrize("choices", combine([*CHOICES, *SIZES]), ids=lambda choices: " ".join(choices.values()))
def test_every_choice_composes(choices):
    run = composed(*(f"{'+' if group == 'campaign' else ''}{group}={choice}" for group, choice in choices.items()))
    assert isinstance(run, RunConfig)
    for group in choices.keys() & {"model", "hardware"}:
        assert getattr(run, group).name == choices[group]


def test_without_overrides_it_is_one_point_of_the_tiny_model_on_what_this_host_has():
    run = check_run(composed("hardware=cpu"))
    assert (run.model.name, run.hardware.name, run.workload.num_prompts) == ("tiny", "cpu", 10)
    assert run.engine.weights is Weights.dummy
    assert math.isinf(run.workload.request_rate)


def test_a_hub_model_keeps_its_hub_weights():
    assert composed("model=llama8b", "hardware=1xh100").engine.weights is Weights.hub


def test_several_api_servers_are_left_to_the_entry_that_heeds_them():
    several = ("model=llama8b", "hardware=1xh100", "engine.extra_args=[--api-server-count,4]")
    with pytest.raises(Refused, match="add engine=vllm_serve"):
        check_run(composed(*several))
    run = check_run(composed(*several, "engine=vllm_serve"))
    assert run.engine.command[2:] == ["vllm.entrypoints.cli.main", "serve"]
    assert run.engine.extra_args == ["--api-server-count", "4"]


def test_the_published_campaign_is_eight_models_on_eight_systems_at_eight_loads():
    sweep = compose("config", ["+campaign=published"], return_hydra_config=True).hydra.sweeper.params
    counts = {key: len(value.split(",")) for key, value in sweep.items()}
    assert counts == {"model": 8, "hardware": 8, "workload.num_prompts": 8}


@pytest.mark.slow  # each composes hundreds of points
@pytest.mark.parametrize("campaign", ["published", "max_context", "tp_dp", "max_model_len", "api_servers"])
def test_every_system_of_a_campaign_keeps_the_rules(campaign):
    sweep = compose("config", [f"+campaign={campaign}"], return_hydra_config=True).hydra.sweeper.params
    between = re.compile(r",(?![^\[]*\])")  # values, not a list's items
    grid = {key: between.split(value) for key, value in sweep.items() if key != "workload.num_prompts"}
    points = [
        [f"+campaign={campaign}", *(f"{key}={value}" for key, value in zip(grid, values, strict=True))]
        for values in itertools.product(*grid.values())
    ]
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    assert len([check_run(run) for run in ours.grid(loader, master, points)]) == len(points) > 1


@pytest.mark.slow
def test_a_grid_composes_each_point_as_hydra_does_alone(monkeypatch):
    points = [
        [f"model={model}", f"hardware={hardware}", f"workload.num_prompts={n}", f"engine.extra_args=[--seed,{n}]"]
        for model in ("tiny", "llama8b", "mixtral8x7b")  # tiny and cpu bring engine options that the others have not
        for hardware in ("cpu", "2xh100", "4xh100")
        for n in (10, 80, 10)
    ]
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    found = list(ours.grid(loader, master, points))
    monkeypatch.setattr(loader, "repository", ConfigRepository(loader.config_search_path))  # reads each file anew
    assert found == [composed(*point) for point in points]


def test_what_one_point_of_a_grid_merges_into_a_dict_does_not_reach_the_next():
    points = [["hardware=cpu", f"workload.slo={slo}"] for slo in ("{ttft_ms: 1}", "{tpot_ms: 2}", "{ttft_ms: 3}")]
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    limits = [run.workload.slo.limits for run in ours.grid(loader, master, points)]
    assert limits == [{"ttft_ms": 1}, {"tpot_ms": 2}, {"ttft_ms": 3}]


def test_a_key_that_refers_to_another_part_follows_it_from_point_to_point():
    points = [["hardware=cpu", "engine.max_model_len=${workload.input_len}", f"workload.input_len={n}"] for n in (1, 2)]
    loader = GlobalHydra.instance().config_loader()
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    assert [run.engine.max_model_len for run in ours.grid(loader, master, points)] == [1, 2]


def test_plain_and_typed_are_opposites():
    run = check_run(composed("model=gpt_oss_120b", "hardware=4xh200", "parallelism=tp2dp"))
    assert from_plain(RunConfig, to_plain(run)) == run


def test_a_value_that_must_be_given_is_asked_for_by_its_key():
    with pytest.raises(KeyError, match=r"model.name, model.hub_id, .*: must be given"):
        from_plain(RunConfig, {"model": {}})


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("hardware.gpu.name=x", "hardware.gpu.name: there is no GPU to describe; choose one too, as hardware=1xh100"),
        ("+hardware.gpu.x=1", "hardware.gpu.x: there is no GPU to describe; choose one too, as hardware=1xh100"),
        ("model.rope_scaling.factor=3", "set it whole, as 'model.rope_scaling={factor: …}'"),
        ("engine.base_url.x=1", "engine.base_url is a value and holds no keys; set it as engine.base_url=…"),
        ("engine.command.x=1", "engine.command is a value and holds no keys; set it as engine.command=…"),
        ("workload.num_prompts.x=1", "workload.num_prompts is a value and holds no keys; set it as"),
    ],
)
def test_a_key_below_null_or_a_value_is_refused_in_a_line(word, told):
    with pytest.raises(Refused, match=re.escape(told)) as refusal:
        composed(word)
    assert "\n" not in str(refusal.value)
    run = composed("hardware=1xh100", "hardware.gpu.name=x", "+engine.env.A=b", "engine.command.0=python3")
    assert (run.hardware.gpu.name, run.engine.command[0], run.engine.env["A"]) == ("x", "python3", "b")


def test_hydras_errors_become_refusals_of_ours():
    with pytest.raises(Refused, match="no such key"):
        composed("hardware=2xh100", "+hardware.gpu.foo=3")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("partition: gpu\ntime_min: 1:30:00\n", "line 2: time_min: 1:30:00 is a number to YAML, 5400; write '1:30:00'"),
        ("# 16:00\nextra: {begin: 16:00}\n", "line 2: begin: 16:00 is a number to YAML, 960; write '16:00' in quotes"),
    ],
)
def test_a_time_that_yaml_has_made_a_number_of_is_refused_by_its_line(tmp_path, text, why):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "h100.yaml").write_text(text)
    with pytest.raises(Refused, match=f"h100.yaml, {why}"):
        composed("hardware=1xh100", f"hydra.searchpath=[file://{tmp_path}]")


def test_times_are_taken_as_slurm_writes_them_from_a_file_and_from_the_command_line(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "h100.yaml").write_text("time_min: '1:30:00'\nextra: {begin: '16:00', nice: 0:30}\n")
    by_file = composed("hardware=1xh100", f"hydra.searchpath=[file://{tmp_path}]").hardware.slurm
    assert (by_file.time_min, by_file.extra) == ("1:30:00", {"begin": "16:00", "nice": "0:30"})
    by_word = composed("hardware=1xh100", "hardware.slurm.time_min=1:30:00").hardware.slurm
    assert by_word.time_min == "1:30:00"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"hub_id: a\n  name: [b\n", "line 2: cannot be read as YAML: mapping values are not allowed here"),
        (b"name: [a\n", "line 2: cannot be read as YAML: expected ',' or ']', but got '<stream end>'"),
        (b"\tname: a\n", "line 1: cannot be read as YAML: found character '\\\\t' that cannot start any token"),
        (b"name: caf\xe9\n", "cannot be read as YAML: invalid continuation byte"),
        (b"name: a\x00b\n", "cannot be read as YAML: special characters are not allowed"),
    ],
)
def test_a_file_of_ones_own_that_is_no_yaml_is_told_by_its_place(tmp_path, text, why):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_bytes(text)
    with pytest.raises(Refused, match=f"mine.*{re.escape(why) if '[' in why else why}.*; correct the file") as refusal:
        composed("model=mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert "\n" not in str(refusal.value)
