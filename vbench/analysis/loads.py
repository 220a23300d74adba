"""Which load parameter was swept: num_prompts, request_rate, max_concurrency or sessions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from vbench.plan.load_rules import READERS

LENGTHS, SEARCH = "workload.lengths", "search"
# Settings that some kinds of loads read, by column; the others have lengths of their own.
READ_BY = {f"workload.{key}": [kind.name for kind in READERS[key]] for key in ("input_len", "output_len")}
SEARCHES = {
    "max_concurrency": "closed loop whose max_concurrency was searched",
    "request_rate": "open loop whose request_rate was searched",
    "sessions": "closed loop whose sessions were searched",
}


# Lengths and ramps whose sends do not follow from request_rate, by the column that names them.
PACED = {
    LENGTHS: {"trace", "conversations", "agents", "agent_trace", "none"},
    "workload.ramp_up_strategy": {"linear", "exponential"},
}


@dataclass(frozen=True)
class LoadAxis:
    """A load parameter, and how its values are written."""

    column: str  # of the runs
    unit: str  # follows a value at its point: "8 req/s"; "" writes the bare number in a figure

    @property
    def name(self) -> str:
        """VLLM's argument name, as captions and figures give it."""
        return self.column.rpartition(".")[2]

    def describe_point(self, value: float) -> str:
        """`320`, `8 req/s`, `16 at once`."""
        return f"{value:g} {self.unit}".strip()

    def say_point(self, value: float) -> str:
        """`320 prompts`, `8 req/s`, `16 at once`: also where no legend names the parameter."""
        return f"{value:g} {self.unit or 'prompts'}"


SESSIONS = LoadAxis("workload.sessions", "sessions")
NUM_PROMPTS = LoadAxis("num_prompts", "")
LOAD_AXES = (
    LoadAxis("workload.request_rate", "req/s"),
    LoadAxis("workload.max_concurrency", "at once"),
    SESSIONS,
    NUM_PROMPTS,
)


def is_paced(rows: pd.DataFrame) -> pd.Series:
    """Which rows have send times of their own, so that their request_rate says nothing."""
    found = pd.Series(False, index=rows.index)
    for column in PACED.keys() & set(rows):
        found |= rows[column].isin(PACED[column])
    return found


def leave_out_unused(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without the recorded settings that their kind of load does not use; an unknown kind keeps its own."""
    kinds = rows[LENGTHS]
    unused = {each: kinds.notna() & ~kinds.isin(readers) for each, readers in READ_BY.items() if each in rows}
    return rows.assign(**{each: rows[each].mask(which, None) for each, which in unused.items()})


def describe_search(rows: pd.DataFrame) -> str:
    """Which load the searches of these rows varied, as `closed loop whose max_concurrency was searched`; or ""."""
    found = sorted(set(rows[SEARCH].dropna())) if SEARCH in rows else []
    return " · ".join(SEARCHES.get(each, f"{each} was searched") for each in found)


def load_axis_named(column: str) -> LoadAxis:
    """The axis with that column."""
    return next(axis for axis in LOAD_AXES if axis.column == column)


def choose_load_axis(rows: pd.DataFrame, conditions: Sequence[str], system: Sequence[str]) -> LoadAxis:
    """The load parameter with the most finite values within one `system` (columns); num_prompts if none was swept.

    Only parameters among the `conditions` are considered, besides num_prompts. Of equals the first of LOAD_AXES wins:
    where num_prompts grows with the request rate, the rate is the load.
    """
    best, most = NUM_PROMPTS, 1
    for axis in LOAD_AXES:
        if axis.column in rows and (axis is NUM_PROMPTS or axis.column in conditions):
            values = load_values(rows, axis).groupby([rows[key].map(str) for key in system]).nunique()
            if len(values) and values.max() > most:
                best, most = axis, int(values.max())
    return best


def load_values(rows: pd.DataFrame, axis: LoadAxis) -> pd.Series:
    """The axis' values as numbers; NaN where a run has no finite one (request_rate=inf, max_concurrency=null)."""
    return pd.to_numeric(rows[axis.column], errors="coerce").replace([np.inf, -np.inf], np.nan).astype(float)


def follows_load(rows: pd.DataFrame, condition: str) -> bool:
    """Whether the condition has one value at each load, whatever the system, and so says nothing beyond the load."""
    return bool((rows[condition].map(str).groupby(rows["load"]).agg(lambda each: len(set(each))) <= 1).all())
