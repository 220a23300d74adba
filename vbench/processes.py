"""Processes found again by what stands in their environment, whatever became of their parents; and ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

TERM_GRACE_S = 15.0


def carrying(variable: str, value: str) -> list[int]:
    """Pids of living processes with this in their environment, but for this one; other users' are not seen."""
    entry = f"{variable}={value}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if entry in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:  # gone since, or not ours
                continue
    return found


def end(variable: str, value: str) -> None:
    """Ends all that carries this: TERM, then what `see_gone` does."""
    for pid in carrying(variable, value):
        _signal(pid, signal.SIGTERM)
    see_gone(variable, value)


def see_gone(variable: str, value: str) -> set[int]:
    """Waits until nothing that carries this lives, and kills what is left after a grace; the pids killed."""
    started = time.monotonic()
    killed: set[int] = set()
    while left := carrying(variable, value):
        if time.monotonic() - started > TERM_GRACE_S:
            killed.update(left)
            for pid in left:
                _signal(pid, signal.SIGKILL)
        time.sleep(0.05)
    return killed


def describe(pid: int) -> str:
    """The process in words, as far as it is seen from here: "pid 4711 (python3, user alice)"."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return f"pid {pid} ({name}, user {Path(f'/proc/{pid}').owner()})"
    except (OSError, KeyError):  # of another container, gone since, or a user without a name
        return f"pid {pid}"


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
