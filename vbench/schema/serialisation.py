"""Configs as plain data and back: what JSON files hold, and what run keys are made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from vbench.schema.engine import EXTERNAL_SERVER_KEYS
from vbench.schema.fields import MISSING
from vbench.schema.model import STATED_OF_UNKNOWN
from vbench.schema.run import RunConfig

NO_SUCH_KEY = "no such key"
LEAVES = frozenset({str, int, bool, type(None)})


def to_plain(value: Any) -> Any:
    """The same as JSON holds it: dataclasses as dicts, enums by name, infinity as "inf"."""
    kind: type = type(value)
    if kind in LEAVES:  # most of a config; a grid of thousands of points asks for millions of them
        return value
    if names := _field_names(kind):
        return {name: to_plain(getattr(value, name)) for name in names}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    return str(value) if isinstance(value, float) and math.isinf(value) else value


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def from_plain(part: type, data: Mapping[str, Any], path: str = "") -> Any:
    """The opposite of `to_plain`: a dataclass from a dict that holds it; absent keys take their defaults.

    Raises KeyError, naming the full key, if the dict has a key that the schema lacks, or lacks one that must be given.
    """
    hints = _hints(part)
    if unknown := set(data) - set(hints):
        raise KeyError(f"{path}{min(unknown)}: {NO_SUCH_KEY}")
    values = {key: _value(hints[key], value, f"{path}{key}") for key, value in data.items()}
    made = part(**values)
    if missing := [f"{path}{key}" for key in hints if getattr(made, key) == MISSING]:
        raise KeyError(f"{', '.join(missing)}: must be given")
    for key in hints:
        default = getattr(made, key)
        if key not in data and dataclasses.is_dataclass(default):
            from_plain(type(default), {}, f"{path}{key}.")  # raises if one of its keys must be given
    return made


def find_misfit(part: type, data: Mapping[str, Any], path: str = "") -> str | None:
    """The first key of the schema whose value in `data` is of another type, as a sentence; None if there is none.

    Keys that the schema does not have, or `data` does not, are passed over: other versions have others.
    """
    hints = _hints(part)
    for key, value in data.items():
        if key not in hints:
            continue
        options = get_args(hints[key]) if get_origin(hints[key]) is Union else (hints[key],)
        parts = [each for each in options if isinstance(each, type) and dataclasses.is_dataclass(each)]
        if parts and isinstance(value, Mapping):
            if misfit := find_misfit(parts[0], value, f"{path}{key}."):
                return misfit
        elif Any not in options and not any(_fits(each, value) for each in options):
            return f"{path}{key}: not of its type: {value!r:.40}"
    return None


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value, as JSON holds it, is one of this kind."""
    origin = get_origin(kind) or kind
    if origin is list:
        return isinstance(value, list) and all(_fits(get_args(kind)[0], each) for each in value)
    if origin is dict:
        item = get_args(kind)[1]
        return isinstance(value, dict) and (item is Any or all(_fits(item, each) for each in value.values()))
    if origin is float:
        return (isinstance(value, (int, float)) and not isinstance(value, bool)) or value in ("inf", "-inf", "nan")
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return isinstance(value, str)
    return isinstance(value, origin)  # also of None, whose kind is NoneType


def effective_config(config: RunConfig) -> dict[str, Any]:
    """The config as plain data, without options that had no effect.

    These are the parts of other kinds of loads, and those of an engine that already ran. Of a model that is unknown
    only the names are stated, as records of other tools' results do.
    """
    facts: dict[str, Any] = to_plain(config)
    for part in config.workload.other_parts:
        del facts["workload"][part]
    if config.model.is_unknown:
        facts["model"] = {key: facts["model"][key] for key in STATED_OF_UNKNOWN}
    if config.engine.base_url is not None:
        facts["engine"] = {key: value for key, value in facts["engine"].items() if key in EXTERNAL_SERVER_KEYS}
    return facts


def _value(hint: Any, value: Any, path: str) -> Any:
    kind = next((each for each in (hint, *get_args(hint)) if isinstance(each, type)), None)
    if value is None or kind is None:
        return value
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, f"{path}.")
    if issubclass(kind, Enum):
        return value if isinstance(value, kind) else kind[value]
    return float(value) if kind is float else value


@cache
def _hints(part: type) -> dict[str, Any]:
    return get_type_hints(part)
