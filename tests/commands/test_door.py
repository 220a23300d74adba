import os
import signal
import subprocess

import pytest
import warm
from doors import TIMEOUT_S, host, vbench

from vbench.compose.help import GROUP_EXAMPLES

REFUSALS = {
    "model=lama70b": "model=lama70b: no such choice; did you mean llama70b?",
    "parallelism=tp,null": "parallelism=null: no such choice; choose from ",
    "hardware=4": "hardware=4: no such choice; did you mean 4x",
    "+=1": "+=1: a key is missing",
    "parallelism=tp3pp2": "this split: parallelism.tensor_parallel_size=3 parallelism.pipeline_parallel_size=2",
    "parallelism=adp4": "this split: parallelism.attention_data_parallel_size=4",
    "hardware=3xh100": "the sizes are 1, 2, 4, 8; for 3 GPUs: hardware=1xh100 hardware.gpus=3",
    "hardware=2xh10": "no GPU h10 is known: did you mean h100?",
    "hardware=2xzzzz": "a file conf/gpu/zzzz.yaml adds it (docs/own-gpu.md",
    "model=mixtral8x7": "did you mean mixtral8x7b? (or mixtral8x22b",
    "workload.num_promts=3": "workload.num_promts: no such key; did you mean workload.num_prompts?",
    "parallelism.tensor_parallel_size=3": "tensor_parallel_size=3 uses 3 devices, but hardware=cpu has 1",
    "workload.num_prompts=abc": "workload.num_prompts=abc: must be a whole number; 1 or more",
    "workload.num_prompts=[4,8]": "several points are given as workload.num_prompts=A,B",
    "workload.num_prompts=4,8,": "workload.num_prompts=4,8,: a value is missing after the last comma",
    "workload.request_rate=8rps": "workload.request_rate=8rps: must be a number; above 0",
    "workload.slo={ttft_ms: 5": "its { and } do not pair; quote the whole for the shell: 'workload.slo=…'",
    "workload.slo=500": "workload.slo: it holds keys, not a value; set them one by one, as workload.slo.ttft_ms=…",
    "workload.path=a (1).json": """quote it, and for the shell the whole: 'workload.path="a (1).json"'""",
    "engine.extra_args=--seed": "engine.extra_args: must be [list]: further arguments of the server, as [--seed,7]",
    "engine.enforce_eager=maybe": "engine.enforce_eager=maybe: must be true or false",
    "engine.weights=foo": "engine.weights=foo: must be hub or dummy",
    "workload.num_promts=3,4": "workload.num_promts: no such key; did you mean workload.num_prompts?",
    "+workload.num_promts=3,4": "workload.num_promts: no such key; did you mean workload.num_prompts?",
    "~workload.num_promts": "workload.num_promts: no such key; did you mean workload.num_prompts?",
    "~workload.num_prompts": "workload.num_prompts: a key that is always there",
    "num_prompts=3,4": "num_prompts: no such key; did you mean workload.num_prompts?",
    "slo={ttft_ms: 100}": "slo: no such key; did you mean workload.slo?",
    "ttft_ms=100": "ttft_ms: no such key; did you mean workload.slo.ttft_ms?",
    "worklod.seed=3,4": "worklod.seed: no such key; did you mean workload?",
    "model.num_hiden_layers=range(3,5)": "did you mean model.num_hidden_layers?",
    "engine.env.FOO=1": "+engine.env.FOO=… adds it",
    "workload=sharegpt_file": "workload.path: not given; give the path",
    "workload=trace": "workload.path: not given; give the path",
    "campaign=smoke": "campaign: it has no default choice to replace; add it: +campaign=smoke",
    "campaign=smok": "campaign: it has no default choice to replace; did you mean +campaign=smoke?",
    "hardware=h100": "hardware=h100: no such choice; did you mean 1xh100?",
    "exp=first": "exp: no such key; did you mean experiment?",
    "hydra/launcher=slrum": "did you mean slurm? (choose from local, slurm, inline, plan)",
    "hardware=2xh100": "hardware=2xh100: this host has 0 of the 2 GPUs",
    "workload.slo={foo_ms: 3}": "workload.slo.foo_ms: no such key; did you mean workload.slo.tpot_ms?",
    "workload.search=max_concurrency": "workload.search needs objectives",
    "model": "model: a choice is missing",
    "engine.command=[podman,run,vllm/vllm-openai:v0.26.0]": "vllm/vllm-openai:v0.26.0 starts its server by itself",
    "launcher=slurm": "where sessions run is hydra/launcher=local|slurm|inline|plan",
}


@pytest.mark.parametrize("override", REFUSALS)
def test_bad_input_gets_one_line_that_names_the_key_and_starts_nothing(override, tmp_path):
    ended = vbench(override, cwd=tmp_path)
    assert ended.returncode == 2
    assert REFUSALS[override] in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""
    assert not list(tmp_path.glob("multirun/*/*/"))


@pytest.mark.parametrize("words", [("model=tiny", "hardware=cpu"), ("plan", "model=llama8b", "hardware=1xh100")])
def test_a_file_where_the_folder_of_results_would_be_is_refused_before_anything_starts(words, tmp_path):
    (tmp_path / "multirun").write_text("")
    ended = vbench(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert f"{tmp_path / 'multirun'} is no folder; move it away" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


def test_long_lists_are_cut_to_the_near_ones_and_what_is_advised_for_three_gpus_works(tmp_path):
    ended = vbench("model=lama70b", cwd=tmp_path)
    assert len(ended.stderr) < 160
    assert "vbench --help lists all" in ended.stderr
    three = vbench("model=llama8b", "hardware=1xh100", "hardware.gpus=3", "--cfg", "job", cwd=tmp_path)
    assert three.returncode == 0
    assert "gpus: 3" in three.stdout


@pytest.mark.parametrize("words", [each for group in GROUP_EXAMPLES.values() for each in group])
def test_an_example_of_a_groups_page_composes(words, tmp_path):
    ended = vbench(*words.split(), "--cfg", "job", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_key_beside_a_grid_and_a_flag_is_named(tmp_path):
    ended = vbench("workload.nmu=1", "workload.num_prompts=4,8", "--config-dir", str(tmp_path), cwd=tmp_path)
    assert ended.stderr.startswith("vbench: workload.nmu: no such key")


def test_the_first_point_of_a_grid_is_shown_and_nothing_starts(tmp_path):
    ended = vbench("-m", "model=tiny", "hardware=cpu", "workload.num_prompts=4,8", "--cfg", "job", cwd=tmp_path)
    assert ended.returncode == 0
    first, *rest = ended.stdout.splitlines()
    assert first == "# the first of 2 points: model=tiny hardware=cpu workload.num_prompts=4"
    assert "  num_prompts: 4" in rest
    assert not list(tmp_path.glob("multirun/*"))


def test_a_file_of_ones_own_names_all_that_it_lacks_and_the_key_that_it_misspells(tmp_path):
    (tmp_path / "c" / "model").mkdir(parents=True)
    (tmp_path / "c" / "model" / "mine.yaml").write_text("name: mine\nhub_id: a/b\nvocab_size: 5\n")
    (tmp_path / "c" / "model" / "odd.yaml").write_text("name: mine\nhub_idd: a/b\n")
    site = f"hydra.searchpath=[file://{tmp_path}/c]"
    lacking = vbench("model=mine", "hardware=cpu", site, "--cfg", "job", cwd=tmp_path)
    assert lacking.returncode == 2
    assert "model.architecture, model.model_type, model.num_hidden_layers," in lacking.stderr
    assert "vocab_size" not in lacking.stderr
    (tmp_path / "conf").symlink_to("c")
    unseen = vbench("model=mine", "hardware=cpu", cwd=tmp_path)
    assert f"conf/model/mine.yaml is found with hydra.searchpath=[file://{tmp_path}/conf]" in unseen.stderr
    odd = vbench("model=odd", "hardware=cpu", site, cwd=tmp_path)
    assert odd.returncode == 2
    assert "conf/model/odd.yaml: model.hub_idd: no such key; did you mean model.hub_id?" in odd.stderr


def test_one_bad_point_of_a_grid_refuses_all_of_it(tmp_path):
    ended = vbench("-m", "workload.num_prompts=4,0", cwd=tmp_path)
    assert ended.returncode == 2
    assert "workload.num_prompts=0: must be 1 or more" in ended.stderr
    assert not list(tmp_path.glob("multirun/*/*/"))


def test_gpus_that_others_use_are_left_alone(tmp_path):
    ended = vbench("hardware=2xh100", cwd=tmp_path, gpus="NVIDIA H100 80GB HBM3!,NVIDIA H100 80GB HBM3")
    assert ended.returncode == 2
    assert "hardware=2xh100: only 1 of 2 GPUs are free" in ended.stderr


def test_help_shows_the_choices_and_commands_to_copy(tmp_path):
    ended = vbench("--help", cwd=tmp_path)
    assert ended.returncode == 0
    assert "8xh100" in ended.stdout
    assert "llama405b" in ended.stdout
    assert "\n  python -m vbench workload.num_prompts=4,8,16" in ended.stdout


def test_a_file_that_is_no_session_is_refused(tmp_path):
    ended = vbench(str(tmp_path / "session.json"), cwd=tmp_path, module="vbench.session")
    assert ended.returncode == 2
    assert "not a session file" in ended.stderr


def test_what_a_site_says_of_a_gpu_once_holds_for_every_size_of_it(tmp_path):
    site = tmp_path / "site" / "slurm"
    site.mkdir(parents=True)
    (site / "h100.yaml").write_text("partition: gpu\ngres_type: h100-80gb\nextra: {reservation: bench}\n")
    told = [
        vbench("--cfg", "job", f"hardware={size}", f"hydra.searchpath=[file://{site.parent}]", cwd=tmp_path).stdout
        for size in ("2xh100", "4xh100", "2xa100")
    ]
    assert ["gres_type: h100-80gb" in each and "partition: gpu\n" in each for each in told] == [True, True, False]
    assert ["gres_type: a100" in each for each in told] == [False, False, True]


def test_a_command_forked_from_a_warm_process_ends_as_one_with_an_interpreter_of_its_own(tmp_path):
    for words in (["model=nix"], ["--version"]):
        forked = warm.run("vbench", words, tmp_path, host(tmp_path), TIMEOUT_S)
        own = vbench(*words, cwd=tmp_path, PYTHONUNBUFFERED="1")  # set, so it is not forked
        assert (forked.returncode, forked.stdout, forked.stderr) == (own.returncode, own.stdout, own.stderr)
        with warm.start("vbench", words, tmp_path, host(tmp_path)) as driver:
            said, _ = driver.communicate(timeout=TIMEOUT_S)
        assert (driver.returncode, said) == (own.returncode, own.stdout + own.stderr)


def test_a_forked_command_that_is_killed_tells_the_signal_and_one_under_way_no_code(tmp_path):
    with warm.start("http.server", ["--bind", "127.0.0.1", "0"], tmp_path, host(tmp_path)) as driver:
        assert driver.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(0.01)
        assert os.getpgid(driver.pid) == driver.pid
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
