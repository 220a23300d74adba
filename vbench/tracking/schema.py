"""What a parameter's text was before MLflow made it text, by the schema of `vbench.config`."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

import pandas as pd

from vbench.schema import RunConfig

TRUTH = {"true": True, "false": False}


def typed(key: str, column: pd.Series) -> pd.Series:
    """The column in the schema's type: float or int numbers, booleans, or the text as it was; `null` is missing.

    An option that takes a number or a word (max_model_len=auto) keeps its words.
    """
    kinds = _schema().get(key, frozenset({str}))
    column = column.where(column != "null", None)
    if bool in kinds:
        return column.map(lambda value: TRUTH.get(value, value))
    if not kinds & {int, float}:
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers.astype(object).where(numbers.notna(), column) if str in kinds else numbers


@functools.cache
def _schema() -> dict[str, frozenset[type]]:
    return dict(_leaves(RunConfig, ""))


def _leaves(kind: type, path: str) -> list[tuple[str, frozenset[type]]]:
    leaves: list[tuple[str, frozenset[type]]] = []
    hints = typing.get_type_hints(kind)
    for each in dataclasses.fields(kind):
        options = _options(hints[each.name])
        nested = [option for option in options if dataclasses.is_dataclass(option)]
        key = f"{path}{each.name}"
        leaves += [leaf for option in nested for leaf in _leaves(option, f"{key}.")] or [(key, frozenset(options))]
    return leaves


def _options(hint: Any) -> list[type]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [option for option in (typing.get_args(hint) if union else (hint,)) if option is not types.NoneType]
