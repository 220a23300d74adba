"""What of a record becomes parameters, metrics and tags. Pure; knows MLflow's limits but not MLflow.

MLflow cuts long values in silence. A value beyond its limit stays in `record.json`, among the run's artifacts, and
the tag `vbench.only_in_record` names it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vbench.plan.naming import flat, split_name, text
from vbench.schema import Gpu, Hardware, Parallelism
from vbench.tracking.note import note

if TYPE_CHECKING:
    from vbench.schema.record import Record

LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_KEY = 250
DIGITS = 9
BLOBS = {"config_json"}  # whole files of facts: of use to a program, noise in a table


@dataclass(frozen=True)
class Columns:
    """One run's row."""

    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


def columns(record: Record) -> Columns:
    """The row of a record: params under dotted config paths, metrics under their own keys."""
    params = {key: text(value) for key, value in flat(record.config) if BLOBS.isdisjoint(key.split("."))}
    params |= _names(record.config)
    tags = _verdict(record) | _environment(record)
    numbers = {**record.metrics, **{f"server.{key}": value for key, value in _numbers(record.server)}}
    long = [key for key, value in params.items() if len(value) > LONGEST_PARAM]
    long += [key for key, value in tags.items() if len(value) > LONGEST_TAG]
    if long:
        tags["vbench.only_in_record"] = " ".join(long)[:LONGEST_TAG]
    return Columns(
        params={_key(key): value for key, value in params.items() if key not in long},
        metrics={_key(key): rounded(value) for key, value in numbers.items() if math.isfinite(value)},
        tags={_key(key): value for key, value in tags.items() if key not in long},
    )


def rounded(value: float) -> float:
    """To nine digits, never before the decimal point: far fewer would be rounded twice by a table that shows five."""
    if value == 0 or float(value).is_integer():
        return float(value)
    return round(value, max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))))


def _names(config: dict[str, Any]) -> dict[str, str]:
    """The short names that the schema derives and people filter by: 2xh100, tp2."""
    names = {}
    if "hardware" in config:
        gpu = config["hardware"]["gpu"]
        hardware = Hardware(gpus=config["hardware"]["gpus"], gpu=Gpu(name=gpu["name"]) if gpu else None)
        remote = not gpu and config.get("engine", {}).get("base_url") is not None
        names["hardware.name"] = "remote" if remote else hardware.name
    if "parallelism" in config:
        names["parallelism.name"] = split_name(Parallelism(**config["parallelism"]))
    return names


def _verdict(record: Record) -> dict[str, str]:
    tags = {
        "vbench.validity": record.verdict,
        "vbench.session": record.session,
        "vbench.point": _point(record),
        "vbench.campaign": record.experiment,
        "vbench.source": record.source,
        "mlflow.note.content": note(record),
    }
    if record.failure:
        tags["vbench.failure"] = record.failure.kind
    if record.parent:
        tags["vbench.parent"] = record.parent
    if record.invalid:
        tags["vbench.reasons"] = " ".join(reason.code for reason in record.invalid)
    if record.warnings:
        tags["vbench.warnings"] = " ".join(reason.code for reason in record.warnings)
    return tags


def _point(record: Record) -> str:
    """The session and the load, by which the repeats of a point, which differ in their seed, can be grouped."""
    load = record.name.removesuffix(f" s{record.config.get('workload', {}).get('seed', 0)}")
    return f"{record.session} · {load.rpartition(' · ')[2]}"


def _environment(record: Record) -> dict[str, str]:
    facts = {key: text(value) for key, value in flat(record.environment) if value is not None}
    tags = {f"env.{key}": value for key, value in facts.items()}
    tags |= {f"server.{key}": value for key, value in flat(record.server) if isinstance(value, str)}
    short = {
        "vbench.weights": record.config.get("engine", {}).get("weights"),
        "vbench.engine_version": record.environment.get("engine"),
        "vbench.gpu": " + ".join(sorted(set(record.environment.get("gpus", [])))),
        "vbench.cpu": record.environment.get("cpu"),
    }
    return tags | {key: text(value) for key, value in short.items() if value}


def _numbers(facts: dict[str, Any]) -> list[tuple[str, float]]:
    return [
        (key, float(value))
        for key, value in flat(facts)
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _key(key: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", key, flags=re.ASCII)[:LONGEST_KEY]
