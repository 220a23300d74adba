"""Processes found again by what stands in their environment, whatever became of their parents; and ended."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

TERM_GRACE_S = 15.0
KILL_GRACE_S = 30.0  # what a kill does not end in this time waits in the kernel, for a driver or a disk


def find_marked(variable: str, value: str) -> list[int]:
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


@dataclass(frozen=True)
class Gone:
    """What became of processes that were to end."""

    killed: frozenset[int]  # pids
    left: frozenset[int]  # of these, those that live on


def end(variable: str, value: str) -> None:
    """Ends all processes with this in their environment: SIGTERM, then `wait_until_gone`."""
    for pid in find_marked(variable, value):
        _signal(pid, signal.SIGTERM)
    wait_until_gone(variable, value)


def wait_until_gone(variable: str, value: str) -> Gone:
    """Waits until nothing that carries this lives; kills what is left after a grace, and gives it up after another."""
    started = time.monotonic()
    killed: set[int] = set()
    while left := find_marked(variable, value):
        spent = time.monotonic() - started
        if spent > TERM_GRACE_S + KILL_GRACE_S:
            break
        if spent > TERM_GRACE_S:
            killed.update(left)
            for pid in left:
                _signal(pid, signal.SIGKILL)
        time.sleep(0.05)
    return Gone(frozenset(killed), frozenset(left))


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
