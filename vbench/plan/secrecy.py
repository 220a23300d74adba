"""Refuses configs that hold a secret: all of a config is recorded, copied to MLflow and shown in reports. Pure.

The message says where the secret stands and which form passes it by name instead; it never repeats the value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from vbench.plan.naming import dotted_leaves
from vbench.schema import Engine, RunConfig, to_plain
from vbench.schema.errors import Refused
from vbench.schema.secrets import find_names, is_plain, is_secret_name, list_values, redact, redact_plain

VARIABLE = re.compile(r"[A-Za-z_]\w*")
RECORDED = "a secret in a config would be recorded"


def check_words(words: Sequence[str]) -> None:
    """Raises Refused if one of these overrides sets a secret, before anybody composes, prints or writes it."""
    for word in words:
        if redact(word) != word:
            key, _, value = word.lstrip("+~").partition("=")
            raise Refused(_describe(key, _find_name(value)))


def check_secrets(run: RunConfig) -> None:
    """Raises Refused if the config holds a secret, or a variable's value where its name belongs."""
    engine = run.engine
    for name, value in engine.env.items():
        if (is_secret_name(name) and not is_plain(value)) or redact(value) != value:
            raise Refused(_describe(f"engine.env.{name}", name))
    values = list_values()  # once for all leaves: it reads the whole environment
    for key, value in dotted_leaves(to_plain(run)):
        if not _is_clean(value, values):
            raise Refused(_describe(key, _find_name(value)))
    _check_names(engine)


def _is_clean(value: Any, values: tuple[str, ...]) -> bool:
    if isinstance(value, str):
        return _is_clean_text(value, values)
    return isinstance(value, (int, float, type(None))) or bool(redact_plain(value, values) == value)


@lru_cache(maxsize=1024)
def _is_clean_text(text: str, values: tuple[str, ...]) -> bool:
    """Remembered, because the points of a grid share most of their texts."""
    return redact(text, values) == text


def _check_names(engine: Engine) -> None:
    for key, names in (("engine.env_from", engine.env_from), ("engine.api_key_env", [engine.api_key_env])):
        for name in names:
            if name is not None and not VARIABLE.fullmatch(name):
                raise Refused(
                    f"{key}: must be the NAME of an environment variable, as HF_TOKEN; its value is read there"
                )
    if engine.env_from and engine.base_url is not None:
        raise Refused("engine.env_from: a server that already runs has its own environment; leave it out")
    for name in engine.env_from:
        if not is_secret_name(name):
            raise Refused(
                f"engine.env_from=[{name}]: only secrets pass by name, because their values shape no result; "
                f"put others into engine.env.{name}"
            )
        if name in engine.env:
            raise Refused(f"engine.env_from=[{name}]: engine.env sets it too; leave one of them out")


def _find_name(value: Any) -> str:
    """The argument or variable that a list of words, or a text, gives a secret to; empty if none is named."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return next((found["name"] for found in find_names(text)), "")


def _describe(key: str, name: str) -> str:
    if key.startswith("engine.env.") or key == "engine.env":
        variable = key.removeprefix("engine.env.") if key != "engine.env" else name or "HF_TOKEN"
        return f"{key}: {RECORDED}; export it, and give its name: engine.env_from=[{variable}]"
    if key.startswith("engine.base_url"):
        return f"{key}: {RECORDED}; export the server's key, and give its name: engine.api_key_env=NAME"
    if key.endswith("launcher.setup"):
        return f"{key}: {RECORDED}; put it into a file that only you may read, and let a line read it: source FILE"
    if name.strip("-").replace("_", "-") == "api-key":
        return f"{key}: {name}: {RECORDED}; leave it out: vbench's servers answer vbench without a key"
    return (
        f"{key}: {RECORDED}; export it as the variable that the server reads, and give its name: "
        "engine.env_from=[HF_TOKEN]"
    )
