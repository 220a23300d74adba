"""`vbench … | head`: a command whose output nobody reads any more ends without a traceback, and loses nothing."""

import subprocess
import sys

import pytest
from doors import fake, furnish, host, vbench

from vbench.watch.pipes import end_quietly

LOAD = ("workload=random", "workload.num_prompts=2", "workload.output_len=5", "experiment=piped")


def read_lines(count, *words, cwd, module="vbench"):
    """The exit code and the errors of a command of whose output only the first lines are read."""
    furnish(cwd)
    with subprocess.Popen(
        [sys.executable, "-m", module, *words], cwd=cwd, env=host(cwd) | {"PYTHONUNBUFFERED": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as command:  # fmt: skip
        for _ in range(count):
            assert command.stdout.readline()
        command.stdout.close()
        errors = command.stderr.read()
    return command.returncode, errors


def test_a_page_of_help_that_is_not_read_to_its_end(tmp_path):
    assert read_lines(0, "--help", "hardware", cwd=tmp_path) == (141, "")


def test_another_pipe_that_breaks_is_not_hidden():
    def command():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        end_quietly(command)


def test_a_campaign_that_is_not_watched_to_its_end_is_collected_by_the_same_command(tmp_path):
    code, errors = read_lines(1, *LOAD, fake("--itl-s", "0.05"), cwd=tmp_path)
    assert (code in (1, 141), errors) == (True, "")
    again = vbench(*LOAD, fake("--itl-s", "0.05"), cwd=tmp_path)
    assert again.returncode in (0, 1), again.stdout + again.stderr  # a busy host may make a run INVALID
    assert len(list(tmp_path.glob("multirun/piped/*/events.jsonl"))) == 1
    assert "1 of 1 points already recorded" in vbench(*LOAD, fake("--itl-s", "0.05"), cwd=tmp_path).stdout
    compared = read_lines(1, "experiment=piped", "figures=[]", cwd=tmp_path, module="vbench.analysis")
    assert (compared[0] in (0, 1, 141), compared[1]) == (True, "")
