"""Sessions that differ only in how much memory they ask of the same GPUs: the rungs of a ladder, climbed from below.

Where one ran out of memory, those above it would too, and are not started. Pure.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from vbench.plan.sessions import Session, server_facts
from vbench.schema import to_plain
from vbench.schema.failures import OUT_OF_MEMORY
from vbench.schema.record import Failure, Record

DEMANDS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")  # of the engine: the more, the more memory


def ascending(sessions: Sequence[Session]) -> list[Session]:
    """The sessions in their order, but that those of one ladder take its places from the least demand to the most."""
    ladders = defaultdict(list)
    for place, session in enumerate(sessions):
        ladders[f"{session.experiment} {_ladder(to_plain(session.runs[0].config))}"].append(place)
    ordered = list(sessions)
    for places in ladders.values():
        rungs = sorted((sessions[place] for place in places), key=_height)
        for place, session in zip(places, rungs, strict=True):
            ordered[place] = session
    return ordered


def skipped_larger(session: Session, engine_version: str, records: Iterable[Record]) -> Failure | None:
    """Why the session would run out of memory, where one of no larger demand did when it started; names that run.

    One that has measured anything has started, and says nothing of another's start.
    """
    config = to_plain(session.runs[0].config)
    others = [record for record in records if record.session != session.folder]
    started = {record.session for record in others if record.failure is None}
    for record in others:
        failure = record.failure
        if (
            failure is not None
            and failure.kind in OUT_OF_MEMORY
            and record.session not in started
            and record.environment.get("engine") == engine_version
            and _ladder(record.config) == _ladder(config)
            and _no_larger(record.config["engine"], config["engine"])
        ):
            demand = ", ".join(f"{key}={record.config['engine'][key]}" for key in DEMANDS if config["engine"][key])
            told = f"{record.name} ({record.session}) failed with {demand}: {failure.kind}: {failure.line}"
            return Failure("skipped_larger", told)
    return None


def _ladder(config: dict[str, Any]) -> str:
    facts = server_facts(config)
    engine = {key: value for key, value in facts["engine"].items() if key not in DEMANDS}
    return json.dumps(facts | {"engine": engine}, sort_keys=True)


def _no_larger(one: dict[str, Any], other: dict[str, Any]) -> bool:
    # What is left to the engine (null, auto) compares with itself only.
    pairs = [(one[key], other[key]) for key in DEMANDS]
    return all(a == b or (type(a) is type(b) is int and a < b) for a, b in pairs)


def _height(session: Session) -> tuple[float, ...]:
    engine = session.engine
    demands = [getattr(engine, key) for key in DEMANDS]
    return tuple(value if isinstance(value, int) else math.inf for value in demands)
