"""NVML as a process sees it on a host with GPUs, for tests: put this folder first on PYTHONPATH.

FAKE_GPUS holds the product names, split by commas; a name that ends in "!" is in use by somebody else: pid 1.
FAKE_GPU_MEMORY names a folder whose file "2" holds the MiB that are in use on GPU 2, and the pid that uses them.
FAKE_GPU_CORES holds the cores near each, as "0-3 4-7"; without it no card tells.
FAKE_GPU_MIG holds the numbers of those in MIG mode, as "0 2"; the others have no such mode.
FAKE_GPU_HOST tells the GPUs of hosts apart that are one (the nodes of tests/cluster.py).
FAKE_NVML_SAYS is printed by NVML, and then raised, as by a broken driver.
Each draws 100 W, the next one 100 W more, and so on; FAKE_GPU_ENERGY=0 makes cards without the total-energy counter.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace

NAMES = [name for name in os.environ.get("FAKE_GPUS", "").split(",") if name]
HOST = os.environ.get("FAKE_GPU_HOST", "")

NVML_CLOCK_SM = 1
STARTED_NS = time.perf_counter_ns()


class NVMLError(Exception):
    pass


def nvmlInit():  # noqa: N802
    if said := os.environ.get("FAKE_NVML_SAYS"):
        print(said)
        raise RuntimeError(said)
    if not NAMES:
        raise NVMLError("no driver")


def nvmlShutdown():  # noqa: N802
    pass


def nvmlDeviceGetCount():  # noqa: N802
    return len(NAMES)


def nvmlDeviceGetHandleByIndex(index):  # noqa: N802
    return index


def nvmlDeviceGetMemoryInfo(index):  # noqa: N802
    return SimpleNamespace(total=81559 << 20, used=use(index)[0] << 20)


def nvmlDeviceGetComputeRunningProcesses(index):  # noqa: N802
    return [SimpleNamespace(pid=pid, usedGpuMemory=None) for pid in use(index)[1:]]


def use(index):
    """MiB, and the pids that hold them."""
    told = Path(os.environ.get("FAKE_GPU_MEMORY", "/nowhere")) / str(index)
    if told.exists():
        return [int(word) for word in told.read_text().split()]
    return [40000, 1] if NAMES[index].endswith("!") else [3]


def nvmlDeviceGetCpuAffinity(index, words):  # noqa: N802
    near = os.environ.get("FAKE_GPU_CORES", "").split()
    if not near:
        raise NVMLError("not supported")
    first, last = map(int, near[index].split("-"))
    mask = sum(1 << core for core in range(first, last + 1))
    return [mask >> 64 * word & (1 << 64) - 1 for word in range(words)]


def nvmlDeviceGetMigMode(index):  # noqa: N802
    if str(index) not in os.environ.get("FAKE_GPU_MIG", "").split():
        raise NVMLError("not supported")
    return [1, 1]


def nvmlDeviceGetPciInfo(index):  # noqa: N802
    return SimpleNamespace(busId=f"0000FFFF:{index:02X}:00.0")


def nvmlDeviceGetUUID(index):  # noqa: N802
    return f"GPU-fake-{HOST}{index}"


def nvmlDeviceGetName(index):  # noqa: N802
    return NAMES[index].removesuffix("!")


def nvmlSystemGetDriverVersion():  # noqa: N802
    return "580.0-fake"


def nvmlDeviceGetHandleByUUID(uuid):  # noqa: N802
    index = int(uuid.removeprefix(f"GPU-fake-{HOST}"))
    if index >= len(NAMES):
        raise NVMLError("not found")
    return index


def nvmlDeviceGetPowerUsage(index):  # noqa: N802
    return (index + 1) * 100_000


def nvmlDeviceGetTotalEnergyConsumption(index):  # noqa: N802
    if os.environ.get("FAKE_GPU_ENERGY") == "0":
        raise NVMLError("not supported")
    return 10**9 + nvmlDeviceGetPowerUsage(index) * (time.perf_counter_ns() - STARTED_NS) // 10**9


def nvmlDeviceGetClockInfo(index, kind):  # noqa: N802
    return 1980


def nvmlDeviceGetUtilizationRates(index):  # noqa: N802
    return SimpleNamespace(gpu=90, memory=40)
