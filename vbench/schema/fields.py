"""What a config key means, kept beside its default in the field's metadata: help and completion read it from here.

It does not know Hydra; OmegaConf ignores the metadata.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar, Union

T = TypeVar("T")
MISSING: Any = "???"  # OmegaConf's mark for a value that must be given


def key(default: T, meaning: str, *, unit: str = "", choices: tuple[str, ...] = (), allowed: str = "") -> T:
    """A field of a config dataclass: its default, and for people what it means.

    `choices` are the words that a text takes; `allowed` is what else the type does not say of the values.
    """
    about = {"meaning": meaning, "unit": unit, "choices": choices, "allowed": allowed}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=about)
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Key:
    """One key that holds a value, as `vbench --help` lists it."""

    name: str  # dotted: workload.slo.ttft_ms
    default: Any  # MISSING where it must be given
    kinds: tuple[type, ...]  # the types of its values; NoneType among them where it may be null
    meaning: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    allowed: str = ""

    @property
    def words(self) -> list[str]:
        """The words that are values of it: those of its choices, enum or truth value, and null."""
        words = [each.name for kind in self.kinds if issubclass(kind, Enum) for each in kind]
        words += ["true", "false"] if bool in self.kinds else []
        return [*words, *self.choices, *(["null"] if types.NoneType in self.kinds else [])]


def keys(part: type, path: str = "") -> list[Key]:
    """All keys of a config dataclass that hold a value, in order, those of its parts included."""
    hints = typing.get_type_hints(part)
    found: list[Key] = []
    for each in dataclasses.fields(part):
        name = f"{path}{each.name}"
        kinds = _kinds(hints[each.name])
        nested = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
        made = each.default if each.default is not dataclasses.MISSING else None
        if each.default_factory is not dataclasses.MISSING:
            made = each.default_factory()
        leaf = Key(name, made, kinds, **each.metadata)
        found += [inner for kind in nested for inner in keys(kind, f"{name}.")] or [leaf]
    return found


def _kinds(hint: Any) -> tuple[type, ...]:
    options = typing.get_args(hint) if typing.get_origin(hint) is Union else (hint,)
    return tuple(typing.get_origin(option) or (object if option is Any else option) for option in options)
