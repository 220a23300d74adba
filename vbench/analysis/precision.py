"""In which precision a model was served: the data types of its weights and of its KV cache. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import pandas as pd

from vbench.schema.model import UNKNOWN

WEIGHTS, KV_CACHE = "model.weight_dtype", "model.kv_cache_dtype"
EXTRA_ARGS = "engine.extra_args"
SHORT = {"bfloat16": "BF16", "float16": "FP16", "half": "FP16", "float32": "FP32", "float": "FP32"}
# Options of the server that override what the model's config.json says; `auto` leaves it.
OPTIONS = {WEIGHTS: ("--quantization", "-q", "--dtype"), KV_CACHE: ("--kv-cache-dtype",)}


def add_precision(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with WEIGHTS and KV_CACHE as people write them: `FP8`, `BF16`; None where a run does not say.

    A server's own options take precedence over the model's facts.
    """
    changed: Mapping[str, dict[str, str]] = {}
    if EXTRA_ARGS in rows:
        changed = {value: _overrides(value) for value in rows[EXTRA_ARGS].dropna().unique()}
    return rows.assign(**{column: _column(rows, column, changed) for column in OPTIONS})


def _column(rows: pd.DataFrame, column: str, changed: Mapping[str, dict[str, str]]) -> pd.Series:
    recorded = rows[column] if column in rows else pd.Series(None, index=rows.index, dtype=object)
    if EXTRA_ARGS in rows:
        asked = rows[EXTRA_ARGS].map({value: found[column] for value, found in changed.items() if column in found})
        recorded = asked.astype(object).where(asked.notna(), recorded)
    return recorded.map(_short).astype(object)


def _short(name: Any) -> str | None:
    if not isinstance(name, str) or not name:
        return None
    return name if name == UNKNOWN else SHORT.get(name, name.upper())


def _overrides(arguments: str) -> dict[str, str]:
    """The data types that a JSON list of arguments sets, by column; of an option given twice the last counts."""
    try:
        words = [str(word) for word in json.loads(arguments)]
    except (ValueError, TypeError):
        return {}
    pairs = [
        tuple(word.split("=", 1)) if "=" in word else (word, after)
        for word, after in zip_longest(words, words[1:], fillvalue="")
    ]
    given = {option.replace("_", "-"): value for option, value in pairs if value and value != "auto"}
    found = {}
    for column, options in OPTIONS.items():
        for option in options:
            if option in given:
                found[column] = given[option]
                break
    return found
