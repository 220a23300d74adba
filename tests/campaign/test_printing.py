"""What a job and its setup print, in bash and Python for real: in order, complete, and without secrets."""

import os
import signal
import subprocess
import sys

import pytest

from vbench.campaign.jobs.printing import wrap_setup

JOB = """
import os, subprocess
from vbench.campaign.jobs.printing import redacted_output
with redacted_output():
    print("python", os.environ["HF_TOKEN"])
    subprocess.run("echo child $HF_TOKEN >&2", shell=True)
    os.write(1, b"no end of line " + os.environ["HF_TOKEN"].encode())
    END
"""
ENVIRONMENT = {"HF_TOKEN": "planted-in-a-test-1", "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}


def printed(*command):
    ended = subprocess.run(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return ended.returncode, ended.stdout


def run_setup(*lines):
    script = "\n".join([*wrap_setup(lines), 'exec "$@"'])
    return printed("bash", "-c", script, "setup", "bash", "-c", "echo job $A; echo its error >&2")


def test_what_a_job_its_children_and_its_traceback_print_is_redacted():
    code, lines = printed(sys.executable, "-c", JOB.replace("END", "raise ValueError(os.environ['HF_TOKEN'])"))
    assert code == 1
    assert {"python ***", "child ***"} < {each.removeprefix("no end of line ***") for each in lines.splitlines()}
    assert lines.count("***") == 4
    assert lines.splitlines()[-1] == "ValueError: ***"
    assert ENVIRONMENT["HF_TOKEN"] not in lines


def test_a_job_that_refuses_its_file_says_so_and_an_interrupted_one_keeps_its_exit_code():
    end = JOB.replace("END", "raise SystemExit('vbench: ' + os.environ['HF_TOKEN'])")
    code, lines = printed(sys.executable, "-c", end)
    assert (code, lines.splitlines()[-1]) == (1, "vbench: ***")
    assert printed(sys.executable, "-c", JOB.replace("END", "raise SystemExit(143)"))[0] == 143


def test_setup_prints_before_the_job_without_secrets_and_passes_its_environment_on():
    code, lines = run_setup("echo one $HF_TOKEN", "export A=5", "echo --api-key abcDEF123456")
    assert (code, lines.splitlines()) == (0, ["one ***", "--api-key ***", "job 5", "its error"])


def test_a_line_of_the_setup_that_fails_ends_the_job_and_its_words_are_printed():
    code, lines = run_setup("echo before", "nosuchcommand x", "echo after")
    assert code == 127
    assert "nosuchcommand: command not found" in lines
    assert "job" not in lines
    assert "after" not in lines


@pytest.mark.slow
def test_a_daemon_that_the_setup_has_started_does_not_keep_the_job_from_beginning(tmp_path):
    lines = wrap_setup([f"sleep 60 & echo $! > {tmp_path}/pid"])
    try:
        with (tmp_path / "log").open("w") as log:
            subprocess.run(
                ["bash", "-c", "\n".join([*lines, "echo job"])], check=True, env=ENVIRONMENT, stdout=log, timeout=50
            )
        assert (tmp_path / "log").read_text() == "job\n"
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
