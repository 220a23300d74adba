"""The load processes, kept for a session: each run is divided among them, started at one instant, and collected."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from vbench.loadgen.load import Client, Load, Progress, deal, gather
from vbench.loadgen.places import fill_pool, make_pool
from vbench.schema.errors import Refused, VbenchError
from vbench.schema.record import Floats, Requests

SILENCE_S = 120.0  # a process that is silent for this long is lost
START_IN_NS = 10_000_000  # time for the start message to reach every process
SPARE_FILES = 64  # file descriptors that a process needs besides its streams

Tick = Callable[[Progress], None]
Enough = Callable[[Progress], str]  # why to break the load off; empty to go on


class ClientLost(VbenchError):
    """A load process died or fell silent: the run has no measurement."""


class _Worker:
    """One load process and the socket to it."""

    def __init__(self, pool: int) -> None:
        ours, theirs = socket.socketpair()
        package_root = str(Path(__file__).parents[2])
        path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.words = tempfile.TemporaryFile()  # noqa: SIM115  its stderr, read only if it dies; stop() closes it
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vbench.loadgen.worker", str(theirs.fileno()), str(pool)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.words,
                pass_fds=[theirs.fileno(), pool],
                env={**os.environ, "PYTHONPATH": path},
            )
        self.pipe = Connection(ours.detach())

    def receive(self) -> Any:
        """Returns its next message. Raises ClientLost with the end of its stderr."""
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            raise self.describe_loss("is gone") from None
        if message[0] == "failed":
            raise ClientLost("a load process failed:\n" + message[1])
        return message

    def send(self, message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError:
            raise self.describe_loss("is gone") from None

    def describe_loss(self, how: str) -> ClientLost:
        self.words.seek(0)
        last_words = self.words.read().decode(errors="replace").strip().splitlines()[-1:]
        return ClientLost(": ".join([f"load process {self.process.pid} {how}", *last_words]))

    def stop(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.wait()
        self.words.close()


class Workers:
    """`with Workers(n) as workers: workers.run(load)`: n processes, started once, so that no run pays for imports."""

    def __init__(self, processes: int) -> None:
        self._count = processes
        self._workers: list[_Worker] = []
        self._pool = -1  # of the places that they share
        self._skew_s: Floats = np.empty(0)

    def __enter__(self) -> Workers:  # noqa: PYI034  typing has no Self on Python 3.10
        with contextlib.ExitStack() as undo:
            undo.callback(self._stop)
            self._pool = make_pool()
            for _ in range(self._count):
                self._workers.append(_Worker(self._pool))
            self._skew_s = np.concatenate([skew for _, skew in self._collect(self._workers, "skew")])
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def run(self, load: Load, tick: Tick | None = None, enough: Enough | None = None) -> tuple[Requests, Client]:
        """Sends a load and returns its results, in the load's order. A failed request is a result.

        Once `enough` says why, the rest is broken off or never sent, with that as its error.

        Raises Refused, before anything is sent, if so many streams cannot be open or there are none; ClientLost if a
        load process dies, after which these workers cannot be used again.
        """
        if not len(load):
            raise Refused("workload.num_prompts: a load of no requests measures nothing")
        shares = deal(load, min(load.processes or self._count, self._count))
        refuse_more_streams_than_files([share for _, share in shares])
        fill_pool(self._pool, shares[0][1].shared_places or 0)
        workers = self._workers[: len(shares)]
        for number, (worker, (_, share)) in enumerate(zip(workers, shares, strict=True)):
            worker.send((share, number))
        self._collect(workers, "ready")
        start = time.perf_counter_ns() + START_IN_NS
        for worker in workers:
            worker.send(start)
        results = self._collect(workers, "result", tick, enough)
        facts = [each[2] for each in results]
        lags_s, ttft_lags_s = (np.concatenate([fact[name] for fact in facts]) for name in ("lags_s", "ttft_lags_s"))
        requests = gather([(places, each[1]) for (places, _), each in zip(shares, results, strict=True)])
        if load.structure:
            part_tokens = np.array([len(part) for part in load.prompts], np.int64)
            requests = requests.with_structure(load.structure, part_tokens)
        return requests, Client(
            processes=len(workers),
            cpu_s=sum(fact["cpu_s"] for fact in facts),
            busiest_cpu_share=max(fact["cpu_s"] / fact["wall_s"] for fact in facts),
            loop_lag_p99_s=float(np.percentile(lags_s, 99)) if len(lags_s) else 0.0,
            loop_lag_max_s=float(lags_s.max(initial=0.0)),
            ttft_lag_p99_s=float(np.percentile(ttft_lags_s, 99)) if len(ttft_lags_s) else 0.0,
            skew_p50_s=float(np.percentile(self._skew_s, 50)),
            skew_p99_s=float(np.percentile(self._skew_s, 99)),
            started_at_monotonic_s=start / 1e9,
        )

    def kill(self) -> None:
        """Kills the load processes: a run in another thread ends at once with ClientLost."""
        for worker in self._workers:
            worker.process.kill()

    def _collect(
        self, workers: list[_Worker], kind: str, tick: Tick | None = None, enough: Enough | None = None
    ) -> list[Any]:
        """Returns one message of this kind from each worker, in order. Raises ClientLost."""
        found: dict[_Worker, Any] = {}
        last = {worker: Progress(elapsed_s=0.0, completed=0, reads=0, in_flight=0) for worker in workers}
        while len(found) < len(workers):
            silent = [worker for worker in workers if worker not in found]
            for worker in _wait_for_messages(silent):
                message = worker.receive()
                if message[0] == kind:
                    found[worker] = message
                elif message[0] == "progress":
                    last[worker] = message[1]
                    progress = combine(last.values(), message[1])
                    if tick:
                        tick(progress)
                    if enough and (why := enough(progress)):
                        enough = None
                        for each in workers:
                            each.send(why)
        return [found[worker] for worker in workers]

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []
        if self._pool >= 0:
            os.close(self._pool)
        self._pool = -1


def combine(last: Iterable[Progress], newest: Progress) -> Progress:
    """Combines the latest progress of all processes; what is new since the last report is from the newest."""
    told = list(last)
    return Progress(
        elapsed_s=max(each.elapsed_s for each in told),
        completed=sum(each.completed for each in told),
        reads=sum(each.reads for each in told),
        in_flight=sum(each.in_flight for each in told),
        gaps=sum(each.gaps for each in told),
        streaming_s=sum(each.streaming_s for each in told),
        answered=newest.answered,
        ended=newest.ended,
        oldest_open_s=min(each.oldest_open_s for each in told),
        newest_open_s=max(each.newest_open_s for each in told),
    )


def _wait_for_messages(workers: list[_Worker]) -> Iterable[_Worker]:
    by_pipe = {worker.pipe: worker for worker in workers}
    ready = wait(list(by_pipe), timeout=SILENCE_S)
    if not ready:
        raise workers[0].describe_loss(f"said nothing for {SILENCE_S:.0f} s")
    return [by_pipe[pipe] for pipe in ready]  # type: ignore[index]


def refuse_more_streams_than_files(shares: list[Load]) -> None:
    """Raises Refused if a process would need more files than the hard limit of RLIMIT_NOFILE."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    streams = max(share.most_in_flight for share in shares)
    if most != resource.RLIM_INFINITY and streams + SPARE_FILES > most:
        raise Refused(
            f"workload: {streams} streams at once in one load process need more files than its hard limit of {most}; "
            "raise `ulimit -Hn`, set workload.max_concurrency, or raise workload.client_processes"
        )


def choose_count(streams: int, cores: int) -> int:
    """How many load processes to start for this many streams, leaving half of the cores free."""
    return max(1, min(count_needed(streams), cores // 2))


def count_needed(streams: int) -> int:
    """How many load processes this many streams need, on a host with cores to spare.

    A token costs a process about 10 µs (benchmarks/load_client.py), so of 256 that arrive together the last is stamped
    2.6 ms late, the largest error that we accept for an engine's step.
    """
    return -(-streams // 256)
