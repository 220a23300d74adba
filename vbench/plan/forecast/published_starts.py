"""Starts that vbench ships, for a host without records: those of the records in docs/results. Pure.

They are of other hosts, so a number that rests on them is `assumed`, never measured. `benchmarks/starts.py --save`
writes the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from vbench.metrics.model_cost import compute_model_cost
from vbench.schema import Model, RunConfig, from_plain
from vbench.schema.record import Record

TABLE = "starts.json"
GIB = 2**30
ALIKE = 2.0  # times the weights, either way: models of about one size


@dataclass(frozen=True)
class PublishedStart:
    """One start of a server."""

    model: str  # its hub id
    weights_gib: float
    experts: bool
    gpus: int
    engine: str  # with its version
    weights: str  # how they were loaded: dummy ones are made, not read
    start_s: float


def describe_starts(records: Iterable[Record]) -> list[PublishedStart]:
    """The starts of these records on GPUs, each once, by model and GPUs."""
    found: dict[tuple[str, float], PublishedStart] = {}
    for record in records:
        seconds, config = record.server.get("start_s"), from_plain(RunConfig, record.config)
        if not seconds or not config.hardware.gpu or record.source != "measured":
            continue
        cost = compute_model_cost(config.model)
        found[record.session, seconds] = PublishedStart(
            model=config.model.hub_id,
            weights_gib=round(cost.weight_bytes / GIB, 1),
            experts=cost.experts > 0,
            gpus=config.hardware.gpus,
            engine=str(record.environment.get("engine", "")),
            weights=config.engine.weights.name,
            start_s=round(float(seconds), 1),
        )
    return sorted(found.values(), key=lambda each: (each.weights_gib, each.model, each.gpus, each.start_s))


@cache
def read_published() -> tuple[PublishedStart, ...]:
    """The shipped starts."""
    return tuple(PublishedStart(**each) for each in json.loads(files(__package__).joinpath(TABLE).read_text()))


def choose_alike(model: Model, gpus: int) -> tuple[Sequence[PublishedStart], str]:
    """The shipped starts that are most like one of this model on so many GPUs, and in what they are alike."""
    published = read_published()
    try:
        cost = compute_model_cost(model)
    except ValueError:  # a quantization or layers that are not known
        return published, "of any size"
    size, kind = cost.weight_bytes / GIB, "with experts" if cost.experts else "without experts"
    many = "several GPUs" if gpus > 1 else "one GPU"
    alike = [each for each in published if each.experts is (cost.experts > 0)]
    near = [each for each in alike if size / ALIKE <= each.weights_gib <= size * ALIKE]
    split = [each for each in near if (each.gpus > 1) is (gpus > 1)]
    tiers = (
        ([each for each in split if each.model == model.hub_id], f"of this model on {many}"),
        (split, f"of models {kind} of about its size, on {many}"),
        (near, f"of models {kind} of about its size"),
        (alike, f"of models {kind} of other sizes"),
    )
    return next((found, how) for found, how in tiers if found)
