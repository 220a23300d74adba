"""Reads a server's log for compilation: kernels compiled while it served requests, and the state of its caches.

vLLM watches its kernels once it has warmed up ("Kernel JIT monitor activated") and logs the first compilation of each
kernel in each process: "Triton kernel JIT compilation during inference: NAME. This causes …". A later compilation of
the same kernel, for other constants, is logged only with --jit-monitor-verbose, which also appends the constants:
"NAME (constexprs={…}; …)". The hook (Triton's jit_post_compile_hook) runs after a kernel that the process did not have
yet, whether it was compiled or loaded from Triton's cache on disk, so a warm cache has the same lines, milliseconds
apart. Triton's autotuner, torch.compile, FlashInfer's autotuner and CUDA graph capture have lines of their own.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[\d;]*m")
STAMP = re.compile(r"(?:DEBUG|INFO|WARNING|ERROR) (\d\d-\d\d \d\d:\d\d:\d\d) ")  # as vLLM's logger writes it: no year
COMPILED = {  # names for lines that do not name a kernel
    "kernel": re.compile(r"JIT compilation during inference: (?P<kernel>\S+?)(?=\.\s|\.?$| \()"),
    "autotuned kernel": re.compile(r"Triton autotuning for function (?P<kernel>\w+)"),
    "torch.compile": re.compile(r"Starting torch\.compile|Compiling a graph for |torch\.compile t(?:akes|ook) "),
    "CUDA graph": re.compile(r"Capturing CUDA graph|Graph capturing finished"),
    "FlashInfer autotuning": re.compile(r"Autotuning process starts"),
}
MONITORED = "Kernel JIT monitor activated"
VERBOSE = re.compile(r"'?\bjit_monitor_verbose'?(?:=|: )True")  # in vLLM's list of arguments and of its config
VERBOSE_MONITOR = "verbose"
ZONE_S = 900.0  # time zones lie whole quarters of an hour apart
CLOCK_S = 2.0  # a log's time is cut to the second, and its clock may be a little off
SET_S = 0.05  # the host's clock is set by more than this, or only kept in time
LOADED, BUILT = re.compile(r"Directly load .*compil", re.IGNORECASE), re.compile(r"Compiling a graph for ")


@dataclass(frozen=True)
class Compilation:
    """One compilation found in a log."""

    kernel: str
    at_s: float | None = None  # seconds since 1970, rounded down; None if the line has no time


def find_compilations(text: str, now: datetime) -> list[Compilation]:
    """Finds the compilations in `text`, part of a log in the host's local time. `now` supplies the year."""
    found = []
    for line in COLOUR.sub("", text).splitlines():
        for unnamed, pattern in COMPILED.items():
            if match := pattern.search(line):
                found.append(Compilation(match.groupdict().get("kernel") or unnamed, _parse_instant(line, now)))
                break
    return found


def read_facts(log: str) -> dict[str, str]:
    """Facts from the log of a successful start, if present: `kernel_monitor` and `compile_cache` "warm" or "cold".

    The monitor is "on" if the log has each kernel's first compilation, and "verbose" if it has every compilation.
    Warm: all compiled graphs came from vLLM's cache, which outlives sessions. Cold: at least one was compiled.
    With --enforce-eager there are no graphs.
    """
    found = {"kernel_monitor": VERBOSE_MONITOR if VERBOSE.search(log) else "on"} if MONITORED in log else {}
    if BUILT.search(log):
        return found | {"compile_cache": "cold"}
    return found | ({"compile_cache": "warm"} if LOADED.search(log) else {})


@dataclass(frozen=True)
class LogPosition:
    """The end of each server's log at one moment."""

    sizes: tuple[tuple[Path, int], ...]
    taken_at: float  # seconds since 1970
    taken_at_monotonic_s: float  # the same moment on a clock that nobody sets

    @classmethod
    def at_end(cls, logs: Sequence[Path]) -> LogPosition:
        return cls(tuple((log, _size(log)) for log in logs), time.time(), time.monotonic())

    def was_cut(self) -> bool:
        """Whether a log is gone, or shorter than it was: what else was logged since then is not known."""
        return any(not log.exists() or _size(log) < size for log, size in self.sizes)

    def read_since(self) -> str:
        """Returns everything that the servers have logged since then, one log after the other."""
        parts = []
        for log, size in self.sizes:
            with suppress(FileNotFoundError), log.open("rb") as file:
                file.seek(size)
                parts.append(file.read().decode(errors="replace"))
        return "\n".join(parts)

    def find_compilations(self) -> list[Compilation]:
        """Returns what was compiled since then; without times if the host's clock was set meanwhile.

        Which lines were logged before that is not known, and a pause would be taken for another's.
        """
        now = datetime.now()  # noqa: DTZ005  the log is in local time
        found = find_compilations(self.read_since(), now)
        if self.was_clock_set(time.time(), time.monotonic()):
            return [replace(each, at_s=None) for each in found]
        return [replace(each, at_s=correct_zone(each.at_s, self.taken_at, now.timestamp())) for each in found]

    def was_clock_set(self, now_s: float, now_monotonic_s: float) -> bool:
        """Whether the host's clock was set between then and now, or went over to summer time or back."""
        set_by_s = now_s - self.taken_at - (now_monotonic_s - self.taken_at_monotonic_s)
        offsets = {time.localtime(each).tm_gmtoff for each in (self.taken_at, now_s)}
        return abs(set_by_s) > SET_S or len(offsets) > 1


def _size(log: Path) -> int:
    """Of a log that somebody removed: 0."""
    return log.stat().st_size if log.exists() else 0


def correct_zone(at_s: float | None, since_s: float, until_s: float) -> float | None:
    """The instant of a line that was logged between the two: a container may log in another time zone than ours.

    None if the line has no time, or if several zones would put it there.
    """
    if at_s is None:
        return None
    first, last = since_s - CLOCK_S, until_s + CLOCK_S
    if first <= at_s <= last:
        return at_s
    shifted = at_s + math.ceil((first - at_s) / ZONE_S) * ZONE_S
    return shifted if shifted <= last < shifted + ZONE_S else None


def _parse_instant(line: str, now: datetime) -> float | None:
    stamp = STAMP.search(line)
    if not stamp:
        return None
    try:
        at = datetime.strptime(f"{now.year} {stamp[1]}", "%Y %m-%d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None
    if at - now > timedelta(days=1):  # logged last year
        at = at.replace(year=now.year - 1)
    return at.timestamp()
