"""`session.json`: all that a job needs to know what to do, in readable form instead of a pickled config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vbench.host import locks
from vbench.plan.sessions import Run, Session
from vbench.schema import RunConfig, from_plain, to_plain
from vbench.schema.errors import Refused
from vbench.schema.record import atomic, read_text

SESSION = "session.json"
LOCK = "session.lock"


def write(session: Session, folder: Path) -> Path:
    """Writes the session's file into its folder atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / SESSION) as partial:
        partial.write_text(json.dumps(to_plain(session), indent=1) + "\n")
    return folder / SESSION


def read(path: Path) -> Session:
    """Reads a session's file. Raises Refused if it is not one."""
    try:
        data = json.loads(read_text(path))
        runs = [Run(**run | {"config": from_plain(RunConfig, run["config"])}) for run in data["runs"]]
        return Session(folder=data["folder"], runs=tuple(runs))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path}: not a session file ({error})") from error


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock on this folder's session."""
    return locks.is_locked(folder / LOCK)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Locks this folder's session for the block; waits for its holder. The kernel releases the lock when we end."""
    with locks.hold(folder / LOCK):
        yield
