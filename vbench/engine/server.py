"""Starts servers in their own process groups, watches them, ends them, and waits until their processes are gone."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vbench import loadgen
from vbench.engine import bytecode, dummy, identity, routing, serverlog, weights
from vbench.engine.command import (
    MARK,
    build_server_argv,
    build_server_env,
    choose_variables,
    pass_variables,
)
from vbench.engine.endpoint import UNANSWERED, Endpoint
from vbench.engine.logpipe import LogPipe
from vbench.host import gpus, processes
from vbench.host.cores import pin_to_cores
from vbench.host.cputime import ServerProcesses, find_server_processes
from vbench.host.leases import LEASE, HostLease
from vbench.host.ports import find_free_ports
from vbench.plan.program import find_wrapper_length
from vbench.plan.sessions import Session
from vbench.schema import Weights
from vbench.schema.errors import ServerFailed, describe_disk_fault
from vbench.schema.record import SERVER_LOGS

POLL_S = 0.2
DYING_S = 1.0  # between a lost connection and the end of the process that held it
DRAIN_S = 30.0


@dataclass(frozen=True)
class Server:
    """One engine process with its own front end; a replica if there are several."""

    served_model_name: str  # a nonce: a server that lists it is ours
    base_url: str
    log: Path
    process: subprocess.Popen[bytes]
    control: Endpoint
    printed: LogPipe

    def check_alive(self) -> None:
        """Raises ServerFailed, with the cause from its log, if the process has ended."""
        returncode = self.process.poll()
        if returncode is not None:
            self.printed.settle()
            raise ServerFailed(*serverlog.diagnose(self.log.read_text(errors="replace"), returncode), self.log)

    def settle_log(self) -> None:
        """Waits until what it has printed is in its log: a compilation that is not there yet would not be counted."""
        self.printed.settle()

    async def check_identity(self) -> int | None:
        """The longest context that it serves. Raises ServerFailed if somebody else answers on its port."""
        models = await self.control.list_models()
        if self.served_model_name not in models:
            line = f"{self.base_url} serves {', '.join(models)}, not {self.served_model_name}"
            raise ServerFailed("port_taken", line, self.log)
        return models[self.served_model_name]

    def find_processes(self) -> ServerProcesses:
        """Its processes now. Under a container runtime the front end is not the process that was started."""
        return _find_processes(self.served_model_name, urlsplit(self.base_url).port or 0)

    @property
    def endpoint(self) -> loadgen.Endpoint:
        return loadgen.Endpoint(self.base_url, self.served_model_name)

    async def wait_until_ready(self, deadline: float) -> None:
        """Waits until /health answers and the name is ours. Raises ServerFailed if it dies or misses the deadline."""
        while not await self.control.is_healthy():
            self.check_alive()
            if time.monotonic() > deadline:
                last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["(the log is empty)"]
                raise ServerFailed("startup_timeout", f"not ready in time; last line: {last[0]}", self.log)
            await asyncio.sleep(POLL_S)
        await self.check_identity()
        self.printed.settle()


@asynccontextmanager
async def start_replicas(session: Session, share: HostLease, folder: Path) -> AsyncIterator[list[Server]]:
    """All servers of a session, ready; ended when the block ends, with the processes and GPU memory seen gone.

    They run on the lease's cores. Each replica gets its part of the lease's GPUs in order and logs to `server.log`
    (`server-1.log`, …) in the folder. Raises ServerFailed if one does not become ready within
    `engine.start_timeout_s`, or stops answering in the block.
    """
    model = session.model.hub_id
    if session.engine.weights is Weights.dummy:
        model = _make_dummy(session)
    deadline = time.monotonic() + session.engine.start_timeout_s
    each = session.gpus_per_replica
    async with AsyncExitStack() as stack:
        servers = []
        for index in range(session.parallelism.data_parallel_size or 1):
            log = folder / (f"server-{index}.log" if index else "server.log")
            own = dataclasses.replace(share, uuids=share.uuids[index * each : (index + 1) * each])
            servers.append(await stack.enter_async_context(_start_server(session, model, own, log)))
        await asyncio.gather(*(server.wait_until_ready(deadline) for server in servers))
        await asyncio.gather(*(_check_engine(server, session) for server in servers))
        try:
            yield servers
        except UNANSWERED as error:
            await asyncio.sleep(DYING_S)
            for server in servers:
                server.check_alive()
            raise ServerFailed("server_died", f"a server does not answer: {error!r}", servers[0].log) from error


def keep_logs(folder: Path, run_folder: Path) -> None:
    """Copies the servers' current logs to the folder of the run that they describe."""
    for log in folder.glob(SERVER_LOGS):
        shutil.copy(log, run_folder)


def find_cache() -> Path:
    """The folder for files that vbench can recreate: below XDG_CACHE_HOME or ~/.cache.

    Raises OSError where the user has no home, as one without a name in a container.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vbench"
    except RuntimeError as error:
        raise NotADirectoryError(errno.ENOTDIR, "this user has no home folder", "~") from error


def _make_dummy(session: Session) -> str:
    """The folder that stands for the model's weights. Raises ServerFailed if it cannot be written here."""
    try:
        return str(dummy.materialise(session.model, find_cache()))
    except OSError as error:
        line = f"{describe_disk_fault(error) or error}; set XDG_CACHE_HOME to a folder that can be written"
        raise ServerFailed("server_died", line) from error


def _choose_bytecode(session: Session) -> dict[str, str]:
    """The variables that say where a server keeps its bytecode; none for a user without a folder for caches."""
    try:
        return bytecode.choose_folder(session.engine, os.environ, find_cache())
    except OSError:
        return {}


async def _check_engine(server: Server, session: Session) -> None:
    """Raises ServerFailed if the server is not what the plan assumed, or does not do what the config asks of it."""
    log = server.log.read_text(errors="replace")
    said = identity.describe_reported(await server.control.ask_version(), await server.control.ask_owner(), log)
    wrong = identity.find_contradiction(identity.ask_engine_version(session.engine), said)
    if wrong := wrong or routing.find_mismatch(session.engine, log):
        raise ServerFailed("engine_error", wrong, server.log)


@asynccontextmanager
async def _start_server(session: Session, model: str, share: HostLease, log: Path) -> AsyncIterator[Server]:
    name = f"vbench-{secrets.token_hex(6)}"
    (port,) = find_free_ports(1)
    chosen = weights.build_environment(session.model, session.engine) | _choose_bytecode(session)
    chosen |= choose_variables(session, share.uuids, mark=name) | {LEASE: share.lease}
    argv = build_server_argv(session, model, name, port, identity.ask_engine_version(session.engine))
    wrapper_length = find_wrapper_length(session.engine.command)
    argv = pass_variables(argv, wrapper_length, chosen)
    env = build_server_env(os.environ, chosen, is_wrapped=wrapper_length > 0)
    _rotate(log)
    with LogPipe(log) as printed:
        on_end = lambda: _wait_until_gone(name, share.uuids, printed)  # noqa: E731
        with _start_process(argv, env, printed, share, on_end) as process:
            try:
                async with Endpoint(f"http://127.0.0.1:{port}") as control:
                    yield Server(name, control.base_url, log, process, control, printed)
            finally:
                _end_detached(name, port, process.pid)


def _find_processes(name: str, port: int) -> ServerProcesses:
    marked = processes.find_marked(MARK, name)
    return find_server_processes(marked, processes.find_listeners(marked, port))


def _end_detached(name: str, port: int, group: int) -> None:
    """Ends a front end that a container runtime started elsewhere: srun would kill it before it can clean up."""
    detached = []
    for pid in _find_processes(name, port).front_ends:
        with suppress(ProcessLookupError):
            detached += [pid] if os.getpgid(pid) != group else []
    processes.ask_to_end(detached, MARK, name)


@contextmanager
def _start_process(
    argv: list[str], env: dict[str, str], printed: LogPipe, share: HostLease, on_end: Callable[[], None]
) -> Iterator[subprocess.Popen[bytes]]:
    printed.write(f"$ {shlex.join(argv)}\n")
    try:
        with pin_to_cores(share.cores), _block_in_children(signal.SIGUSR2):
            process = subprocess.Popen(
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=printed.writer,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=share.descriptors,
            )
    except OSError as error:
        raise ServerFailed("engine_error", f"engine.command={argv[0]}: {error.strerror}", printed.log) from error
    printed.close_writer()
    try:
        yield process
    finally:
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(processes.TERM_GRACE_S)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # it is stuck in the kernel; on_end logs that
                process.wait(processes.KILL_GRACE_S)
        on_end()


def _rotate(log: Path) -> None:
    """Keeps the log of an earlier server, under the next free number."""
    if log.exists():
        earlier = 1
        while (kept := log.with_name(f"{log.name}.{earlier}")).exists():
            earlier += 1
        log.rename(kept)


@contextmanager
def _block_in_children(number: int) -> Iterator[None]:
    """Processes started in the block have this signal blocked; we receive it after the block if it arrives meanwhile.

    A scheduler that preempts a job sends it to every process of the job, but the server must not end by it.
    Blocked rather than ignored, because the mask belongs to this thread and child processes inherit it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_until_gone(mark: str, uuids: Sequence[str], printed: LogPipe) -> None:
    """Waits until all marked processes are gone (killing the rest) and the GPUs' memory is free; logs the result."""
    started = time.monotonic()
    ended = processes.wait_until_gone(MARK, mark)
    drained = gpus.wait_until_drained(uuids, DRAIN_S) if uuids else True
    seconds = time.monotonic() - started
    found = f"NOT gone: {', '.join(map(processes.describe, sorted(ended.left)))}" if ended.left else "gone"
    printed.settle()
    printed.write(
        f"[vbench] processes {found}{f' ({len(ended.killed)} killed)' if ended.killed else ''} and GPU memory "
        f"{'drained' if drained else 'NOT drained'} {seconds:.1f} s after the server's end\n"
    )


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
