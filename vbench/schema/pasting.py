"""Commands that vbench prints, begun as this one was: what is pasted then finds the same environment."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def say_command(*words: str) -> str:
    """`vbench analyze experiment=first`, or `.venv/bin/python -m vbench analyze …` where vbench was started so."""
    return shlex.join([*_find_beginning(), *words])


def _find_beginning() -> list[str]:
    started = sys.argv[0]
    if Path(started).name == "vbench":
        return ["vbench" if shutil.which("vbench") else started]
    return [_say_python(), "-m", "vbench"]


def _say_python() -> str:
    """`python` if the shell finds this one by that name, else its path as it was typed."""
    found = shutil.which("python")
    return "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else sys.orig_argv[0]
