"""The GPUs that a server runs on, and what a SLURM job asks for to get them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Dict, Optional, Union

from vbench.schema.fields import MISSING, key


@dataclass(frozen=True)
class Gpu:
    """One GPU's facts from the vendor's datasheet; null where unknown."""

    name: str = key(MISSING, "short name, as in hardware=2xNAME")
    product: str = key(MISSING, "regular expression that NVML's product name matches")
    memory_mib: int = key(MISSING, "memory as the driver reports it", unit="MiB")
    memory_bandwidth_gb_s: Optional[float] = key(None, "memory bandwidth", unit="GB/s")
    bf16_tflops: Optional[float] = key(None, "dense bfloat16 peak", unit="TFLOP/s")
    fp8_tflops: Optional[float] = key(None, "dense FP8 peak", unit="TFLOP/s", allowed="null: the chip has none")
    link: Optional[str] = key(None, "link between the GPUs of a host, as NVLink 4")
    link_gb_s: Optional[float] = key(None, "bandwidth of that link of one GPU, both directions together", unit="GB/s")
    price_per_hour: Optional[float] = key(None, "price of one GPU, yours to set", unit="$ an hour")


@dataclass(frozen=True)
class Slurm:
    """What a batch job asks for besides its GPUs (hydra/launcher=slurm)."""

    partition: Optional[str] = key(None, "sbatch --partition")
    gres_type: Optional[str] = key(None, "GPU type in sbatch --gres=gpu:TYPE:N")
    account: Optional[str] = key(None, "sbatch --account")
    qos: Optional[str] = key(None, "sbatch --qos")
    constraint: Optional[str] = key(None, "sbatch --constraint")
    time_min: Optional[Union[int, str]] = key(
        None,
        "time limit of a job",
        unit="minutes",
        allowed="null: estimated from the plan; SLURM's forms: 90, 1:30:00, 2-12; in a file with colons: quoted",
    )
    cpus_per_gpu: int = key(8, "CPU cores for each GPU; without a GPU, for the session")
    mem_gib_per_gpu: int = key(64, "host memory for each GPU; without a GPU, for the session", unit="GiB")
    extra: Dict[str, str] = key({}, "further sbatch parameters, as {reservation: maintenance}")


@dataclass(frozen=True)
class Hardware:
    """A number of equal GPUs of one host; without a GPU, its CPU."""

    gpus: int = key(0, "GPUs of one host", allowed="0: the CPU")
    gpu: Optional[Gpu] = None
    slurm: Slurm = field(default_factory=Slurm)

    @property
    def name(self) -> str:
        return f"{self.gpus}x{self.gpu.name}" if self.gpu else "cpu"

    @property
    def devices(self) -> int:
        """Devices to split a model over: the GPUs, or the CPU as one."""
        return max(self.gpus, 1)
