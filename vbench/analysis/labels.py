"""What tells systems apart, in words. Pure.

Runs that differ in anything that shapes a result are never put in one series: what differs is added to the name of the
series (or of the model, where it differs only between models). In a table or a figure they stand apart and named,
because an engine's version or its weights are often the very thing to be compared. A number that would be made of
several of them, such as a mean over all, is refused: `mixed` says what differs and how to choose.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.frame import FACTS, plain
from vbench.engine.command import starts_vllm
from vbench.schema import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Facts that belong to a thing already named differ only where they differ for the same name.
SCOPES = {"model.": "model", "device": "hardware"}
WORTH_SAYING = (
    "engine_version",
    "device",
    "engine.weights",
    "workload.lengths",
    "workload.request_rate",
    "workload.max_concurrency",
    "engine.max_model_len",
    "engine.enforce_eager",
    "engine.command",
    "engine.extra_args",
    "source",
)
WORDS = {
    "sharegpt": "ShareGPT lengths",
    "random": "random lengths",
    "sharegpt_file": "lengths of a ShareGPT file",
    "none": "no load",
}
SYSTEM = ("hardware", "parallelism")
TAGS = {"device": "gpu"}  # a fact is a tag of its own name, but for the device of the GPUs


def labelled(rows: pd.DataFrame, conditions: Iterable[str], names: Sequence[str] = SYSTEM) -> pd.DataFrame:
    """The rows with `system` (model · what differs by model), `series` (`names` · what differs) and `beyond`.

    `beyond` is what differs alone: rows of one system and one `beyond` differ in `names` only.
    """
    split: list[str] = []
    by_model: list[str] = []
    for condition in conditions:
        if differs(rows, condition):
            (by_model if _constant_within(rows, condition, "model") else split).append(condition)
    return rows.assign(
        series=_joined(rows, names, split), system=_joined(rows, ["model"], by_model), beyond=_joined(rows, [], split)
    )


def differs(rows: pd.DataFrame, condition: str) -> bool:
    """Whether the rows were not all made under the same condition."""
    if len(_values(rows, condition)) <= 1:
        return False
    scope = next((scope for prefix, scope in SCOPES.items() if condition.startswith(prefix)), None)
    return not (scope and _constant_within(rows, condition, scope))


def measured(rows: pd.DataFrame) -> str:
    """In one line what all rows have in common: engine, device, weights, load; a dummy, CPU or fake is always said."""
    said = []
    paced = {"workload.lengths", "workload.ramp_up_strategy"} & set(rows)  # by a trace, or by a ramp
    unpaced = not any(_values(rows, each) & {"trace", "linear", "exponential", "none"} for each in paced)
    for condition in WORTH_SAYING:
        if condition in rows and (unpaced or condition != "workload.request_rate"):
            values = _values(rows, condition)
            if len(values) == 1 or condition == "device":
                said += [word for value in sorted(values) if (word := _said(condition, value))]
    return " · ".join(said)


def mixed(rows: pd.DataFrame, conditions: Iterable[str]) -> str:
    """In words, what the rows differ in and how to choose; "" where nothing differs. For a number made of them all."""
    said = []
    for condition in conditions:
        if not condition.startswith("model.") and differs(rows, condition):
            values = sorted(value or "null" for value in _values(rows, condition))
            choice = f"where=\"{_column(condition)} = '{values[0]}'\""
            said.append(f"{condition} ({', '.join(values)}; choose with {choice})")
    return "; ".join(said)


def apart(one: pd.DataFrame, other: pd.DataFrame, conditions: Iterable[str]) -> str:
    """In words, in which conditions the rows of one have nothing in common with those of the other."""
    said = []
    for condition in conditions:
        values, others = _values(one, condition), _values(other, condition)
        if values and others and not values & others:
            said.append(f"{condition} ({', '.join(sorted(values))} against {', '.join(sorted(others))})")
    return "; ".join(said)


def _column(condition: str) -> str:
    """The condition as MLflow's filter names it."""
    return f"tags.`vbench.{TAGS.get(condition, condition)}`" if condition in FACTS else f"params.`{condition}`"


def _constant_within(rows: pd.DataFrame, condition: str, scope: str) -> bool:
    return all(len(_values(group, condition)) <= 1 for _, group in rows.groupby(scope))


def _values(rows: pd.DataFrame, condition: str) -> set[str]:
    """The different values in words; a value that an imported run lacks is unknown and no value."""
    column = rows[condition]
    known = column.notna() | (rows["source"] != "imported")
    values = {plain(value) for value in column[known].drop_duplicates()}
    return values - {""} if condition in FACTS else values


def _joined(rows: pd.DataFrame, names: Sequence[str], conditions: list[str]) -> pd.Series:
    parts = [rows[name].map(plain) for name in names]
    parts += [rows[each].map(lambda value, key=each: _word(key, plain(value))) for each in conditions]
    words = zip(*parts, strict=True) if parts else [()] * len(rows)
    return pd.Series([" · ".join(word for word in each if word) for each in words], index=rows.index, dtype=object)


def _word(condition: str, value: str) -> str:
    if not value or condition in FACTS:
        return value
    if condition == "engine.weights":
        return f"{value} weights"
    if condition == "engine.command":
        return _command(json.loads(value))
    if condition == "engine.extra_args":
        return " ".join(json.loads(value))
    return WORDS.get(value, value) if condition == "workload.lengths" else f"{condition.rpartition('.')[2]}={value}"


def _said(condition: str, value: str) -> str:
    if condition == "source":
        return "" if value == "measured" else f"source: {value}"
    if condition == "workload.request_rate":
        return "all prompts at once" if value == "inf" else f"{value} requests/s"
    if condition == "engine.enforce_eager":
        return "enforce_eager" if value == "true" else ""
    return _word(condition, value)


def _command(command: Sequence[str]) -> str:
    if command == Engine().command:
        return ""
    told = " ".join(command).replace("python -m vllm.entrypoints.cli.main ", "vllm ")
    return told if starts_vllm(command) else f"not vLLM's own server: {told}"
