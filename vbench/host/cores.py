"""Which cores a session's processes run on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

LEAST = 2  # cores per GPU needed to divide them: one for a server's front end, one for the load client


def find_usable() -> list[int]:
    """The CPUs that this process may use (in a batch job: the job's); threads of one core are adjacent."""
    return sorted(os.sched_getaffinity(0), key=lambda core: (_find_first_thread(core), core))


def divide_among_gpus(near: Mapping[str, AbstractSet[int]], cores: Sequence[int]) -> dict[str, frozenset[int]]:
    """Each GPU's cores: disjoint parts of equal size, from the GPU's NUMA node as far as it has enough. Pure.

    `near` holds the cores of each GPU's NUMA node, by UUID. The result depends only on the arguments, so
    sessions with different GPUs share no core and need not coordinate. With too few cores every GPU gets all of them.
    """
    if len(cores) < LEAST * len(near):
        return dict.fromkeys(near, frozenset(cores))
    size = len(cores) // len(near)
    left = list(cores)

    def take(wanted: Sequence[int]) -> list[int]:
        for core in wanted:
            left.remove(core)
        return list(wanted)

    found: dict[str, list[int]] = {}
    for uuid, local in near.items():
        neighbours = sum(local == other for other in near.values())
        most = min(size, sum(core in local for core in cores) // neighbours)
        found[uuid] = take([core for core in left if core in local][:most])
    for part in found.values():
        part.extend(take(left[: size - len(part)]))
    return {uuid: frozenset(part) for uuid, part in found.items()}


def split_servers_and_client(
    cores: AbstractSet[int], on_cpu: bool, client_processes: int
) -> tuple[frozenset[int], frozenset[int]]:
    """A session's cores for (the servers, the client): disjoint if the model runs on the CPU and there are enough.

    A CPU engine uses every core it sees: with two shared cores the client stalled for 0.1 to 0.5 s at a time.
    """
    mine = sorted(cores)
    if not on_cpu or len(mine) <= client_processes:
        return frozenset(mine), frozenset(mine)
    return frozenset(mine[:-client_processes]), frozenset(mine[-client_processes:])


@contextmanager
def pin_to_cores(chosen: AbstractSet[int]) -> Iterator[None]:
    """Inside the block this thread and the processes that it starts run on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def parse_cores(text: str) -> frozenset[int]:
    """Parses Linux's core lists: "0-3,8" is 0, 1, 2, 3 and 8."""
    ranges = [part.partition("-") for part in text.strip().split(",") if part]
    return frozenset(core for first, _, last in ranges for core in range(int(first), int(last or first) + 1))


def _find_first_thread(core: int) -> int:
    try:
        return min(parse_cores(Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()))
    except (OSError, ValueError):
        return core
