"""How long servers took to start on this host, for the estimate that the screen shows of the next start."""

from __future__ import annotations

import json
from contextlib import suppress

from vbench.engine.identity import ask_engine_version
from vbench.engine.server import find_cache
from vbench.plan.naming import split_name
from vbench.plan.sessions import Session

LATEST = 5  # starts that count
STARTS = "starts.jsonl"


def find_usual_starts(session: Session) -> tuple[float, float] | None:
    """The fastest and the slowest, in seconds, of the latest starts of the same engine, model, weights, GPUs and split.

    None if there is none.
    """
    kind, seconds = _kind(session), list[float]()
    with suppress(OSError):
        for line in (find_cache() / STARTS).read_text(errors="replace").splitlines():
            with suppress(ValueError, KeyError, TypeError):
                start = json.loads(line)
                seconds += [float(start["s"])] if start["kind"] == kind else []
    latest = seconds[-LATEST:]
    return (min(latest), max(latest)) if latest else None


def remember_start(session: Session, start_s: float) -> None:
    """Adds a start to the host's list. Without a folder for caches nothing is remembered."""
    line = json.dumps({"kind": _kind(session), "s": round(start_s, 1)}) + "\n"
    with suppress(OSError):
        find_cache().mkdir(parents=True, exist_ok=True)
        with (find_cache() / STARTS).open("a") as file:
            file.write(line)


def _kind(session: Session) -> str:
    parts = (ask_engine_version(session.engine), session.model.hub_id, session.engine.weights.name)
    return " ".join((*parts, session.runs[0].config.system_label, split_name(session.parallelism)))
