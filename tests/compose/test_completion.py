"""What a shell offers: groups, choices, keys, values and commands; asked of real shells."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vbench.compose.choices import groups
from vbench.compose.completion import candidates, script
from vbench.schema import RunConfig, keys

pytestmark = pytest.mark.slow  # takes seconds

COMMANDS = ["analyze", "ingest", "fetch", "fit", "session"]
ROOT = Path(__file__).parents[2]


def offered(line: str) -> list[str]:
    return candidates(line, COMMANDS)


def test_the_first_word_may_be_a_command_a_group_or_a_key():
    words = offered("vbench ")
    assert {"analyze ", "fetch ", "model=", "+campaign=", "hydra/launcher=", "workload.", "experiment="} <= {*words}
    assert "analyze " not in offered("vbench model=tiny ")


def test_a_group_offers_each_of_its_choices():
    for group, choices in groups().items():
        plus = "+" if group == "campaign" else ""
        assert offered(f"vbench {plus}{group}=") == [f"{plus}{group}={choice}" for choice in choices]


def test_every_key_can_be_reached_part_by_part():
    for key in keys(RunConfig):
        path = ""
        *parts, last = key.name.split(".")
        for part in [*(f"{part}." for part in parts), f"{last}="]:
            assert f"{path}{part}" in offered(f"vbench {path}"), key.name
            path += part


def test_a_key_offers_the_words_that_it_takes():
    assert offered("vbench engine.weights=") == ["engine.weights=hub", "engine.weights=dummy"]
    assert offered("vbench rerun=f") == ["rerun=false", "rerun=failed"]
    assert offered("vbench workload.search=r") == ["workload.search=request_rate"]


def test_a_grid_is_completed_at_its_last_value():
    assert offered("vbench model=llama8b,nem") == ["model=llama8b,nemo12b"]


def test_fetch_takes_the_same_words_and_files_are_left_to_the_shell():
    assert offered("vbench fetch model=tin") == ["model=tiny"]
    assert offered("vbench ingest mod") == []
    assert offered("vbench") == offered("") == []


def test_flags_and_what_follows_them():
    assert offered("vbench --ve") == ["--version"]
    assert offered("vbench --help wo") == ["workload"]
    assert offered("vbench --completion z") == ["zsh"]


def driven(shell: str, line: str, home: Path) -> list[str]:
    """What the sourced script answers at the end of the line, by the variables that the shell sets for it."""
    command = home / "vbench"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vbench "$@"\n')
    command.chmod(0o755)
    (home / "script").write_text(script(shell))
    words = " ".join(map(shlex.quote, line.replace("=", " = ").split() if shell == "bash" else line.split()))
    drive = [
        f"source {shlex.quote(str(home / 'script'))}",
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({words}); COMP_CWORD=1",
        "_vbench vbench",
        "printf '%s\\n' \"${COMPREPLY[@]}\"",
    ]
    ended = subprocess.run(
        [*{"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"]}[shell], "-c", "\n".join(drive)],
        env=os.environ | {"PATH": f"{home}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_real_shell_offers_groups_choices_keys_and_commands(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    assert {"fetch", "model=", "workload.", "experiment="} <= {*driven(shell, "vbench ", tmp_path)}
    replaced = {"bash": "", "zsh": "model="}[shell]  # bash replaces only what follows the last "="
    assert driven(shell, "vbench model=llama8b,nem", tmp_path) == [f"{replaced}llama8b,nemo12b"]
    assert driven(shell, "vbench workload.num", tmp_path) == ["workload.num_prompts="]


@pytest.mark.parametrize(("shell", "asked"), [("bash", "complete -p vbench"), ("zsh", "print -- $_comps[vbench]")])
def test_the_script_registers_itself_for_the_command(shell, asked, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_text(script(shell))
    told = subprocess.run(
        [*{"bash": ["bash", "--norc"], "zsh": ["zsh", "-f"]}[shell], "-c", f"source ./script; {asked}"],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "_vbench" in told
