"""The commands in the shell blocks of docs/ run as a reader would run them, with fake GPUs and a fake server."""

import re
import shlex
from pathlib import Path

import pytest
from doors import fake, vbench

from vbench.__main__ import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = {page.name: "".join(BLOCK.findall(page.read_text())) for page in sorted(DOCS.glob("*.md"))}
HOST = ",".join(["NVIDIA H100 80GB HBM3"] * 8)


@pytest.mark.parametrize("page", [name for name, script in SCRIPTS.items() if script])
def test_a_pages_commands_run(page, tmp_path):
    for line in SCRIPTS[page].splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "vbench"
        measures = words[0] not in COMMANDS and "--cfg" not in words
        ended = vbench(*words, *([fake("--itl-s", "0.005")] if measures else []), cwd=tmp_path, gpus=HOST)
        assert ended.returncode in ((0, 1) if measures else (0,)), ended.stdout + ended.stderr  # 1: a busy host
        assert "Traceback" not in ended.stderr
