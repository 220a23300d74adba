"""Virtual environments for tools that are measured or asked beside vbench, one each, kept in a cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vbench" / "peers"


def interpreter(requirement: str, python: str = "3.12") -> Path:
    """The Python of an environment that holds `requirement` ("NAME==VERSION"); made the first time, by uv.

    Raises SystemExit with what uv printed if it cannot be installed.
    """
    folder = CACHE / requirement.replace("==", "-")
    found = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        for command in ([uv, "venv", "-q", "--clear", "--python", find_python(python), str(folder)],
                        [uv, "pip", "install", "-q", "--python", str(found), requirement]):  # fmt: skip
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise SystemExit(f"{requirement}: {ran.stdout}{ran.stderr}")
        (folder / "complete").touch()
    return found


def find_python(version: str) -> str:
    """A Python of this version on this host, pyenv's too; else the version itself, which uv then downloads.

    pyenv's `python3.12` is on the PATH whether or not it may run here, so it is asked first.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    for found in [*([on_path] if on_path else []), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))]:
        if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return version


def program(requirement: str, name: str) -> str:
    """The path of a program that the requirement installs."""
    return str(interpreter(requirement).parent / name)
