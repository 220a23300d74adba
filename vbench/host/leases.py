"""The GPUs and the CPU of this host, leased to sessions: all that one asks for or nothing, first come first served.

    FOLDER/NUMBER.waiting   a session's place in the queue, locked by its job for as long as the job lives
    FOLDER/NUMBER.lease     the same file once the session has its share; its servers' environment names it
    FOLDER/turn             locked by the head of the queue, which collects its share
    FOLDER/GPU-…, cpu       locked by the session that has it and, by inheritance, by its servers

A lease that is there but not locked is that of a job which was killed: the head of the queue first ends the servers
that name it, which frees what they held. Only the head collects, and it keeps what it has while it waits for the rest:
no two sessions hold parts of what the other wants, and one of eight GPUs is not starved by those of one. GPU sessions
share the CPU; a session whose engine runs on it has it alone, and so the host.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vbench.host import cores, gpus, locks, processes
from vbench.host.gpus import GpuFacts
from vbench.plan.sessions import Session
from vbench.schema import Hardware
from vbench.schema.errors import Refused

LEASE = "VBENCH_LEASE"  # in the environment of a lease's servers: the path of its file
CPU = "cpu"
POLL_S = 0.1
STRANGER_S = 10.0  # in use for so long by nobody of ours, a GPU is a stranger's and not one that is being drained


@dataclass(frozen=True)
class HostLease:
    """What a session has of this host."""

    cores: frozenset[int]
    uuids: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()  # locks for its servers to inherit: what they use stays leased while they live
    lease: str = ""  # what its servers carry as LEASE


@dataclass(frozen=True)
class LeaseRequest:
    """What a session leases: so many of the GPUs in a pool, and of these the ones that it uses."""

    hardware: Hardware
    exclusive: bool

    def pool(self) -> list[GpuFacts]:
        """The GPUs of its kind as they are now; all of the host for a session that has it alone. Raises Refused."""
        fitting = gpus.fitting(self.hardware)
        return gpus.present() if self.exclusive else fitting

    def count(self, pool: Sequence[GpuFacts]) -> int:
        return len(pool) if self.exclusive else self.hardware.gpus

    @property
    def cpu(self) -> int:
        """How the CPU is locked."""
        return locks.ALONE if self.exclusive or not self.hardware.gpus else locks.SHARED

    def chosen(self, free: Sequence[GpuFacts]) -> list[str]:
        """The UUIDs of those that it uses."""
        fitting = {gpu.uuid for gpu in gpus.fitting(self.hardware)}
        return together([gpu for gpu in free if gpu.uuid in fitting], self.hardware.gpus)

    def refuse_if_too_few(self, pool: Sequence[GpuFacts], strangers: Sequence[GpuFacts]) -> None:
        """Raises Refused where strangers leave too few."""
        left = len(pool) - len(strangers)
        if left < self.count(pool):
            theirs = "; ".join(
                f"{gpu.uuid}: {gpu.used_mib:,} MiB held by {', '.join(gpus.users(gpu.uuid)) or 'nobody seen from here'}"
                for gpu in strangers
            )
            key = f"hardware={self.hardware.name}{' launcher.exclusive=true' if self.exclusive else ''}"
            raise Refused(f"{key}: only {left} of {len(pool)} GPUs are free ({theirs}); wait, or ask for fewer")


def check(session: Session, exclusive: bool = False) -> None:
    """Raises Refused where this host cannot serve the session, however long it waits for other sessions: GPUs that it
    lacks, or that somebody else uses.
    """
    if session.attached:
        return
    folder, wanted = _folder(), LeaseRequest(session.hardware, exclusive)
    _end_orphans(folder)
    pool = wanted.pool()
    wanted.refuse_if_too_few(pool, [gpu for gpu in pool if gpu.in_use and not locks.is_locked(folder / gpu.uuid)])


@contextmanager
def leased(session: Session, on_wait: Callable[[str], None], exclusive: bool = False) -> Iterator[HostLease]:
    """The session's share of this host, once all of it is free; `on_wait` hears what it waits for, when that changes.

    `exclusive` gives it the host alone. A session whose server already runs leases nothing. Raises Refused as `check`.
    """
    if session.attached:
        yield HostLease(frozenset(cores.usable()))
        return
    folder, say, wanted = _folder(), _changes(on_wait), LeaseRequest(session.hardware, exclusive)
    try:
        with _ticket(folder, session) as ticket, _descriptors() as held:
            with _turn(folder, ticket, say):
                uuids = _collect(folder, wanted, held, say)
                lease = ticket.rename(ticket.with_suffix(".lease"))
            share = _cores(() if wanted.cpu == locks.ALONE else uuids)
            yield HostLease(share, tuple(uuids), tuple(held.values()), str(lease))
    finally:
        if _of_slurm(folder):  # its number does not come again
            shutil.rmtree(folder, ignore_errors=True)


def together(free: Sequence[GpuFacts], count: int) -> list[str]:
    """UUIDs of so many of these GPUs, of one NUMA node where one has enough: the one with the fewest to spare. Pure."""
    nodes: dict[frozenset[int], list[str]] = defaultdict(list)
    for gpu in free:
        nodes[gpu.near].append(gpu.uuid)
    fewest_first = sorted(nodes.values(), key=len)
    enough = [node for node in fewest_first if len(node) >= count]
    return (enough or [[uuid for node in reversed(fewest_first) for uuid in node]])[0][:count]


@contextmanager
def _ticket(folder: Path, session: Session) -> Iterator[Path]:
    """The session's place in the queue; when the block ends neither it nor the lease that it became is left."""
    # The clock is one for all processes of a host; tickets of the same nanosecond are told apart at random.
    ticket = folder / f"{time.monotonic_ns():020d}-{secrets.token_hex(4)}.waiting"
    descriptor = locks.create_locked(ticket, f"{session.folder} (pid {os.getpid()})")
    try:
        yield ticket
    finally:
        locks.remove(ticket)
        locks.remove(ticket.with_suffix(".lease"))
        os.close(descriptor)


@contextmanager
def _turn(folder: Path, ticket: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Waits until the session is the head of the queue, and is it during the block."""
    lock = locks.create(folder / "turn")
    while (ahead := _ahead(folder, ticket)) or (turn := locks.try_lock(lock)) is None:
        say(f"{max(ahead, 1)} before it in the queue")
        time.sleep(POLL_S)
    try:
        yield
    finally:
        os.close(turn)


def _ahead(folder: Path, ticket: Path) -> int:
    earlier = [other for other in folder.glob("*.waiting") if other.name < ticket.name]
    alive = [other for other in earlier if locks.is_locked(other)]
    for dead in set(earlier) - set(alive):
        locks.remove(dead)
    return len(alive)


def _collect(folder: Path, wanted: LeaseRequest, held: dict[str, int], say: Callable[[str], None]) -> list[str]:
    """Fills `held` with the locks of the share, by place, as they become free; the UUIDs of the GPUs to use."""
    pool = wanted.pool()
    kinds = {CPU: wanted.cpu} | {gpu.uuid: locks.ALONE for gpu in pool}
    places = {name: locks.create(folder / name) for name in kinds}
    in_use_since: dict[str, float] = {}
    while True:
        _end_orphans(folder)
        for name in kinds.keys() - held.keys():
            if (descriptor := locks.try_lock(places[name], kinds[name])) is not None:
                held[name] = descriptor
        if CPU in held and len(held) > wanted.count(pool):
            now = time.monotonic()
            ours = [gpu for gpu in wanted.pool() if gpu.uuid in held]
            in_use_since = {gpu.uuid: in_use_since.get(gpu.uuid, now) for gpu in ours if gpu.in_use}
            free = [gpu for gpu in ours if not gpu.in_use]
            if len(free) >= wanted.count(pool):
                chosen = wanted.chosen(free)
                if not wanted.exclusive:
                    _release(held, held.keys() - {CPU, *chosen})
                return chosen
            strangers = [gpu for gpu in ours if now - in_use_since.get(gpu.uuid, now) > STRANGER_S]
            wanted.refuse_if_too_few(pool, strangers)
        say(_missing(folder, held, wanted.count(pool)))
        time.sleep(POLL_S)


def _missing(folder: Path, held: dict[str, int], count: int) -> str:
    parts = [f"has {min(len(held.keys() - {CPU}), count)} of {count} GPUs"] if count else []
    parts += [] if CPU in held else ["the CPU is another's"]
    holders = [text for lease in sorted(folder.glob("*.lease")) if (text := _text(lease))]
    return f"{', '.join(parts)}; leased to {', '.join(holders) or 'nobody: used memory is waited for'}"


def _end_orphans(folder: Path) -> None:
    """Ends the servers of leases whose jobs were killed. Those of another user we may not end: they keep their locks.

    Only a lease that is here and not locked counts: what other folders lease (a container's, say) is not known here. Of
    SLURM's jobs each ends what any other has left: where the scheduler holds jobs by their process trees, a server
    whose job was killed is nobody's.
    """
    for lease in folder.parent.glob("slurm-*/*.lease") if _of_slurm(folder) else folder.glob("*.lease"):
        if os.access(lease, os.W_OK) and (descriptor := locks.try_lock(lease)) is not None:
            processes.end(LEASE, str(lease))
            locks.remove(lease)
            os.close(descriptor)


def _cores(uuids: Sequence[str]) -> frozenset[int]:
    """The cores that go with these GPUs; all of them where none are named."""
    usable = cores.usable()
    if not uuids:
        return frozenset(usable)
    parts = cores.parts({gpu.uuid: gpu.near for gpu in gpus.present()}, usable)
    return frozenset[int]().union(*(parts[uuid] for uuid in uuids))


def _folder() -> Path:
    """Where the leases of this host lie: one local folder for all of its users, or VBENCH_LEASES (for containers which
    share GPUs). A SLURM job is a host of its own: the scheduler has parted the node.
    """
    public = [place for place in (Path("/run/lock"), Path("/tmp")) if _everybodys(place)]  # noqa: S108
    folder = locks.folder(Path(os.environ.get("VBENCH_LEASES") or public[0] / "vbench"))
    job = os.environ.get("SLURM_JOB_ID")
    return locks.folder(folder / f"slurm-{job}") if job else folder


def _everybodys(place: Path) -> bool:
    return place.is_dir() and bool(place.stat().st_mode & stat.S_IWOTH)


def _of_slurm(folder: Path) -> bool:
    return folder.name.startswith("slurm-")


@contextmanager
def _descriptors() -> Iterator[dict[str, int]]:
    held: dict[str, int] = {}
    try:
        yield held
    finally:
        _release(held, held.keys())


def _release(held: dict[str, int], names: Iterable[str]) -> None:
    for name in list(names):
        os.close(held.pop(name))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _changes(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says a thing when it is not what was said last."""
    said = ""

    def once(text: str) -> None:
        nonlocal said
        if text != said:
            said = text
            say(text)

    return once
