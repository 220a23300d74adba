"""Work once for each distinct value of a column, because a store has many runs and few values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd


def map_distinct(column: pd.Series, function: Callable[[Any], Any]) -> pd.Series:
    """The function of each value, as objects."""
    codes, values = pd.factorize(column, use_na_sentinel=False)
    made = np.empty(len(values), dtype=object)
    made[:] = [function(value) for value in values]
    return pd.Series(made[codes], index=column.index, dtype=object)


def number_rows(columns: Sequence[pd.Series]) -> tuple[Any, Any]:
    """A number for each row, equal where all columns are equal, and the place of the first row of each number."""
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        more, values = pd.factorize(column, use_na_sentinel=False)
        _, codes = np.unique(codes * len(values) + more, return_inverse=True)
    _, first = np.unique(codes, return_index=True)
    return codes, first
