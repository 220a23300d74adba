"""Reads what is needed to tell whether a server got the CPU that it wanted, from /proc and its control group.

Waiting alone does not tell it, because the threads of a CPU engine compete with one another. So the time that others
used on the server's cores is read too: `metrics.contention` combines both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vbench.host.cputime import PROC, TICKS_PER_S, Stats, find_family
from vbench.host.throttling import find_throttle_counters, read_throttled_s

IDLE, IOWAIT, STEAL, GUEST = 3, 4, 7, 8  # indices of the fields of /proc/stat after the core's name
TIMES = (11, 12, 13, 14)  # of /proc/PID/stat after the process's name: user and system, and those of its dead children


@dataclass(frozen=True)
class CoreTimes:
    """Running totals of some cores, in seconds, in steps of 10 ms."""

    capacity_s: float  # cores × time
    busy_s: float  # stolen time included
    steal_s: float  # given to other virtual machines


class ContentionMeter:
    """Reads running totals, in seconds, for the servers that were started as `roots` and run on `cores`."""

    def __init__(self, roots: Sequence[int], cores: AbstractSet[int], shared: bool) -> None:
        """`shared`: the load client, this process and its children, runs on the same cores."""
        self._roots, self._cores = roots, cores
        self._client = [os.getpid()] if shared else []
        self._counters = {path for pid in roots for path in find_throttle_counters(pid)}
        self._waits = _read_waits(roots)
        self._longest_wait_s = 0.0

    def read(self, stats: Stats) -> dict[str, float]:
        """The totals by name; empty where the kernel does not tell them. `stats`: all processes, by pid."""
        cores, servers = read_core_times(self._cores), find_family(self._roots, stats)
        waits = _read_waits(servers)
        if cores is None or not waits:
            return {}
        self._longest_wait_s += max(wait - self._waits.get(thread, 0.0) for thread, wait in waits.items())
        self._waits = waits
        return {
            "capacity_s": cores.capacity_s,
            "busy_s": cores.busy_s,
            "steal_s": cores.steal_s,
            "server_s": _sum_times(stats, servers),
            "client_s": _sum_times(stats, find_family(self._client, stats) - servers),
            "throttled_s": read_throttled_s(self._counters),
            "longest_wait_s": self._longest_wait_s,
        }


def read_core_times(cores: AbstractSet[int]) -> CoreTimes | None:
    """The totals of these cores; None if one of them is not listed.

    HOST_PROC names another folder than /proc, as it does for other collectors: in a container whose own /proc/stat is
    made up, where the host's is mounted.
    """
    try:
        lines = (Path(os.environ.get("HOST_PROC", PROC)) / "stat").read_text().splitlines()
    except OSError:
        return None
    listed = {name: times for name, *times in map(str.split, lines) if name.startswith("cpu")}
    if not cores or any(f"cpu{core}" not in listed for core in cores):
        return None
    seconds = [[int(ticks) / TICKS_PER_S for ticks in listed[f"cpu{core}"]][:GUEST] for core in cores]
    capacity = sum(map(sum, seconds))
    return CoreTimes(
        capacity_s=capacity,
        busy_s=capacity - sum(each[IDLE] + each[IOWAIT] for each in seconds),
        steal_s=sum(each[STEAL] for each in seconds),
    )


def _sum_times(stats: Stats, pids: Iterable[int]) -> float:
    return sum(int(stats[pid][index]) for pid in pids for index in TIMES) / TICKS_PER_S


def _read_waits(pids: Iterable[int]) -> Mapping[str, float]:
    """By thread, how long it has been ready to run without running; without threads that have ended."""
    found = {}
    for pid in pids:
        with suppress(OSError):
            for thread in (PROC / str(pid) / "task").iterdir():
                with suppress(OSError, IndexError, ValueError):
                    found[thread.name] = int((thread / "schedstat").read_bytes().split()[1]) / 1e9
    return found
