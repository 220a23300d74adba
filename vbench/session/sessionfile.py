"""`session.json`: all that a job needs to know what to do, in readable form instead of a pickled config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vbench.host import locks
from vbench.plan.sessions import Run, Session
from vbench.schema import RunConfig, from_plain, to_plain
from vbench.schema.errors import Refused
from vbench.schema.record import atomic, read_text
from vbench.schema.serialisation import find_misfit
from vbench.schema.text import one_line

SESSION = "session.json"
LOCK = "session.lock"


def write(session: Session, folder: Path) -> Path:
    """Writes the session's file into its folder atomically; only its owner can read it."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / SESSION) as partial:
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(to_plain(session), indent=1) + "\n")
    return folder / SESSION


def read(path: Path) -> Session:
    """Reads a session's file. Raises Refused if it is not one."""
    try:
        data = json.loads(read_text(path))
        session = Session(folder=data["folder"], runs=tuple(map(_read_run, data["runs"])))
        names = [session.folder, *(run.folder for run in session.runs)]
        strange = [name for name in names if name in ("", "..") or Path(name).name != name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(one_line(f"{path}: not a session file ({error})")) from error
    if not session.runs or strange:
        why = f"not the name of a folder: {strange[0]!r:.40}" if strange else "it has no runs"
        raise Refused(f"{path}: not a session file ({why})")
    return session


def _read_run(facts: dict[str, Any]) -> Run:
    if misfit := find_misfit(RunConfig, facts["config"]):
        raise TypeError(misfit)
    for key in ("key", "name", "folder"):
        if not isinstance(facts[key], str):
            raise TypeError(f"{key}: no text: {facts[key]!r:.40}")
    return Run(**facts | {"config": from_plain(RunConfig, facts["config"])})


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock on this folder's session."""
    return locks.is_locked(folder / LOCK)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Locks this folder's session for the block; waits for its holder. The kernel releases the lock when we end."""
    with locks.hold(folder / LOCK):
        yield
