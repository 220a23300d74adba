"""Finds processes by a variable in their environment, even after their parents are gone, and ends them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TERM_GRACE_S = 15.0
LOCAL, STATE, INODE = 1, 3, 9  # indices of the fields of /proc/net/tcp
LISTEN = "0A"
KILL_GRACE_S = 30.0  # a process that survives SIGKILL this long is stuck in the kernel, in a driver or on a disk


def find_marked(variable: str, value: str) -> list[int]:
    """Pids of living processes with VARIABLE=VALUE in their environment, except this one and other users' processes."""
    entry = f"{variable}={value}".encode()
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if entry in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:  # it has ended, or is another user's
                continue
    return found


def find_listeners(pids: Iterable[int], port: int) -> list[int]:
    """Those of these processes that hold a socket which listens on this TCP port of this network namespace."""
    sockets = {f"socket:[{inode}]" for inode in _find_listening(port)}
    return [pid for pid in pids if sockets & _read_open_files(pid)]


@dataclass(frozen=True)
class EndedProcesses:
    """The result of waiting for processes to end."""

    killed: frozenset[int]  # pids
    left: frozenset[int]  # pids still alive


def end(variable: str, value: str) -> None:
    """Ends all processes with this in their environment: SIGTERM, then `wait_until_gone`."""
    for pid in find_marked(variable, value):
        _signal(pid, signal.SIGTERM)
    wait_until_gone(variable, value)


def ask_to_end(pids: Collection[int], variable: str, value: str) -> None:
    """Sends SIGTERM to these marked processes; waits until they are gone, TERM_GRACE_S at most."""
    deadline = time.monotonic() + TERM_GRACE_S
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    while pids and not set(pids).isdisjoint(find_marked(variable, value)) and time.monotonic() < deadline:
        time.sleep(0.05)


def wait_until_gone(variable: str, value: str) -> EndedProcesses:
    """Waits until no marked process is alive; sends SIGKILL after TERM_GRACE_S and gives up KILL_GRACE_S later."""
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
    return EndedProcesses(frozenset(killed), frozenset(left))


def describe(pid: int) -> str:
    """The process in words, as far as it is visible from here: "pid 4711 (python3, user alice)"."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
        return f"pid {pid} ({name}, user {Path(f'/proc/{pid}').owner()})"
    except (OSError, KeyError):  # it is in another container, has ended, or its user has no name
        return f"pid {pid}"


def _find_listening(port: int) -> set[str]:
    """The inodes of the sockets that listen on this port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):  # a kernel without IPv6 has no tcp6
            rows = [line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:]]
            found |= {row[INODE] for row in rows if row[STATE] == LISTEN and row[LOCAL].endswith(f":{port:04X}")}
    return found


def _read_open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it has ended, or is another user's
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
