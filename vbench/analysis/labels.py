"""What tells systems apart, in words. Pure.

Runs that differ in anything that shapes a result never share a series: what differs is added to the label of the
system (or of the model, where it differs only between models). Tables and figures show such runs side by side, because
an engine's version or its weights are often the very thing to compare. A number made of several of them, such as a mean
over all, is refused: `describe_mixed` says what differs and how to choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from vbench.analysis.conditions import differs, find_values, is_constant_within
from vbench.analysis.frame import FACTS, METADATA, UNKNOWN, value_text
from vbench.analysis.hosts import HOST
from vbench.analysis.loads import (
    LOAD_AXES,
    NUM_PROMPTS,
    LoadAxis,
    choose_load_axis,
    describe_search,
    follows_load,
    is_paced,
    load_axis_named,
    load_values,
)
from vbench.analysis.per_value import map_distinct, number_rows
from vbench.analysis.phrases import CONCURRENCY, RATE, caption_phrase, label_phrase
from vbench.analysis.precision import KV_CACHE, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

PRECISION = (WEIGHTS, KV_CACHE)
WORTH_SAYING = (
    "engine_version",
    "device",
    "engine.weights",
    WEIGHTS,
    KV_CACHE,
    "workload.lengths",
    "workload.request_rate",
    "workload.max_concurrency",
    "engine.max_model_len",
    "engine.enforce_eager",
    "engine.command",
    "engine.extra_args",
    "source",
)
SYSTEM = ("hardware", "parallelism")
# The tag of a fact, where it is not vbench.NAME; a host's speed is derived, so that only a session chooses it.
TAGS = {
    "device": "vbench.gpu",
    "host_cpu": "vbench.cpu",
    "driver": "env.driver",
    "torch": "env.torch",
    "python": "env.python",
    "kernel": "env.kernel",
    "config_json": "vbench.config_json",
    "prompts": "env.prompts",
    HOST: "vbench.session",
}
NOT_SET = "not set"
MOST_NAMED = 5  # experiments in a note
EXTENT = ("workload.duration_s", "workload.warmup_s")  # how long a load was measured, which may follow the load
UNBOUNDED = {RATE: "all prompts at once", CONCURRENCY: "no max_concurrency"}


def add_labels(
    rows: pd.DataFrame, conditions: Iterable[str], names: Sequence[str] = SYSTEM, *, join_experiments: bool = False
) -> pd.DataFrame:
    """The rows with `model_label`, `system_label`, `conditions_label`, `load` and `load_axis`.

    model_label: the model, and the conditions that differ only between models. system_label: `names`, and the
    conditions that differ. conditions_label: only what differs, so that rows of one model_label and one
    conditions_label differ in `names` alone. load: the value of the load parameter that was swept, which is then no
    condition; load_axis: its column. A run without a finite value is placed by num_prompts, and its label says so.

    Where runs of one system come from several experiments, the experiment is a condition too, unless
    `join_experiments`: two campaigns are never one curve.
    """
    split: list[str] = []
    by_model: list[str] = []
    loads = {axis.column for axis in LOAD_AXES}
    conditions = list(conditions)
    extent = [each for each in EXTENT if each in conditions]
    for condition in conditions:
        if condition not in (*loads, *extent) and differs(rows, condition):
            (by_model if is_constant_within(rows, condition, "model") else split).append(condition)
    system = ["model", *names, *split]
    axis = choose_load_axis(rows, conditions, system)
    rows = _add_load(rows.copy(), axis)  # the copy joins the parts of a frame that was made column by column
    others = [*_other_loads(conditions, axis), *extent]
    split += [each for each in others if differs(rows, each) and not follows_load(rows, each)]
    parts = [*_condition_phrases(rows, split), _unbounded_phrase(rows, axis)]
    if not join_experiments and _mixes_experiments(rows, parts):
        parts.append(rows["experiment"].map("experiment={}".format))
    named = [map_distinct(rows[name], _name) for name in names]
    system_label = _join(rows, named, parts)
    return rows.assign(
        system_label=system_label.where(system_label != "", "unknown system"),
        model_label=_join(rows, [map_distinct(rows["model"], value_text)], _condition_phrases(rows, by_model)),
        conditions_label=_join(rows, [], parts),
    )


def join_phrases(rows: pd.DataFrame, conditions: Sequence[str]) -> pd.Series:
    """What each row says of these conditions, as labels give it."""
    return _join(rows, _condition_phrases(rows, conditions))


def describe_join(rows: pd.DataFrame) -> list[str]:
    """That rows of several experiments are compared, and how to choose one; nothing if they are of one."""
    names = sorted(set(rows["experiment"]))
    if len(names) < 2:
        return []
    listed = ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if names[MOST_NAMED:] else "")
    return [f"Joins {len(names)} experiments: {listed}; experiment=… chooses one."]


def load_axis(rows: pd.DataFrame) -> LoadAxis:
    """The load axis of labelled rows: the one that most of them have."""
    return load_axis_named(rows["load_axis"].mode().iloc[0]) if len(rows) else NUM_PROMPTS


def shared_conditions(rows: pd.DataFrame, shown: pd.DataFrame | None = None) -> str:
    """One line with what all rows share: engine, device, weights, load. Dummy weights, CPUs and fakes always show.

    `shown` has further rows of the same table, such as failed runs: a precision that differs among them is not shared.
    """
    words = []
    searched = describe_search(rows)
    unpaced = not searched and not is_paced(rows).any()
    for condition in WORTH_SAYING:
        if shown is not None and condition in PRECISION and differs(shown, condition):
            continue
        if condition in rows and (condition != RATE or (unpaced and not _is_capped(rows))):
            values = find_values(rows, condition)
            if len(values) == 1 or condition == "device":
                words += [word for value in sorted(values) if (word := caption_phrase(condition, value))]
    words += [searched] if searched else []
    if _has_dummy_experts(rows):
        words.append("dummy experts")
    swept = "load_axis" in rows and (rows["load_axis"] != NUM_PROMPTS.column).all()
    if swept and len(set(rows["num_prompts"])) == 1:
        words.append(f"{rows['num_prompts'].iloc[0]:g} prompts")
    words += [f"{each.split('.')[1]} from {least:g} to {most:g}" for each, least, most in _extents(rows)]
    return " · ".join(words)


def _extents(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Each setting of EXTENT that differs among the rows: column, least, most."""
    numbers = {each: pd.to_numeric(rows[each], errors="coerce").dropna() for each in EXTENT if each in rows}
    return [(each, found.min(), found.max()) for each, found in numbers.items() if len(found.unique()) > 1]


def describe_mixed(rows: pd.DataFrame, conditions: Iterable[str]) -> str:
    """What the rows differ in and how to choose, for a number made of them all; "" where nothing differs."""
    found = []
    for condition in conditions:
        if not condition.startswith("model.") and differs(rows, condition):
            values = sorted(value or "null" for value in find_values(rows, condition))
            choice = f"where=\"{_filter_column(condition)} = '{values[0]}'\""
            found.append(f"{condition} ({', '.join(values)}; choose with {choice})")
    return "; ".join(found)


def describe_disjoint(one: pd.DataFrame, other: pd.DataFrame, conditions: Iterable[str]) -> str:
    """The conditions in which the rows of one have nothing in common with those of the other."""
    found = []
    for condition in conditions:
        values, others = find_values(one, condition), find_values(other, condition)
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
    capped = CONCURRENCY in rows and find_values(rows, CONCURRENCY) - {""}
    return bool(capped) and find_values(rows, RATE) <= {"inf", ""}


def _mixes_experiments(rows: pd.DataFrame, parts: Sequence[pd.Series]) -> bool:
    """Whether one system, under one set of conditions, was measured in several experiments."""
    if "experiment" not in rows or len(rows["experiment"].unique()) < 2:
        return False
    system = [rows[each].map(str) for each in ("model", *SYSTEM)]
    return bool((rows["experiment"].groupby([*system, *parts]).agg(lambda each: len(set(each))) > 1).any())


def _name(value: Any) -> str:
    text = value_text(value)
    return "" if text == UNKNOWN else text


def _add_load(rows: pd.DataFrame, axis: LoadAxis) -> pd.DataFrame:
    """With `load` and `load_axis`; a run without a finite value of the axis is placed by its num_prompts."""
    values = load_values(rows, axis)
    prompts = load_values(rows, NUM_PROMPTS)
    on_axis = values.notna()
    return rows.assign(
        load=values.where(on_axis, prompts), load_axis=np.where(on_axis, axis.column, NUM_PROMPTS.column).astype(object)
    )


def _other_loads(conditions: Sequence[str], axis: LoadAxis) -> list[str]:
    """The load parameters that are conditions, because another one is the axis (or this one has no finite value)."""
    candidates = [each.column for each in LOAD_AXES if each.column in conditions]
    return candidates if axis is NUM_PROMPTS else [*(each for each in candidates if each != axis.column), "num_prompts"]


def _condition_phrases(rows: pd.DataFrame, conditions: Sequence[str]) -> list[pd.Series]:
    def phrase(key: str) -> Callable[[Any], str]:
        return lambda value: label_phrase(key, value_text(value))

    return [map_distinct(rows[each], phrase(each)) for each in conditions]


def _unbounded_phrase(rows: pd.DataFrame, axis: LoadAxis) -> pd.Series:
    """Words for the runs that have no finite value of the load axis; a load with times of its own needs none."""
    words = map_distinct(
        rows["load_axis"], lambda column: "" if column == axis.column else UNBOUNDED.get(axis.column, "")
    )
    if axis.column != RATE:
        return words
    return words.mask(is_paced(rows), "")


def _join(rows: pd.DataFrame, *parts: list[pd.Series]) -> pd.Series:
    columns = [column for some in parts for column in some]
    if not columns:
        return pd.Series("", index=rows.index, dtype=object)
    numbers, first = number_rows(columns)
    words = zip(*(column.iloc[first] for column in columns), strict=True)
    joined = np.array([" · ".join(word for word in each if word) for each in words], dtype=object)
    return pd.Series(joined[numbers], index=rows.index, dtype=object)


def _filter_column(condition: str) -> str:
    """The condition as MLflow's filter names it."""
    if condition in FACTS:
        return f"tags.`{TAGS.get(condition, f'vbench.{condition}')}`"
    return (
        f"tags.`env.{condition.removeprefix(METADATA)}`" if condition.startswith(METADATA) else f"params.`{condition}`"
    )


def _join_values(values: set[str]) -> str:
    return ", ".join(sorted(value or NOT_SET for value in values))
