"""The GPUs of this host, by NVML. The only importer of pynvml."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml

from vbench.host import cores, processes
from vbench.schema import Gpu, Hardware
from vbench.schema.errors import Refused

ELSEWHERE = (
    "send it where they are with hydra/launcher=slurm, see what it would take with hydra/launcher=plan, or choose "
    "hardware=auto for what is here"
)
IN_JOB = (
    "SLURM gave this job what it asked for, so compare partition and gres_type of conf/slurm with `sinfo -o '%P %G'`, "
    "and see whether nvidia-smi works in a job there"
)
IN_USE_MIB = 1024  # above this another process uses the GPU; the driver holds a few hundred on an idle one


@dataclass(frozen=True)
class GpuFacts:
    """One GPU as the driver reports it."""

    index: int  # its place in the driver's order
    uuid: str
    product: str
    memory_mib: int
    used_mib: int
    near: frozenset[int]  # the cores of its NUMA node; empty if unknown
    is_sliced: bool = False  # in MIG mode: a program gets one slice of it, and the meters read the whole card

    @property
    def in_use(self) -> bool:
        return self.used_mib > IN_USE_MIB


@dataclass(frozen=True)
class GpuReading:
    """One GPU at one instant; NaN for what the card does not report."""

    power_w: float  # the whole board; from Ampere on (except the A100) the mean of the last second
    memory_mib: float  # held by all processes
    sm_clock_mhz: float
    utilization_pct: float  # share of the driver's last sample period in which a kernel ran, 0 to 100
    energy_j: float  # a running total since the driver was loaded; Volta and later


def find_gpus() -> list[GpuFacts]:
    """The GPUs of this host that we may use, in the driver's order; empty if there is no driver.

    If CUDA_VISIBLE_DEVICES is set, as in a SLURM job, only those that it names, by index or UUID. (A job's
    SLURM_JOB_GPUS counts all GPUs of the node, also those that the job's cgroup hides from NVML.)
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [gpu for gpu in find_all_gpus() if given is None or _is_named(given, gpu)]


def find_all_gpus() -> list[GpuFacts]:
    """The GPUs that the driver shows here, also those that CUDA_VISIBLE_DEVICES leaves to others."""
    with _open_nvml() as found:
        return [_read_facts(index) for index in range(found)]


def read_driver_version() -> str | None:
    """The driver's version; None if there is no driver."""
    with _open_nvml() as found:
        return str(pynvml.nvmlSystemGetDriverVersion()) if found else None


def find_matching(hardware: Hardware) -> list[GpuFacts]:
    """The GPUs of this host that match the hardware. Raises Refused if there are fewer than the hardware has."""
    if hardware.gpu is None:
        return []
    here = find_gpus()
    matching = [gpu for gpu in here if re.search(hardware.gpu.product, gpu.product)]
    found = [gpu for gpu in matching if not gpu.is_sliced]
    if len(found) < hardware.gpus <= len(matching):
        sliced = ", ".join(str(gpu.index) for gpu in matching if gpu.is_sliced)
        raise Refused(
            f"hardware={hardware.name}: GPU {sliced} of this host is in MIG mode, so a server would get a slice, whose "
            "numbers would stand for the whole GPU; end that mode (nvidia-smi -mig 0) or use other GPUs"
        )
    if len(found) < hardware.gpus:
        held = ", ".join(sorted({gpu.product for gpu in here})) or "no GPU"
        raise Refused(
            f"hardware={hardware.name}: this host has {len(found)} of the {hardware.gpus} GPUs ({held} here); "
            f"{IN_JOB if is_chosen_by_slurm() else ELSEWHERE}"
        )
    return found


def is_chosen_by_slurm() -> bool:
    """Whether SLURM chose this host for a job of ours; in a user's own allocation the driver saw its GPUs."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


def count_matching(gpu: Gpu) -> int:
    """How many GPUs of this host are such GPUs, and whole."""
    return sum(re.search(gpu.product, each.product) is not None for each in find_gpus() if not each.is_sliced)


def describe_users(uuid: str) -> list[str]:
    """The processes that compute on this GPU, in words; empty if the driver does not report them, as in a container."""
    with _open_nvml():
        handle = _find_handle(uuid)
        try:
            return [processes.describe(each.pid) for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        except pynvml.NVMLError:
            return []


def wait_until_drained(uuids: Sequence[str], timeout_s: float) -> bool:
    """Waits until no process holds memory on these GPUs; False if one still does after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        if not any(gpu.in_use for gpu in find_gpus() if gpu.uuid in uuids):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)


@contextmanager
def open_meter(uuids: Sequence[str]) -> Iterator[Callable[[], list[GpuReading]]]:
    """Opens these GPUs for the block and yields a function that reads them in this order and never raises.

    A reading takes some milliseconds per GPU and may block for longer: call it in a thread.
    """
    with _open_nvml():
        handles = [_find_handle(uuid) for uuid in uuids]
        yield lambda: [_read_gpu(handle) for handle in handles]


@contextmanager
def _open_nvml() -> Iterator[int]:
    """Opens NVML for the block and yields the number of GPUs, 0 if there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield 0
        return
    try:
        yield pynvml.nvmlDeviceGetCount()
    finally:
        pynvml.nvmlShutdown()


def _read_facts(index: int) -> GpuFacts:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuFacts(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        product=str(pynvml.nvmlDeviceGetName(handle)),
        memory_mib=memory.total >> 20,
        used_mib=memory.used >> 20,
        near=_find_near_cores(handle),
        is_sliced=_is_sliced(handle),
    )


def _is_sliced(handle: object) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])
    except pynvml.NVMLError:  # a card that has no such mode
        return False


def _is_named(given: str, gpu: GpuFacts) -> bool:
    words = [word.strip() for word in given.split(",")]
    return str(gpu.index) in words or any(word.startswith("GPU-") and gpu.uuid.startswith(word) for word in words)


def _find_near_cores(handle: object) -> frozenset[int]:
    words = math.ceil((os.cpu_count() or 1) / 64)
    try:
        masks = pynvml.nvmlDeviceGetCpuAffinity(handle, words)
        return frozenset(64 * word + bit for word, mask in enumerate(masks) for bit in range(64) if mask >> bit & 1)
    except pynvml.NVMLError:  # older drivers and some virtual machines: the kernel may know
        return _find_near_cores_by_bus(handle)


def _find_near_cores_by_bus(handle: object) -> frozenset[int]:
    try:
        domain, _, place = pynvml.nvmlDeviceGetPciInfo(handle).busId.lower().partition(":")
        return cores.parse_cores(Path(f"/sys/bus/pci/devices/{domain[-4:]}:{place}/local_cpulist").read_text())
    except (pynvml.NVMLError, OSError, ValueError):
        return frozenset()


def _find_handle(uuid: str) -> object | None:
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(uuid)  # type: ignore[no-any-return]
    except pynvml.NVMLError:
        return None


def _read_gpu(handle: object | None) -> GpuReading:
    def read_or_nan(ask: Callable[[Any], float], scale: float = 1.0) -> float:
        if handle is None:
            return math.nan
        try:
            return ask(handle) * scale
        except pynvml.NVMLError:  # most often NVML_ERROR_NOT_SUPPORTED
            return math.nan

    return GpuReading(
        power_w=read_or_nan(pynvml.nvmlDeviceGetPowerUsage, 1e-3),
        memory_mib=read_or_nan(lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used, 2**-20),
        sm_clock_mhz=read_or_nan(lambda gpu: pynvml.nvmlDeviceGetClockInfo(gpu, pynvml.NVML_CLOCK_SM)),
        utilization_pct=read_or_nan(lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
        energy_j=read_or_nan(pynvml.nvmlDeviceGetTotalEnergyConsumption, 1e-3),
    )
