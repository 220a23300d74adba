"""Reads the role and the CPU time of each process of a server from /proc.

vLLM sets process titles by role: VLLM::APIServer_1, VLLM::EngineCore_DP0, VLLM::Worker_TP3. The
process that we started has no title; it is the front end or, with `--api-server-count`, the idle parent of several.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
class ProcessReading:
    """One process at one instant. Both are running totals, of user and system time, in steps of 10 ms."""

    pid: int
    role: str  # frontend, engine_core or worker
    cpu_s: float  # of all its threads
    loop_s: float  # of its first thread, which in a front end is the event loop


def read_stats() -> Stats:
    """All processes of the host, 10 to 20 µs each."""
    return {int(entry.name): stat for entry in PROC.iterdir() if entry.name.isdigit() and (stat := _read_stat(entry))}


def read(roots: Sequence[int], stats: Stats) -> list[ProcessReading]:
    """The living processes of the servers that were started as `roots`, in order of their pids.

    Processes without a known role (compilers, resource trackers) are left out.
    """
    readings = [_read_process(pid, stats[pid], roots) for pid in sorted(find_family(roots, stats))]
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


def _read_process(pid: int, stat: Sequence[str], roots: Sequence[int]) -> ProcessReading | None:
    role, first_thread = _find_role(pid, roots), _read_stat(PROC / str(pid) / "task" / str(pid))
    return ProcessReading(pid, role, _sum_cpu_s(stat), _sum_cpu_s(first_thread)) if role and first_thread else None


def _find_role(pid: int, roots: Sequence[int]) -> str | None:
    if pid in roots:
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
