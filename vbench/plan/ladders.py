"""Ladders: sessions that differ only in how much memory they demand of the same GPUs, run from the least demand up.

If one of them runs out of memory, those with a higher demand would too and are not started. Pure.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from vbench.plan.naming import say_name
from vbench.plan.sessions import Session, server_facts
from vbench.schema import to_plain
from vbench.schema.failures import OUT_OF_MEMORY
from vbench.schema.record import Failure, Record

DEMANDS = ("max_model_len", "max_num_seqs", "max_num_batched_tokens")  # engine keys: a higher value takes more memory


def order_by_demand(sessions: Sequence[Session]) -> list[Session]:
    """The sessions in their order, but those of one ladder fill its places from the least demand to the most."""
    ladders = defaultdict(list)
    for place, session in enumerate(sessions):
        ladders[f"{session.experiment} {_ladder_key(to_plain(session.runs[0].config))}"].append(place)
    ordered = list(sessions)
    for places in ladders.values():
        rungs = sorted((sessions[place] for place in places), key=_demands)
        for place, session in zip(places, rungs, strict=True):
            ordered[place] = session
    return ordered


def find_smaller_oom(session: Session, engine_version: str, records: Iterable[Record]) -> Failure | None:
    """The failure to record instead of a start, if a session of equal or lower demand ran out of memory as it started.

    A session with any measured run did start, so its later failures say nothing about another's start. The failure's
    line names the run that ran out of memory.
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
            and _ladder_key(record.config) == _ladder_key(config)
            and _demands_no_more(record.config["engine"], config["engine"])
        ):
            demand = ", ".join(f"{key}={record.config['engine'][key]}" for key in DEMANDS if config["engine"][key])
            line = f"{say_name(record.name)} ({record.session}) failed with {demand}: {failure.kind}: {failure.line}"
            return Failure("skipped_larger", line)
    return None


def _ladder_key(config: dict[str, Any]) -> str:
    facts = server_facts(config)
    engine = {key: value for key, value in facts["engine"].items() if key not in DEMANDS}
    return json.dumps(facts | {"engine": engine}, sort_keys=True)


def _demands_no_more(one: dict[str, Any], other: dict[str, Any]) -> bool:
    # A value that the engine chooses (null, auto) compares only with itself.
    pairs = [(one[key], other[key]) for key in DEMANDS]
    return all(a == b or (type(a) is type(b) is int and a < b) for a, b in pairs)


def _demands(session: Session) -> tuple[float, ...]:
    engine = session.engine
    demands = [getattr(engine, key) for key in DEMANDS]
    return tuple(value if isinstance(value, int) else math.inf for value in demands)
