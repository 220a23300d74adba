"""Reads what is needed to tell whether a server got the CPU that it wanted, from /proc and its control group.

Waiting alone does not tell it, because the threads of a CPU engine compete with one another. So the time that others
used on the server's cores is read too: `metrics.contention` combines both.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vbench.host.cputime import PROC, SYSTEM, TICKS_PER_S, USER, Stats, find_family
from vbench.host.processes import describe
from vbench.host.throttling import find_throttle_counters, read_throttled_s

IDLE, IOWAIT, STEAL, GUEST = 3, 4, 7, 8  # indices of the fields of /proc/stat after the core's name
PROCESSOR = 36  # of the same fields: the core that it ran on last
NAMED, LEAST_CORES = 2, 0.1  # of other processes that are named
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
        self._others = OtherProcesses(cores)

    def read(self, stats: Stats) -> dict[str, float]:
        """The totals by name; empty where the kernel does not tell them. `stats`: all processes, by pid."""
        cores, servers = read_core_times(self._cores), find_family(self._roots, stats)
        self._others.add(stats, servers | find_family([os.getpid()], stats))
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

    def describe_others(self) -> str:
        """Which other processes used these cores most since the first reading; empty if none is seen to."""
        return self._others.describe()


class OtherProcesses:
    """Counts the CPU time that each process of others used on some cores, as far as its pid is visible from here."""

    def __init__(self, cores: AbstractSet[int]) -> None:
        self._cores = cores
        self._began = self._read_at = time.monotonic()
        self._totals: dict[int, int] = {}  # ticks by pid, at the latest reading
        self._used: Counter[int] = Counter()  # ticks by pid

    def add(self, stats: Stats, known: AbstractSet[int]) -> None:
        """Counts what grew since the latest reading, of all but the `known` processes. The first only notes totals."""
        totals = {pid: int(stat[USER]) + int(stat[SYSTEM]) for pid, stat in stats.items() if pid not in known}
        if self._totals:
            for pid, ticks in totals.items():
                if int(stats[pid][PROCESSOR]) in self._cores:
                    self._used[pid] += max(ticks - self._totals.get(pid, 0), 0)
        else:
            self._began = time.monotonic()
        self._totals, self._read_at = totals, time.monotonic()

    def describe(self) -> str:
        """The NAMED that used most, by name and pid, with how many cores each used on average."""
        spent = max(self._read_at - self._began, 1e-9) * TICKS_PER_S
        found = [(pid, ticks / spent) for pid, ticks in self._used.most_common(NAMED)]
        return ", ".join(f"{describe(pid)} {cores:.1f} cores" for pid, cores in found if cores >= LEAST_CORES)


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
    ticks = [[int(each) for each in listed[f"cpu{core}"]][:GUEST] for core in cores]  # whole, so that no total falls
    capacity = sum(map(sum, ticks))
    return CoreTimes(
        capacity_s=capacity / TICKS_PER_S,
        busy_s=(capacity - sum(each[IDLE] + each[IOWAIT] for each in ticks)) / TICKS_PER_S,
        steal_s=sum(each[STEAL] for each in ticks) / TICKS_PER_S,
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
