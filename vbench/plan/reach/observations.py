"""Which records the step model is fitted to, and what it takes from them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vbench.metrics.quantiles import needed
from vbench.plan.reach.points import Point, make_point
from vbench.plan.reach.prediction import METRICS, TAILS
from vbench.schema import RunConfig, from_plain
from vbench.schema.record import Floats, Record

COLD = 0.08  # of the session's fastest prompts: older records do not say whether kernels were compiled under load


@dataclass(frozen=True)
class Observation:
    """One point as measured: METRICS and TAILS, the geometric mean over its repeats."""

    point: Point
    measured: Floats  # (3,)
    tails: Floats  # (2,); NaN if the load has too few requests to tell a 99th percentile
    prompts: int
    repeats: int

    @property
    def system(self) -> str:
        return self.point.system

    @property
    def model(self) -> str:
        return self.system.partition(" ")[0]


def observe(records: Iterable[Record]) -> list[Observation]:
    """The usable points among the records; repeats of a point are one observation."""
    points: dict[tuple[str, str], Point] = {}
    values: defaultdict[tuple[str, str], list[Floats]] = defaultdict(list)
    for record, point in find_usable(records):
        load = {key: value for key, value in record.config["workload"].items() if key not in ("seed", "repeats")}
        place = (record.session, repr(sorted(load.items(), key=str)))
        points.setdefault(place, point)
        values[place].append(_read_metrics(record, len(point.load.lengths)))
    return [_join_repeats(point, np.array(values[place])) for place, point in points.items()]


def find_usable(records: Iterable[Record]) -> list[tuple[Record, Point]]:
    """The records that tell what a system bears, with their points: those measured cold are left out."""
    usable = [(record, point) for record in records if (point := usable_point(record))]
    fastest: defaultdict[str, float] = defaultdict(float)
    for record, _ in usable:
        fastest[record.session] = max(fastest[record.session], _prompt_rate(record))
    return [(record, point) for record, point in usable if not _is_cold(record, fastest[record.session])]


def _read_metrics(record: Record, requests: int) -> Floats:
    """METRICS, then TAILS."""
    tails = [record.metrics.get(metric, np.nan) if requests >= needed(99) else np.nan for metric in TAILS]
    return np.array([*(record.metrics[metric] for metric in METRICS), *tails])


def _join_repeats(point: Point, repeats: Floats) -> Observation:
    """`repeats`: (n, METRICS and TAILS)."""
    mean = np.exp(np.mean(np.log(repeats), axis=0))
    split = len(METRICS)
    return Observation(point, mean[:split], mean[split:], len(point.load.lengths), len(repeats))


def usable_point(record: Record) -> Point | None:
    """What a record measured; None if it is not VALID, not ours, a probe (which ends early), or cannot be simulated.

    Loads whose prompts share parts cannot: the step model knows no prefix cache, and no turn that waits for a reply.
    """
    if record.verdict != "VALID" or record.source != "measured" or record.parent is not None:
        return None
    if not all(record.metrics.get(metric, 0.0) > 0 for metric in METRICS):
        return None
    try:
        config: RunConfig = from_plain(RunConfig, record.config)
        if config.workload.shares_prompts:
            return None
        return make_point(config, record.server.get("kv_cache_tokens") or None)  # the record holds one replica's
    except (KeyError, TypeError, ValueError):
        return None


def _prompt_rate(record: Record) -> float:
    """Half of a burst's prompt tokens over the median time to the first token, tokens/s."""
    metrics = record.metrics
    seconds = metrics.get("median_ttft_ms", 0.0) / 1e3
    return metrics.get("total_input_tokens", 0.0) / 2 / seconds if seconds else 0.0


def _is_cold(record: Record, fastest: float) -> bool:
    """Whether kernels were compiled under load: by the log, else by prompts that were slower than any other cause."""
    if "compilations" in record.metrics:
        return record.metrics["compilations"] > 0
    return 0 < _prompt_rate(record) < COLD * fastest
