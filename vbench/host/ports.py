"""Chooses TCP ports of the loopback interface for servers that bind them later: vLLM does so after its imports."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
FIRST, END = 10_000, 65_536  # below FIRST are the ports of well-known services
TRIES = 1000  # to find a free port


def find_free_ports(count: int) -> list[int]:
    """Different ports on which nobody listens, outside the range that the kernel takes the clients' ports from.

    A load client opens thousands of connections. One of them could otherwise get the port before its server binds it.
    """
    with ExitStack() as held:
        return [held.enter_context(_bind_free_port()).getsockname()[1] for _ in range(count)]


def _bind_free_port() -> socket.socket:
    lowest, highest = _read_ephemeral_range()
    candidates = [*range(FIRST, min(lowest, END)), *range(max(highest + 1, FIRST), END)]
    for port in [*random.sample(candidates, min(TRIES, len(candidates))), 0]:  # 0: wherever the kernel has one
        found = socket.socket()
        try:
            found.bind(("127.0.0.1", port))
        except OSError:
            found.close()
            if not port:
                raise
        else:
            return found
    raise AssertionError("the last candidate is bound or raises")


def _read_ephemeral_range() -> tuple[int, int]:
    try:
        lowest, highest = map(int, EPHEMERAL.read_text().split())
    except (OSError, ValueError):  # not told: as the kernel's default
        return 32_768, 60_999
    return lowest, highest
