"""Which conditions of their runs rows have in common, and in which they differ. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from vbench.analysis.frame import FACTS, METADATA, value_text
from vbench.analysis.hosts import HOST
from vbench.analysis.loads import READ_BY
from vbench.analysis.precision import KV_CACHE, WEIGHTS

# A fact about something already named differs only where it differs for the same name.
SCOPES = {
    WEIGHTS: None,  # between models too: two models in unlike precisions are unlike systems
    KV_CACHE: None,
    "model.": "model",
    "device": "gpu_type",
    "host_cpu": "gpu_type",
    "driver": "gpu_type",
    "torch": "engine_version",
    "python": "engine_version",
    "kernel": "gpu_type",
    "config_json": "model",
    "prompts": "workload.lengths",  # a digest, which only says that two files, or two recipes, of one kind differ
}


def differs(rows: pd.DataFrame, condition: str) -> bool:
    """Whether the rows were not all made under the same condition."""
    if len(find_values(rows, condition)) <= 1:
        return False
    scope = next((scope for prefix, scope in SCOPES.items() if condition.startswith(prefix)), None)
    return not (scope and is_constant_within(rows, condition, scope))


def is_constant_within(rows: pd.DataFrame, condition: str, scope: str) -> bool:
    """Whether rows of the same value in the column `scope` were all made under the same condition."""
    codes, _ = _texts(rows, condition)
    scopes, _ = pd.factorize(rows[scope])
    pairs = np.unique(np.column_stack([scopes, codes])[(codes >= 0) & (scopes >= 0)], axis=0)
    return len(pairs) == len(np.unique(pairs[:, 0]))


def find_values(rows: pd.DataFrame, condition: str) -> set[str]:
    """The different values as text, "" where a run has none; a value that an imported run lacks is unknown: no value.

    What imported runs say of themselves (METADATA) is a value where it is absent, and unknown of our own runs. HOST is
    a value where it is absent: the fastest host.
    """
    codes, texts = _texts(rows, condition)
    return {texts[code] for code in np.unique(codes) if code >= 0}


def _texts(rows: pd.DataFrame, condition: str) -> tuple[Any, list[str]]:
    """The number of each row's value as text, -1 where it is no value (see `find_values`), and the texts."""
    codes, values = pd.factorize(rows[condition], use_na_sentinel=False)
    texts = [value_text(value) for value in values]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    if condition in FACTS and condition != HOST and "" in numbers:
        numbers[""] = -1
    found = np.array([numbers[text] for text in texts], dtype=np.int64)[codes]
    imported = rows["source"].to_numpy() == "imported"
    if condition in READ_BY:
        found = np.where(rows[condition].isna().to_numpy(), -1, found)
    elif condition.startswith(METADATA):
        failed = rows["verdict"].to_numpy() == "FAILED"  # the note of a failure says nothing else
        found = np.where(imported & ~failed, found, -1)
    elif imported.any():
        found = np.where(imported & rows[condition].isna().to_numpy(), -1, found)
    return found, list(numbers)
