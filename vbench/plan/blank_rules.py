"""Texts of a run that may not be blank: a name, a path or a command of nothing means nothing. Pure."""

from __future__ import annotations

import functools
import types
from typing import Any

from vbench.schema import RunConfig, keys
from vbench.schema.errors import Refused
from vbench.schema.fields import Key

COMMAND = "engine.command"
INSTEAD = {"engine.base_url": ": give the address of the server, as http://host:8000"}  # engine=openai needs it


def check_blanks(run: RunConfig) -> None:
    """Raises Refused if a text of the run is blank, or a word of a list of texts."""
    for key in _list_texts():
        value = _look_up(run, key.name)
        if isinstance(value, str) and not value.strip():
            instead = "; null leaves it out" if types.NoneType in key.kinds else f": {key.meaning}"
            raise Refused(f"{key.name}={value!r}: must not be blank{INSTEAD.get(key.name, instead)}")
    for name in (COMMAND, "engine.env_from"):
        if any(not word.strip() for word in _look_up(run, name)):
            raise Refused(f"{name}: one of its words is blank; leave it out")
    if not _look_up(run, COMMAND):
        raise Refused(f"{COMMAND}=[]: must not be empty: name the program that starts the server")


@functools.cache
def _list_texts() -> tuple[Key, ...]:
    return tuple(key for key in keys(RunConfig) if str in key.kinds)


def _look_up(run: RunConfig, name: str) -> Any:
    """The value of a dotted key; None below a part that is null."""
    part: Any = run
    for each in name.split("."):
        part = getattr(part, each, None)
    return part
