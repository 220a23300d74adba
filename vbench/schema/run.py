"""One point of a campaign: all values that affect its result, and labels that do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import List, Optional, Union

from vbench.schema.engine import Engine, Parallelism
from vbench.schema.fields import key
from vbench.schema.hardware import Hardware
from vbench.schema.model import Model
from vbench.schema.workload import Workload


class Rerun(Enum):
    """Which runs are measured again although they have a final record. Transient failures always are."""

    none = "none"
    failed = "failed"
    invalid = "invalid"
    all = "all"


@dataclass(frozen=True)
class Launcher:
    """How the sessions of a campaign are carried out; hydra/launcher says where."""

    max_parallel: Optional[int] = key(
        None,
        "most jobs of one experiment at a time, counting those already running",
        allowed="1 or more; null: as many as fit on this host, no limit elsewhere",
    )
    exclusive: bool = key(False, "give each session the whole host")
    detach: bool = key(False, "return as soon as the sessions are submitted")
    retries: int = key(1, "new attempts of a session after a transient failure", allowed="0 or more")
    budget_gpu_hours: Optional[float] = key(
        None,
        "refuse to start a campaign whose plan takes more than this",
        unit="GPU hours",
        allowed="above 0; null: no limit",
    )
    setup: List[str] = key([], "shell lines to run before each job, as [module load cuda]")


@dataclass(frozen=True)
class RunConfig:
    """One point: everything that shapes its result, and labels that do not."""

    model: Model = field(default_factory=Model)
    hardware: Hardware = field(default_factory=Hardware)
    parallelism: Parallelism = field(default_factory=Parallelism)
    engine: Engine = field(default_factory=Engine)
    workload: Workload = field(default_factory=Workload)
    experiment: str = key("default", "name of the MLflow experiment and of the folder below multirun/")
    rerun: Union[bool, str] = key(
        False,
        "measure runs again that have a result: all of them (true), or these",
        choices=("failed", "invalid", "all"),
    )
    launcher: Launcher = field(default_factory=Launcher)

    @property
    def rerun_mode(self) -> Rerun:
        """`rerun` as a word. Raises KeyError where it is none."""
        return {False: Rerun.none, True: Rerun.all}[self.rerun] if isinstance(self.rerun, bool) else Rerun[self.rerun]

    @property
    def system_label(self) -> str:
        """The hardware's name; `remote` for a server that already runs on hardware that was not named."""
        return "remote" if self.engine.base_url is not None and not self.hardware.gpu else self.hardware.name
