"""Reads the role and the CPU time of each process of a server from /proc.

vLLM sets process titles by role: VLLM::APIServer_1, VLLM::EngineCore_DP0, VLLM::Worker_TP3. The process that listens
has no title; it is the front end or, with `--api-server-count`, the idle parent of several. Under a container runtime
it is not the process that we started, and need not descend from it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TITLE = re.compile(rb"^\w+::(APIServer|EngineCore|Worker)")
FRONTEND = "frontend"
ROLES = {b"APIServer": FRONTEND, b"EngineCore": "engine_core", b"Worker": "worker"}
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARENT, USER, SYSTEM = 1, 11, 12  # indices of the fields of /proc/PID/stat after the process's name

Stats = Mapping[int, Sequence[str]]  # by pid, the fields of /proc/PID/stat after the process's name


@dataclass(frozen=True)
class ServerProcesses:
    """Where the processes of servers are found: `roots`, and all that they have started."""

    roots: tuple[int, ...] = ()  # pids
    front_ends: tuple[int, ...] = ()  # of processes that listen; titles tell the other roles

    def find_cores(self) -> frozenset[int]:
        """The cores that their front ends may use: a container runtime may choose others than we asked for."""
        found: set[int] = set()
        for pid in self.front_ends:
            with suppress(OSError):  # it has ended
                found |= os.sched_getaffinity(pid)
        return frozenset(found)


def find_server_processes(marked: Iterable[int], listening: Iterable[int]) -> ServerProcesses:
    """The processes of one server: `marked` carry its mark, and `listening` are those of them that hold its port."""
    return ServerProcesses(_without_children(set(marked)), _without_children(set(listening)))


def join_processes(servers: Sequence[ServerProcesses]) -> ServerProcesses:
    """The processes of several servers."""
    return ServerProcesses(
        tuple(pid for each in servers for pid in each.roots),
        tuple(pid for each in servers for pid in each.front_ends),
    )


@dataclass(frozen=True)
class ProcessReading:
    """One process at one instant. Both are running totals, of user and system time, in steps of 10 ms."""

    pid: int
    role: str  # frontend, engine_core or worker
    cpu_s: float  # of all its threads
    loop_s: float  # of its first thread, which in a front end is the event loop


def read_stats() -> Stats:
    """All processes of the host, 10 to 20 µs each."""
    return {int(entry.name): stat for entry in PROC.iterdir() if entry.name.isdigit() and (stat := _read_stat(entry))}


def read(servers: ServerProcesses, stats: Stats) -> list[ProcessReading]:
    """The living processes of the servers, in order of their pids.

    Processes without a known role (compilers, resource trackers, container runtimes) are left out.
    """
    family = sorted(find_family(servers.roots, stats))
    readings = [_read_process(pid, stats[pid], servers.front_ends) for pid in family]
    return [reading for reading in readings if reading]


def find_family(roots: Iterable[int], stats: Stats) -> set[int]:
    """The pids of these processes, as far as they live, and of their children, grandchildren and so on."""
    children = defaultdict(list)
    for pid, stat in stats.items():
        children[int(stat[PARENT])].append(pid)
    family, left = set(), [root for root in roots if root in stats]
    while left:
        family.add(pid := left.pop())
        left += children[pid]
    return family


def _without_children(pids: AbstractSet[int]) -> tuple[int, ...]:
    """Those of the processes whose parents are not among them."""
    parents = {pid: int(stat[PARENT]) for pid in pids if (stat := _read_stat(PROC / str(pid)))}
    return tuple(sorted(pid for pid, parent in parents.items() if parent not in pids))


def _read_process(pid: int, stat: Sequence[str], front_ends: Sequence[int]) -> ProcessReading | None:
    role, first_thread = _find_role(pid, front_ends), _read_stat(PROC / str(pid) / "task" / str(pid))
    return ProcessReading(pid, role, _sum_cpu_s(stat), _sum_cpu_s(first_thread)) if role and first_thread else None


def _find_role(pid: int, front_ends: Sequence[int]) -> str | None:
    if pid in front_ends:
        return FRONTEND
    try:
        title = TITLE.match((PROC / str(pid) / "cmdline").read_bytes())
    except OSError:  # it has ended
        return None
    return ROLES[title[1]] if title else None


def _read_stat(folder: Path) -> list[str] | None:
    """The fields of its `stat` after the process's name, which may hold any character; None if it has ended."""
    try:
        return (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _sum_cpu_s(stat: Sequence[str]) -> float:
    return (int(stat[USER]) + int(stat[SYSTEM])) / TICKS_PER_S
