"""What servers, their processes and GPUs tell of a run, sampled while it is loaded. Never ends a run: what fails is
missed.

It runs beside the load, not in it: the load has processes of its own, and NVML, which may block, a thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np

from vbench.engine.counters import MEANS
from vbench.engine.endpoint import UNANSWERED, Endpoint
from vbench.host import cputime, gpus
from vbench.host.cputime import FRONTEND, ProcessReading
from vbench.host.gpus import GpuReading
from vbench.schema.series import Sample, Series

INTERVAL_S = 1.0
SUMS = ("requests_running", "requests_waiting", "generation_tokens", "prompt_tokens", "preemptions")

Source = Callable[[], Awaitable[dict[str, float] | None]]  # what is found now by column; None where it failed


class Watch:
    """What has been sampled so far. A sample's instant (`time.perf_counter`) is that of its arrival."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._rows: list[Sample] = []
        self._missed = 0

    async def sample(self) -> None:
        """Asks every source once."""
        await asyncio.gather(*map(self._ask, self._sources))

    async def keep_sampling(self, interval_s: float) -> None:
        """Asks each source every `interval_s` until cancelled; a slow one skips turns and delays no other."""
        await asyncio.gather(*(self._keep_asking(source, interval_s) for source in self._sources))

    def series(self, started_at_monotonic_s: float) -> Series:
        """What was sampled, on the time axis of the run that started then (seconds of `time.perf_counter`)."""
        started_at = time.time() - (time.perf_counter() - started_at_monotonic_s)
        return Series.from_samples(self._rows, started_at_monotonic_s, started_at, self._missed)

    async def _keep_asking(self, source: Source, interval_s: float) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(interval_s - (time.perf_counter() - began) % interval_s)
            await self._ask(source)

    async def _ask(self, source: Source) -> None:
        found = await source()
        if found is None:
            self._missed += 1
        elif found:  # a server that is not vLLM may have nothing to tell
            self._rows.append((time.perf_counter(), found))


@asynccontextmanager
async def watch(
    servers: Sequence[Endpoint], pids: Sequence[int], uuids: Sequence[str], interval_s: float = INTERVAL_S
) -> AsyncIterator[Watch]:
    """Samples the servers' /metrics, their processes (`pids` are those that were started) and the GPUs.

    It does so until the block ends, and once before and once after it: those two enclose the run, so that its energy
    can be told. A block that fails gets no last sample.
    """
    with gpus.open_meter(uuids) as read, ThreadPoolExecutor(1, "nvml") as thread:

        async def of_gpus() -> dict[str, float] | None:
            return gpu_columns(await asyncio.get_running_loop().run_in_executor(thread, read)) or None

        async def of_servers() -> dict[str, float] | None:
            return await _scraped(servers)

        async def of_processes() -> dict[str, float] | None:
            return process_columns(await asyncio.to_thread(cputime.read, pids)) or None

        found = Watch([of_servers, *([of_processes] if pids else []), *([of_gpus] if uuids else [])])
        await found.sample()
        sampling = asyncio.create_task(found.keep_sampling(interval_s))
        try:
            yield found
        finally:
            sampling.cancel()
            await asyncio.wait([sampling])
        await found.sample()


def server_columns(replicas: Sequence[dict[str, float]]) -> dict[str, float]:
    """One row of all replicas: requests and tokens summed, cache usage (0 to 1) as their mean.

    What one of them lacks is absent: a part is no total.
    """
    found = {}
    for name in (*SUMS, *MEANS):
        values = [counters[name] for counters in replicas if name in counters]
        if values and len(values) == len(replicas):
            found[f"server/{name}"] = float(np.mean(values) if name in MEANS else np.sum(values))
    return found


def gpu_columns(readings: Sequence[GpuReading]) -> dict[str, float]:
    """One row of all GPUs, numbered by their place in the session's share; what a card does not tell is absent."""
    return {
        f"gpu{index}/{name}": value
        for index, reading in enumerate(readings)
        for name, value in vars(reading).items()
        if np.isfinite(value)
    }


def process_columns(readings: Sequence[ProcessReading]) -> dict[str, float]:
    """One row of all processes, numbered within their part; of a front end also what its event loop used."""
    found: dict[str, float] = {}
    numbers: Counter[str] = Counter()
    for reading in readings:
        name = f"cpu/{reading.role}{numbers[reading.role]}"
        numbers[reading.role] += 1
        found[f"{name}_s"] = reading.cpu_s
        if reading.role == FRONTEND:
            found[f"{name}_loop_s"] = reading.loop_s
    return found


async def _scraped(servers: Sequence[Endpoint]) -> dict[str, float] | None:
    try:
        return server_columns(await asyncio.gather(*(server.read_counters() for server in servers)))
    except (*UNANSWERED, ValueError):  # not there, too busy, or garbled: the load itself will tell
        return None
