"""What tells systems apart, in words. Pure.

Runs that differ in anything that shapes a result never share a series: what differs is added to the label of the
system (or of the model, where it differs only between models). Tables and figures show such runs side by side, because
an engine's version or its weights are often the very thing to compare. A number made of several of them, such as a mean
over all, is refused: `describe_mixed` says what differs and how to choose.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.frame import FACTS, METADATA, UNKNOWN, value_text
from vbench.analysis.loads import (
    LOAD_AXES,
    NUM_PROMPTS,
    LoadAxis,
    choose_load_axis,
    follows_load,
    load_axis_named,
    load_values,
)
from vbench.engine.command import starts_vllm
from vbench.schema import Engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# A fact about something already named differs only where it differs for the same name.
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
TAGS = {"device": "gpu"}  # a fact's tag has its name, except for the device of GPUs
NOT_SET = "not set"
RATE, CONCURRENCY = "workload.request_rate", "workload.max_concurrency"
UNBOUNDED = {RATE: "all prompts at once", CONCURRENCY: "no max_concurrency"}


def add_labels(rows: pd.DataFrame, conditions: Iterable[str], names: Sequence[str] = SYSTEM) -> pd.DataFrame:
    """The rows with `model_label`, `system_label`, `conditions_label`, `load` and `load_axis`.

    model_label: the model, and the conditions that differ only between models. system_label: `names`, and the
    conditions that differ. conditions_label: only what differs, so that rows of one model_label and one
    conditions_label differ in `names` alone. load: the value of the load parameter that was swept, which is then no
    condition; load_axis: its column. A run without a finite value is placed by num_prompts, and its label says so.
    """
    split: list[str] = []
    by_model: list[str] = []
    loads = {axis.column for axis in LOAD_AXES}
    conditions = list(conditions)
    for condition in conditions:
        if condition not in loads and differs(rows, condition):
            (by_model if _constant_within(rows, condition, "model") else split).append(condition)
    system = ["model", *names, *split]
    axis = choose_load_axis(rows, conditions, system)
    rows = _add_load(rows, axis)
    split += [each for each in _other_loads(conditions, axis) if differs(rows, each) and not follows_load(rows, each)]
    parts = [*_condition_phrases(rows, split), _unbounded_phrase(rows, axis)]
    named = [rows[name].map(value_text).replace(UNKNOWN, "") for name in names]
    system_label = _join(rows, named, parts)
    return rows.assign(
        system_label=system_label.where(system_label != "", "unknown system"),
        model_label=_join(rows, [rows["model"].map(value_text)], _condition_phrases(rows, by_model)),
        conditions_label=_join(rows, [], parts),
    )


def load_axis(rows: pd.DataFrame) -> LoadAxis:
    """The load axis of labelled rows: the one that most of them have."""
    return load_axis_named(rows["load_axis"].mode().iloc[0]) if len(rows) else NUM_PROMPTS


def differs(rows: pd.DataFrame, condition: str) -> bool:
    """Whether the rows were not all made under the same condition."""
    if len(_values(rows, condition)) <= 1:
        return False
    scope = next((scope for prefix, scope in SCOPES.items() if condition.startswith(prefix)), None)
    return not (scope and _constant_within(rows, condition, scope))


def shared_conditions(rows: pd.DataFrame) -> str:
    """One line with what all rows share: engine, device, weights, load. Dummy weights, CPUs and fakes always show."""
    words = []
    paced = {"workload.lengths", "workload.ramp_up_strategy"} & set(rows)  # by a trace, or by a ramp
    unpaced = not any(_values(rows, each) & {"trace", "linear", "exponential", "none"} for each in paced)
    for condition in WORTH_SAYING:
        if condition in rows and (condition != RATE or (unpaced and not _is_capped(rows))):
            values = _values(rows, condition)
            if len(values) == 1 or condition == "device":
                words += [word for value in sorted(values) if (word := _caption_phrase(condition, value))]
    if _has_dummy_experts(rows):
        words.append("dummy experts")
    swept = "load_axis" in rows and (rows["load_axis"] != NUM_PROMPTS.column).all()
    if swept and len(set(rows["num_prompts"])) == 1:
        words.append(f"{rows['num_prompts'].iloc[0]:g} prompts")
    return " · ".join(words)


def describe_mixed(rows: pd.DataFrame, conditions: Iterable[str]) -> str:
    """What the rows differ in and how to choose, for a number made of them all; "" where nothing differs."""
    found = []
    for condition in conditions:
        if not condition.startswith("model.") and differs(rows, condition):
            values = sorted(value or "null" for value in _values(rows, condition))
            choice = f"where=\"{_filter_column(condition)} = '{values[0]}'\""
            found.append(f"{condition} ({', '.join(values)}; choose with {choice})")
    return "; ".join(found)


def describe_disjoint(one: pd.DataFrame, other: pd.DataFrame, conditions: Iterable[str]) -> str:
    """The conditions in which the rows of one have nothing in common with those of the other."""
    found = []
    for condition in conditions:
        values, others = _values(one, condition), _values(other, condition)
        if values and others and not values & others:
            found.append(f"{condition} ({_join_values(values)} against {_join_values(others)})")
    return "; ".join(found)


def _has_dummy_experts(rows: pd.DataFrame) -> bool:
    """Whether random gates chose the experts in some rows: uneven routing, which follows from the prompts' seeds."""
    columns = {"model.num_experts", "engine.weights"}
    if not columns <= set(rows):
        return False
    native = rows["engine.moe_routing"].isna() if "engine.moe_routing" in rows else True
    experts = pd.to_numeric(rows["model.num_experts"], errors="coerce") > 0
    return bool((experts & (rows["engine.weights"] == "dummy") & native).any())


def _is_capped(rows: pd.DataFrame) -> bool:
    """Whether all prompts arrive at once but max_concurrency holds them back."""
    capped = CONCURRENCY in rows and _values(rows, CONCURRENCY) - {""}
    return bool(capped) and _values(rows, RATE) <= {"inf", ""}


def _add_load(rows: pd.DataFrame, axis: LoadAxis) -> pd.DataFrame:
    """With `load` and `load_axis`; a run without a finite value of the axis is placed by its num_prompts."""
    values = load_values(rows, axis)
    prompts = load_values(rows, NUM_PROMPTS)
    on_axis = values.notna()
    return rows.assign(
        load=values.where(on_axis, prompts), load_axis=on_axis.map({True: axis.column, False: "num_prompts"})
    )


def _other_loads(conditions: Sequence[str], axis: LoadAxis) -> list[str]:
    """The load parameters that are conditions, because another one is the axis (or this one has no finite value)."""
    candidates = [each.column for each in LOAD_AXES if each.column in conditions]
    return candidates if axis is NUM_PROMPTS else [*(each for each in candidates if each != axis.column), "num_prompts"]


def _condition_phrases(rows: pd.DataFrame, conditions: Sequence[str]) -> list[pd.Series]:
    return [rows[each].map(lambda value, key=each: _label_phrase(key, value_text(value))) for each in conditions]


def _unbounded_phrase(rows: pd.DataFrame, axis: LoadAxis) -> pd.Series:
    """Words for the runs that have no finite value of the load axis."""
    return (rows["load_axis"] != axis.column).map({True: UNBOUNDED.get(axis.column, ""), False: ""})


def _join(rows: pd.DataFrame, *parts: list[pd.Series]) -> pd.Series:
    columns = [column for some in parts for column in some]
    words = zip(*columns, strict=True) if columns else [()] * len(rows)
    return pd.Series([" · ".join(word for word in each if word) for each in words], index=rows.index, dtype=object)


def _filter_column(condition: str) -> str:
    """The condition as MLflow's filter names it."""
    if condition in FACTS:
        return f"tags.`vbench.{TAGS.get(condition, condition)}`"
    return (
        f"tags.`env.{condition.removeprefix(METADATA)}`" if condition.startswith(METADATA) else f"params.`{condition}`"
    )


def _constant_within(rows: pd.DataFrame, condition: str, scope: str) -> bool:
    return all(len(_values(group, condition)) <= 1 for _, group in rows.groupby(scope))


def _values(rows: pd.DataFrame, condition: str) -> set[str]:
    """The different values as text, "" where a run has none; a value that an imported run lacks is unknown: no value.

    What imported runs say of themselves (METADATA) is a value where it is absent, and unknown of our own runs.
    """
    column, imported = rows[condition], rows["source"] == "imported"
    described = imported & (rows["verdict"] != "FAILED")  # the note of a failure says nothing else
    known = described if condition.startswith(METADATA) else column.notna() | ~imported
    values = {value_text(value) for value in column[known].drop_duplicates()}
    return values - {""} if condition in FACTS else values


def _join_values(values: set[str]) -> str:
    return ", ".join(sorted(value or NOT_SET for value in values))


def _label_phrase(condition: str, value: str) -> str:
    """How a label gives a condition."""
    *_, parent, name = ["", *condition.split(".")]
    if not value or condition in FACTS:
        return value
    if condition == "engine.weights":
        return f"{value} weights"
    if condition == "engine.command":
        return _command_phrase(_words(value))
    if condition == "engine.extra_args":
        return " ".join(_words(value))
    if condition == "workload.lengths":
        return WORDS.get(value, value)
    return f"{parent}=sha256:{value}" if name == "sha256" else f"{name}={value}"


def _caption_phrase(condition: str, value: str) -> str:
    """How a caption gives a condition that all runs share."""
    if condition == "source":
        return "" if value == "measured" else f"source: {value}"
    if condition == RATE:
        return "all prompts at once" if value == "inf" else f"{value} requests/s"
    if condition == "engine.enforce_eager":
        return "enforce_eager" if value == "true" else ""
    return _label_phrase(condition, value)


def _words(value: str) -> list[str]:
    """A list that was written as JSON; anything else is one word, as another tool may have written it."""
    try:
        found = json.loads(value)
    except ValueError:
        return [value]
    return [str(each) for each in found] if isinstance(found, list) else [value]


def _command_phrase(command: Sequence[str]) -> str:
    if command == Engine().command:
        return ""
    words = " ".join(command).replace("python -m vllm.entrypoints.cli.main ", "vllm ")
    return words if starts_vllm(command) else f"not vLLM's own server: {words}"
