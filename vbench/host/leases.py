"""Leases a host's GPUs and CPU to sessions: everything a session asks for or nothing, first come, first served.

If a job is killed its lease is released, and the next session stops any server it left behind before it uses the GPUs.
Only the head of the queue collects, and it keeps what it has while it waits for the rest. So no two sessions each hold
what the other needs, and a session of eight GPUs is not starved by sessions of one. GPU sessions share the CPU; a
session whose engine runs on the CPU has the whole host to itself.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vbench.host import cores, gpus, leasefolder, locks
from vbench.host.gpus import GpuFacts
from vbench.host.leasefolder import CPU, HELD, LEASE, TURN
from vbench.plan.sessions import Session
from vbench.schema import Hardware
from vbench.schema.errors import Refused

__all__ = [
    "LEASE",
    "HostLease",
    "LeaseRequest",
    "choose_same_node",
    "end_orphans",
    "hold_lease",
    "refuse_if_unavailable",
]

POLL_S = 0.1
STRANGER_S = 10.0  # memory in use on an unleased GPU counts as draining for this long, then as a stranger's


@dataclass(frozen=True)
class HostLease:
    """The GPUs and cores of this host that a session holds."""

    cores: frozenset[int]
    uuids: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()  # locks that its servers inherit: the GPUs stay leased while a server lives
    lease: str = ""  # the value of LEASE in its servers' environment


@dataclass(frozen=True)
class LeaseRequest:
    """What a session asks for: how many GPUs of a pool, and how the CPU is locked."""

    hardware: Hardware
    exclusive: bool

    def find_pool(self) -> list[GpuFacts]:
        """The matching GPUs as they are now; all GPUs of the host if exclusive. Raises Refused if there are too few."""
        fitting = gpus.find_matching(self.hardware)
        return gpus.find_gpus() if self.exclusive else fitting

    def count(self, pool: Sequence[GpuFacts]) -> int:
        return len(pool) if self.exclusive else self.hardware.gpus

    @property
    def cpu(self) -> int:
        """How the CPU is locked."""
        return locks.ALONE if self.exclusive or not self.hardware.gpus else locks.SHARED

    def choose(self, free: Sequence[GpuFacts]) -> list[str]:
        """UUIDs of the free GPUs that the session will use."""
        fitting = {gpu.uuid for gpu in gpus.find_matching(self.hardware)}
        return choose_same_node([gpu for gpu in free if gpu.uuid in fitting], self.hardware.gpus)

    def refuse_if_too_few(self, pool: Sequence[GpuFacts], strangers: Sequence[GpuFacts]) -> None:
        """Raises Refused if strangers' GPUs leave too few."""
        left = len(pool) - len(strangers)
        if left < self.count(pool):
            theirs = "; ".join(
                f"{gpu.uuid}: {gpu.used_mib:,} MiB held by "
                f"{', '.join(gpus.describe_users(gpu.uuid)) or 'nobody seen from here'}"
                for gpu in strangers
            )
            key = f"hardware={self.hardware.name}{' launcher.exclusive=true' if self.exclusive else ''}"
            raise Refused(f"{key}: only {left} of {len(pool)} GPUs are free ({theirs}); wait, or ask for fewer")


def refuse_if_unavailable(session: Session, exclusive: bool = False) -> None:
    """Raises Refused if this host cannot serve the session however long it waits for other sessions: it lacks GPUs, or
    strangers use them.
    """
    if session.is_external:
        return
    folder, request = leasefolder.find(), LeaseRequest(session.hardware, exclusive)
    leasefolder.end_orphans(folder)
    pool = request.find_pool()
    locked = {name: locks.is_locked(folder / name) for name in (CPU, TURN, *(gpu.uuid for gpu in pool))}
    request.refuse_if_too_few(pool, [gpu for gpu in pool if gpu.in_use and not locked[gpu.uuid]])


def end_orphans() -> None:
    """Ends the servers that killed jobs have left on this host."""
    folder = leasefolder.find()
    leasefolder.end_orphans(folder)
    leasefolder.tidy_jobs(folder)  # in an allocation `find` may just have created the job's folder


@contextmanager
def hold_lease(session: Session, on_wait: Callable[[str], None], exclusive: bool = False) -> Iterator[HostLease]:
    """Waits until the session's GPUs and cores are free and holds them for the block.

    `on_wait` is called with what the session waits for whenever that changes.

    With `exclusive` it gets the whole host. A session of an external server leases nothing. Raises Refused as
    `refuse_if_unavailable`.
    """
    if session.is_external:
        yield HostLease(frozenset(cores.find_usable()))
        return
    say, request = _skip_repeats(on_wait), LeaseRequest(session.hardware, exclusive)
    with leasefolder.hold_ticket(f"{session.folder} (pid {os.getpid()})") as ticket, _hold_descriptors() as held:
        with _wait_for_turn(ticket, say):
            uuids = _collect(ticket.parent, request, held, say)
            lease = ticket.rename(ticket.with_suffix(HELD))
        share = _find_cores(() if request.cpu == locks.ALONE else uuids)
        yield HostLease(share, tuple(uuids), tuple(held.values()), str(lease))


def choose_same_node(free: Sequence[GpuFacts], count: int) -> list[str]:
    """UUIDs of `count` of these GPUs: from the NUMA node with the fewest that suffice, else from several. Pure."""
    nodes: dict[frozenset[int], list[str]] = defaultdict(list)
    for gpu in free:
        nodes[gpu.near].append(gpu.uuid)
    fewest_first = sorted(nodes.values(), key=len)
    enough = [node for node in fewest_first if len(node) >= count]
    return (enough or [[uuid for node in reversed(fewest_first) for uuid in node]])[0][:count]


@contextmanager
def _wait_for_turn(ticket: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Waits until the session is the head of the queue, and keeps it there during the block."""
    lock = ticket.with_name(TURN)
    while (ahead := leasefolder.count_ahead(ticket)) or (turn := locks.try_lock(locks.create(lock))) is None:
        say(f"{max(ahead, 1)} before it in the queue")
        time.sleep(POLL_S)
    try:
        yield
    finally:
        os.close(turn)


def _collect(folder: Path, request: LeaseRequest, held: dict[str, int], say: Callable[[str], None]) -> list[str]:
    """Adds locks to `held` as GPUs and the CPU become free; returns the UUIDs of the GPUs to use."""
    pool = request.find_pool()
    kinds = {CPU: request.cpu} | {gpu.uuid: locks.ALONE for gpu in pool}
    in_use_since: dict[str, float] = {}
    while True:
        leasefolder.end_orphans(folder)
        for name in kinds.keys() - held.keys():
            if (descriptor := locks.try_lock(locks.create(folder / name), kinds[name])) is not None:
                held[name] = descriptor
        if CPU in held and len(held) > request.count(pool):
            now = time.monotonic()
            ours = [gpu for gpu in request.find_pool() if gpu.uuid in held]
            in_use_since = {gpu.uuid: in_use_since.get(gpu.uuid, now) for gpu in ours if gpu.in_use}
            free = [gpu for gpu in ours if not gpu.in_use]
            if len(free) >= request.count(pool):
                chosen = request.choose(free)
                if not request.exclusive:
                    _release(held, held.keys() - {CPU, *chosen})
                return chosen
            strangers = [gpu for gpu in ours if now - in_use_since.get(gpu.uuid, now) > STRANGER_S]
            request.refuse_if_too_few(pool, strangers)
        say(_describe_missing(folder, held, request.count(pool)))
        time.sleep(POLL_S)


def _describe_missing(folder: Path, held: dict[str, int], count: int) -> str:
    parts = [f"has {min(len(held.keys() - {CPU}), count)} of {count} GPUs"] if count else []
    parts += [] if CPU in held else ["another session has the CPU"]
    holders = ", ".join(leasefolder.describe_holders(folder)) or "nobody; waiting until used GPU memory is freed"
    return f"{', '.join(parts)}; leased to {holders}"


def _find_cores(uuids: Sequence[str]) -> frozenset[int]:
    """The cores that go with these GPUs; all of them where none are named.

    Who may use the whole host leaves the other GPUs their part of it; the cores of a batch job are for its GPUs alone.
    """
    usable = cores.find_usable()
    if not uuids:
        return frozenset(usable)
    sharing = gpus.find_all_gpus() if len(usable) == os.cpu_count() else gpus.find_gpus()
    parts = cores.divide_among_gpus({gpu.uuid: gpu.near for gpu in sharing}, usable)
    return frozenset[int]().union(*(parts[uuid] for uuid in uuids))


@contextmanager
def _hold_descriptors() -> Iterator[dict[str, int]]:
    held: dict[str, int] = {}
    try:
        yield held
    finally:
        _release(held, held.keys())


def _release(held: dict[str, int], names: Iterable[str]) -> None:
    for name in list(names):
        os.close(held.pop(name))


def _skip_repeats(say: Callable[[str], None]) -> Callable[[str], None]:
    """Calls `say` only with a text that differs from the last."""
    said = ""

    def once(text: str) -> None:
        nonlocal said
        if text != said:
            said = text
            say(text)

    return once
