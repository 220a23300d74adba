"""A command in the surroundings that users have: closed streams, odd folders, other locales, small terminals."""

import json
import os
import subprocess
import sys

import pytest
from doors import fake, furnish, host

POINT = ("workload=random", "workload.num_prompts=2", "workload.output_len=5", "experiment=odd")


def run(*words, cwd, redirected="", **env):
    furnish(cwd)
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {redirected}', "bash", sys.executable, "-m", "vbench", *words],
        cwd=cwd, env=host(cwd) | env, capture_output=True, text=True, errors="replace", timeout=240, check=False,
    )  # fmt: skip


def check_measured(done, home):
    assert done.returncode in (0, 1), done.stdout + done.stderr  # a busy host may make a run INVALID
    assert done.stderr == ""
    assert "not filed" not in done.stdout
    (record,) = home.glob("multirun/odd/*/n2-????????/record.json")
    assert json.loads(record.read_text())["failure"] is None
    assert list(home.glob("mlruns/artifacts/odd/*/artifacts/record.json"))


def test_a_campaign_without_streams_is_measured_and_filed(tmp_path):
    check_measured(run(*POINT, fake("--itl-s", "0.05"), cwd=tmp_path, redirected="<&- >&- 2>&-"), tmp_path)


def test_what_was_refused_is_not_printed_among_the_results(tmp_path):
    done = run("workload.num_prompts=0", cwd=tmp_path, redirected="2>&-")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("folder", ["a b'c\"d 50%j", "${now}$(x)`y`", "Prüf\nstand"])
def test_a_campaign_in_a_folder_of_an_odd_name(tmp_path, folder):
    home = tmp_path / folder
    home.mkdir()
    check_measured(run(*POINT, fake("--itl-s", "0.05"), cwd=home), home)


def test_a_campaign_in_a_locale_of_ascii_on_a_terminal_of_one_column(tmp_path):
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "COLUMNS": "1", "TERM": "dumb"}
    check_measured(run(*POINT, fake("--itl-s", "0.05"), cwd=tmp_path, **env), tmp_path)
    planned = run("plan", *POINT, fake(), cwd=tmp_path, **env)
    assert (planned.returncode, planned.stderr) == (0, "")


def test_a_folder_whose_path_is_no_utf_8_is_told(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "vbench", "model=tiny"],
        cwd=odd, env=host(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vbench: the current folder's path is not UTF-8")


def test_a_folder_that_was_removed_is_told(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["bash", "-c", 'rmdir "$PWD"; exec "$@"', "bash", sys.executable, "-m", "vbench", "model=tiny"],
        cwd=gone, env=host(tmp_path), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vbench: the current folder was removed; cd into one that is there\n"
