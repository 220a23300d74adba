"""Which program a server's command starts, behind any wrapper or container runtime. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

PYTHON = re.compile(r"python[\d.]*")


def find_package_position(command: Sequence[str]) -> int | None:
    """Index of the word that names the server's package; None if the command starts a script or another program.

    That is the word after a Python's `-m`, or `vllm` itself. Any words may precede it (numactl, env, apptainer exec).
    """
    names = [PurePath(word).name for word in command]
    python = next((place for place, name in enumerate(names) if PYTHON.fullmatch(name)), len(names))
    if "-m" in command[python:-1]:
        return command.index("-m", python) + 1
    starts = (
        place
        for place, name in enumerate(names)
        if name == "vllm" and (not place or names[place + 1 :][:1] == ["serve"])
    )
    return next(starts, None)


def find_wrapper_length(command: Sequence[str]) -> int:
    """How many words precede the server's program, as those of a container runtime; 0 if none do or we cannot tell.

    The program is `vllm`, or a Python with `-m` or a script.
    """
    place = find_package_position(command)
    if place is not None and command[place - 1 : place] != ["-m"]:
        return place
    names = [PurePath(word).name for word in command]
    pythons = [index for index, name in enumerate(names[:place]) if PYTHON.fullmatch(name)]
    if place is None:
        pythons = [index for index in pythons if names[index + 1 :][:1] and names[index + 1].endswith(".py")]
    return pythons[-1] if pythons else 0


def starts_vllm(command: Sequence[str]) -> bool:
    """Whether the command starts vLLM's own server, from any environment, wrapper or container image."""
    place = find_package_position(command)
    if place is None:
        return find_image(command) is not None
    return PurePath(command[place]).name.partition(".")[0] == "vllm"


def name_program(command: Sequence[str]) -> str:
    """Whose server it is, whatever its version: "vllm", another package, or the name of a script or program."""
    place = find_package_position(command)
    if place is None:
        return "vllm" if starts_vllm(command) else name_script(command)
    return PurePath(command[place]).name.partition(".")[0]


def name_script(command: Sequence[str]) -> str:
    """The name of the script that an interpreter starts; of the program itself if it is alone."""
    return PurePath(command[min(1, len(command) - 1)]).name


def find_image(command: Sequence[str]) -> str | None:
    """The word that names an image of vLLM's, whose entry point is the server."""
    return next((word for word in command if PurePath(word).name.startswith("vllm-openai")), None)
