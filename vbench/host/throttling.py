"""Reads how long a process's control groups were held back by their CPU quota (version 1 or 2 of control groups)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vbench.host.cputime import PROC

MOUNT = Path("/sys/fs/cgroup")
UNITS_PER_S = {"throttled_usec": 1e6, "throttled_time": 1e9}  # version 2, version 1


def find_throttle_counters(pid: int, proc: Path = PROC, mount: Path = MOUNT) -> list[Path]:
    """The `cpu.stat` files of the process's group and of the groups around it: a quota on any of them holds it back."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            # In a container the group may be named as the host sees it, and then only the mount itself is visible.
            root = mount / (controllers and "cpu")
            inside = root / group.strip("/")
            found += [each / "cpu.stat" for each in (inside, *inside.parents) if each.is_relative_to(root)]
    return [path for path in dict.fromkeys(found) if path.exists()]


def read_throttled_s(counters: Iterable[Path]) -> float:
    """The longest of the running totals, in seconds, summed over cores; 0 without any."""
    return max((_read_counter(path) for path in counters), default=0.0)


def _read_counter(path: Path) -> float:
    try:
        fields = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
    except (OSError, ValueError):
        return 0.0
    return next((int(fields[name]) / units for name, units in UNITS_PER_S.items() if name in fields), 0.0)
