"""Samples the servers, their processes and GPUs during a run. Never ends a run: a failed sample is counted as missed.

Sampling does not disturb the load: the load has its own processes, and NVML, which may block, has its own thread.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import ChainMap, Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import numpy as np

from vbench.engine.counters import FULLEST, MEANS
from vbench.engine.endpoint import UNANSWERED, Endpoint
from vbench.host import cputime, gpus
from vbench.host.contention import ContentionMeter
from vbench.host.cputime import FRONTEND, ProcessReading, ServerProcesses
from vbench.host.gpus import GpuReading
from vbench.host.leases import HostLease
from vbench.schema.series import Sample, Series

INTERVAL_S = 1.0
SUMS = ("requests_running", "requests_waiting", "generation_tokens", "prompt_tokens", "preemptions")

Source = Callable[[], Awaitable[dict[str, float] | None]]  # current values by column; None if the source failed


class Watch:
    """What has been sampled so far. A sample's time (`time.perf_counter`) is when it arrived."""

    def __init__(self, sources: Sequence[Source], describe_others: Callable[[], str] = str) -> None:
        """`describe_others` says which other processes use the servers' cores most."""
        self._sources = sources
        self.describe_others = describe_others
        self.rows: list[Sample] = []
        self._missed = 0

    async def sample(self) -> None:
        """Asks every source once."""
        await asyncio.gather(*map(self._ask, self._sources))

    async def keep_sampling(self, interval_s: float) -> None:
        """Asks each source every `interval_s` until cancelled; a slow source skips samples and delays no other."""
        await asyncio.gather(*(self._keep_asking(source, interval_s) for source in self._sources))

    def series(self, started_at_monotonic_s: float) -> Series:
        """Returns the samples on the time axis of the run that started then (seconds of `time.perf_counter`)."""
        started_at = time.time() - (time.perf_counter() - started_at_monotonic_s)
        return Series.from_samples(self.rows, started_at_monotonic_s, started_at, self._missed)

    async def _keep_asking(self, source: Source, interval_s: float) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(interval_s - (time.perf_counter() - began) % interval_s)
            await self._ask(source)

    async def _ask(self, source: Source) -> None:
        found = await source()
        if found is None:
            self._missed += 1
        elif found:  # a server other than vLLM may export nothing
            self.rows.append((time.perf_counter(), found))


@asynccontextmanager
async def watch(
    servers: Sequence[Endpoint],
    processes: ServerProcesses,
    lease: HostLease,
    interval_s: float = INTERVAL_S,
) -> AsyncIterator[Watch]:
    """Samples the servers' /metrics, the GPUs of the lease, and the processes of the servers that were started.

    They run on the cores of the lease, or where a container runtime put them.

    It samples during the block, once before it and once after it, so that the samples enclose the run and its energy
    can be computed. A block that fails gets no last sample.
    """
    cores, uuids = lease.cores | processes.find_cores(), lease.uuids
    contention = ContentionMeter(processes.roots, cores, shared=bool(cores & os.sched_getaffinity(0)))
    with gpus.open_meter(uuids) as read, ThreadPoolExecutor(1, "nvml") as thread:

        async def read_gpus() -> dict[str, float] | None:
            return gpu_columns(await asyncio.get_running_loop().run_in_executor(thread, read)) or None

        async def read_processes() -> dict[str, float] | None:
            return await asyncio.to_thread(_read_processes, processes, contention) or None

        sources: list[Source] = [partial(_scrape_servers, servers)]
        sources += [*([read_processes] if processes.roots else []), *([read_gpus] if uuids else [])]
        found = Watch(sources, contention.describe_others)
        await found.sample()
        async with _sampling(found, interval_s):
            yield found
        await found.sample()


@asynccontextmanager
async def watch_servers(servers: Sequence[Endpoint], interval_s: float = INTERVAL_S) -> AsyncIterator[Watch]:
    """Samples only the servers' /metrics, during the block."""
    found = Watch([partial(_scrape_servers, servers)])
    async with _sampling(found, interval_s):
        yield found


@asynccontextmanager
async def _sampling(watch: Watch, interval_s: float) -> AsyncIterator[None]:
    sampling = asyncio.create_task(watch.keep_sampling(interval_s))
    try:
        yield
    finally:
        sampling.cancel()
        await asyncio.wait([sampling])


def server_columns(replicas: Sequence[dict[str, float]]) -> dict[str, float]:
    """One row of all replicas: requests and tokens summed, cache usage (0 to 1) as their mean and of the fullest.

    A value that one replica lacks is absent, because the sum of the others is not the total.
    """
    found = {}
    for name in (*SUMS, *MEANS):
        values = [counters[name] for counters in replicas if name in counters]
        if values and len(values) == len(replicas):
            found[f"server/{name}"] = float(np.mean(values) if name in MEANS else np.sum(values))
    if "server/kv_cache_usage" in found and (len(replicas) > 1 or FULLEST in replicas[0]):
        found[f"server/{FULLEST}"] = max(counters.get(FULLEST, counters["kv_cache_usage"]) for counters in replicas)
    return found


def gpu_columns(readings: Sequence[GpuReading]) -> dict[str, float]:
    """One row of all GPUs, numbered by their place in the session's lease; values that a GPU lacks are absent.

    A GPU that tells nothing still has a column, so that the others' sum does not pass for that of all.
    """
    found = [
        {f"gpu{index}/{name}": value for name, value in vars(reading).items() if np.isfinite(value)}
        for index, reading in enumerate(readings)
    ]
    silent = {f"gpu{index}/power_w": np.nan for index, values in enumerate(found) if not values}
    return dict(ChainMap(*found, silent)) if any(found) else {}


def process_columns(readings: Sequence[ProcessReading]) -> dict[str, float]:
    """One row of all processes, numbered within their part; for a front end also the CPU time of its event loop."""
    found: dict[str, float] = {}
    numbers: Counter[str] = Counter()
    for reading in readings:
        name = f"cpu/{reading.role}{numbers[reading.role]}"
        numbers[reading.role] += 1
        found[f"{name}_s"] = reading.cpu_s
        if reading.role == FRONTEND:
            found[f"{name}_loop_s"] = reading.loop_s
    return found


def _read_processes(servers: ServerProcesses, contention: ContentionMeter) -> dict[str, float]:
    stats = cputime.read_stats()
    totals = {f"cpu/host_{name}": total for name, total in contention.read(stats).items()}
    return process_columns(cputime.read(servers, stats)) | totals


async def _scrape_servers(servers: Sequence[Endpoint]) -> dict[str, float] | None:
    try:
        return server_columns(await asyncio.gather(*(server.read_counters() for server in servers)))
    except (*UNANSWERED, ValueError):  # unreachable, too busy, or garbled: the load itself will show it
        return None
