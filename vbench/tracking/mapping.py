"""The one mapping between a record and MLflow: facts are flattened to text for filing and restored for comparing. Pure.

    flatten(record)          a record -> parameters, metrics and tags
    restore(key, column)     a parameter's text -> numbers and booleans, by the types of the schema
    COLUMN_NAMES             a column of `tracking.query` -> the name by which analysis knows the fact

A fact that is a leaf of neither the config nor the environment takes one line in FACTS. MLflow truncates long values
silently: a value beyond its limit is only in `record.json`, among the run's artifacts; the tag `vbench.only_in_record`
names it, and a parameter `….sha256` distinguishes two such values.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from vbench.metrics.bounds import Bound, find_bound
from vbench.plan.naming import dotted_leaves, format_value, split_name
from vbench.schema import Gpu, Hardware, Parallelism, RunConfig
from vbench.tracking.note import note

if TYPE_CHECKING:
    import pandas as pd

    from vbench.schema.record import Record

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_KEY = 250
DIGITS = 9
BLOBS = {"config_json"}  # whole files of facts: useful to a program, noise in a table
TRUTH = {"true": True, "false": False}


class Fact(NamedTuple):
    """A value derived from a record, or a leaf whose name in analysis differs from its path."""

    column: str  # of `tracking.query`: params.… or tags.…
    derive: Callable[[Record], str | None] | None = None  # None: a leaf of the config or the environment
    name: str = ""  # in analysis, if it differs from the column's


def _hardware_name(record: Record) -> str | None:
    if "hardware" not in record.config:
        return None
    gpu = record.config["hardware"]["gpu"]
    if not gpu and record.config.get("engine", {}).get("base_url") is not None:
        return "remote"
    return Hardware(gpus=record.config["hardware"]["gpus"], gpu=Gpu(name=gpu["name"]) if gpu else None).name


def _parallelism_name(record: Record) -> str | None:
    return split_name(Parallelism(**record.config["parallelism"])) if "parallelism" in record.config else None


def _point(record: Record) -> str:
    """The session and the load: the same for repeats of a point, which differ only in their seed."""
    load = record.name.removesuffix(f" s{record.config.get('workload', {}).get('seed', 0)}")
    return f"{record.session} · {load.rpartition(' · ')[2]}"


def _gpu(record: Record) -> str:
    return " + ".join(sorted(set(record.environment.get("gpus", []))))


def _config_digest(record: Record) -> str | None:
    """What tells two published files of one model apart; None where the record has none."""
    published = record.config.get("model", {}).get("config_json")
    if not published:
        return None
    return hashlib.sha256(json.dumps(published, sort_keys=True).encode(errors="replace")).hexdigest()[:12]


def _bound(record: Record) -> Bound:
    return find_bound(record) or Bound("", "")


FACTS = (
    Fact("params.model.name", name="model"),
    Fact("params.hardware.name", _hardware_name, "hardware"),  # 2xh100
    Fact("params.hardware.gpus", name="gpus"),
    Fact("params.parallelism.name", _parallelism_name, "parallelism"),  # tp2
    *(
        Fact(f"params.parallelism.{size}", name=size)
        for size in (
            *("tensor_parallel_size", "pipeline_parallel_size"),
            *("attention_data_parallel_size", "data_parallel_size"),
        )
    ),
    Fact("params.workload.num_prompts", name="num_prompts"),
    Fact("params.workload.search", name="search"),
    Fact("tags.vbench.run_key", name="run_key"),  # filed when the run is created
    Fact("tags.vbench.validity", lambda record: record.verdict, "verdict"),
    Fact("tags.vbench.failure", lambda record: record.failure.kind if record.failure else None, "failure"),
    Fact("tags.vbench.reasons", lambda record: " ".join(each.code for each in record.invalid), "reasons"),
    Fact("tags.vbench.warnings", lambda record: " ".join(each.code for each in record.warnings), "warnings"),
    Fact("tags.vbench.session", lambda record: record.session, "session"),
    Fact("tags.vbench.point", _point),
    Fact("tags.vbench.campaign", lambda record: record.experiment),
    Fact("tags.vbench.source", lambda record: record.source, "source"),
    Fact("tags.vbench.bound_by", lambda record: _bound(record).what),
    Fact("tags.vbench.bound_grounds", lambda record: _bound(record).grounds),
    Fact("tags.vbench.parent", lambda record: record.parent, "parent"),
    Fact("tags.vbench.weights", lambda record: record.config.get("engine", {}).get("weights")),
    Fact("tags.vbench.engine_version", lambda record: record.environment.get("engine"), "engine_version"),
    Fact("tags.vbench.gpu", _gpu, "gpu"),
    Fact("tags.vbench.cpu", lambda record: record.environment.get("cpu"), "cpu"),
    Fact("tags.env.vbench", name="vbench"),
    Fact("tags.env.driver", name="driver"),
    Fact("tags.env.torch", name="torch"),
    Fact("tags.env.python", name="python"),
    Fact("tags.env.kernel", name="kernel"),
    Fact("tags.vbench.config_json", _config_digest, "config_json"),
    Fact("tags.env.prompts", name="prompts"),
    Fact("tags.env.held_since", name="held_since"),
    Fact("tags.mlflow.note.content", note),
)
COLUMN_NAMES = {fact.column: fact.name for fact in FACTS if fact.name}


@dataclass(frozen=True)
class Row:
    """One run in MLflow's terms."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def flatten(record: Record) -> Row:
    """The record's facts: parameters under dotted config paths, metrics under their own keys, the rest as tags."""
    params = {
        key: format_value(value) for key, value in dotted_leaves(record.config) if BLOBS.isdisjoint(key.split("."))
    }
    params |= _derived(record, "params.")
    tags = {f"env.{key}": format_value(value) for key, value in dotted_leaves(record.environment) if value is not None}
    tags |= {f"server.{key}": value for key, value in dotted_leaves(record.server) if isinstance(value, str)}
    tags |= _derived(record, "tags.")
    numbers = record.metrics | {f"server.{key}": value for key, value in _numbers(record.server)}
    long = {key: value for key, value in params.items() if len(value) > LONGEST_PARAM}
    params |= {
        f"{key}.sha256": hashlib.sha256(value.encode(errors="replace")).hexdigest()[:12] for key, value in long.items()
    }
    left_out = [*long, *(key for key, value in tags.items() if len(value) > LONGEST_TAG)]
    if left_out:
        tags["vbench.only_in_record"] = " ".join(left_out)[:LONGEST_TAG]
    return Row(
        params={_key(key): replace_surrogates(value) for key, value in params.items() if key not in left_out},
        metrics={_key(key): round_digits(value) for key, value in numbers.items() if math.isfinite(value)},
        tags={_key(key): replace_surrogates(value) for key, value in tags.items() if key not in left_out},
    )


def restore(key: str, column: pd.Series) -> pd.Series:
    """A parameter's column in the type of the schema: numbers, booleans, or unchanged text; `null` is missing.

    An option that accepts a number or a word (max_model_len=auto) keeps its words.
    """
    import pandas as pd  # a session that only files does not need it

    kinds = _schema_types().get(key, frozenset({str}))
    column = column.where(column != "null", None)
    if bool in kinds:
        return column.map(lambda value: TRUTH.get(value, value))
    if not kinds & {int, float}:
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers.astype(object).where(numbers.notna(), column) if str in kinds else numbers


def replace_surrogates(value: str) -> str:
    """The text without lone surrogates, which no database stores."""
    return value.encode(errors="replace").decode()


def round_digits(value: float) -> float:
    """Rounds to nine digits, never before the decimal point; with fewer, a table of five digits would round twice."""
    if value == 0 or float(value).is_integer():
        return float(value)
    return round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))


def _derived(record: Record, kind: str) -> dict[str, str]:
    values = {fact.column: fact.derive(record) for fact in FACTS if fact.derive and fact.column.startswith(kind)}
    return {column.removeprefix(kind): format_value(value) for column, value in values.items() if value}


def _numbers(facts: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (key, float(value))
        for key, value in dotted_leaves(facts)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _key(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)[:LONGEST_KEY]


@functools.cache
def _schema_types() -> dict[str, frozenset[type]]:
    """The types that each leaf of a RunConfig may have, by dotted path."""
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
