"""The command `vbench size`: which system bears a load within an SLO, and at what cost."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Dict, Optional  # noqa: UP035  OmegaConf 2.3 reads typing's forms on Python 3.10

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, setup_globals
from hydra.errors import HydraException

from vbench import compose
from vbench.campaign import launcher
from vbench.compose.choices import SIZES, gpu_names
from vbench.schema.errors import Refused

HELP = """\
python -m vbench.campaign.planning.size model=NAME rate=N 'slo={OBJECTIVE: ms}' 'prices={GPU: $}' [key=value]

Ranks the systems that bear a load within an SLO: GPU, split (tensor parallel) and number of replicas, with their cost.
A rate is borne if 99 % of the requests meet every objective. Each row is measured (a search on that system),
interpolated (between recorded rates of it) or predicted (by the step model), never a mixture. It takes the words of
`python -m vbench` besides, and writes size.json into multirun/EXPERIMENT/size.

  rate=50                   requests a second to bear
  'slo={ttft_ms: 500, tpot_ms: 50}'   workload.slo: objectives in ms, of TTFT, TPOT and e2el_ms
  'prices={h100: 2.5}'      $ an hour of one GPU; these are the GPUs to choose from, on 1, 2, 4 or 8 a replica
  hardware=1xh100,2xh100    only these sizes of a replica, in place of all

  measure=true              measures what should settle most for its GPU hours, one session after the other, until the
                            winner is settled or the budget is spent; the same command goes on
  budget_gpu_hours=2        of all sessions that the answer takes, earlier ones included
  hydra/launcher=slurm      where they run (default: local)

Examples
  python -m vbench.campaign.planning.size model=llama70b rate=50 'slo={ttft_ms: 500, tpot_ms: 50}' 'prices={h100: 2.5}'
  python -m vbench.campaign.planning.size model=llama8b rate=200 'slo={tpot_ms: 30}' 'prices={h100: 2.5, l40s: 1}' \\
      workload=random workload.input_len=2000 measure=true budget_gpu_hours=2
"""
SPLITS = (
    "parallelism",
    "parallelism.tensor_parallel_size",
    "parallelism.pipeline_parallel_size",
    "parallelism.attention_data_parallel_size",
    "parallelism.data_parallel_size",
)
PREFIXES = {"rate": "", "prices": "+", "measure": "", "budget_gpu_hours": ""}  # Hydra adds to a dict of its own by +


@dataclass
class Size:
    """The options of `vbench size`, as those of a launcher."""

    name: str = "size"
    rate: float = 0.0
    prices: Dict[str, float] = field(default_factory=dict)  # noqa: UP006
    measure: bool = False
    budget_gpu_hours: Optional[float] = None  # noqa: UP045
    backend: str = "local"
    _target_: str = f"{launcher.MODULE}.SizeLauncher"


class SizeLauncher(launcher.CampaignLauncher):
    """Sizes a load over the points of a grid, each of which is one kind of replica."""

    def __init__(
        self,
        name: str,
        rate: float,
        prices: Mapping[str, Any],
        measure: bool,
        budget_gpu_hours: float | None,
        backend: str,
    ) -> None:
        super().__init__(name)
        self._rate, self._prices = rate, {str(gpu): float(price) for gpu, price in prices.items()}
        self._measure, self._budget, self._backend = measure, budget_gpu_hours, backend

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from vbench.campaign.planning.sizing import Sizing

        setup_globals()
        configs = list(compose.grid(self.context.config_loader, self.config, job_overrides))
        sizing = Sizing(configs, self._rate, self._prices)
        backend = self._backend if self._measure else None
        launcher.CampaignLauncher.exit_code = sizing.carry_out(backend, self._budget)
        return []


def main(words: list[str]) -> int:
    """Returns the exit code: 0 if a system bears the load, 1 if none does, 2 if the words were refused."""
    launcher.register()
    launcher.offer("hydra/launcher", SizeLauncher, size=Size())
    try:
        return launcher.run(_translate(words))
    except Refused as refused:
        return launcher.refuse(str(refused))


def _translate(words: Sequence[str]) -> list[str]:
    """The words as overrides: our own become options of the launcher, and prices choose the hardware."""
    compose.check_quoting(words)
    given = dict(word.partition("=")[::2] for word in words if "=" in word)
    _check_keys(given)
    made = ["hydra/launcher=size"]
    for word in words:
        name, _, value = word.partition("=")
        if name in PREFIXES:
            made.append(f"{PREFIXES[name]}hydra.launcher.{name}={value}")
        elif name == "slo":
            made.append(f"workload.slo={value}")
        elif name == "hydra/launcher":
            made.append(f"hydra.launcher.backend={value}")
        else:
            made.append(word)
    if "hardware" not in given:
        if "prices" not in given:
            raise Refused("prices: name the GPUs to choose from, as 'prices={h100: 2.5}', or hardware=1xh100,2xh100")
        made.append(f"hardware={','.join(f'{size}x{gpu}' for gpu in _read_gpus(given['prices']) for size in SIZES)}")
    return made if "experiment" in given else [*made, "experiment=size"]


def _check_keys(given: Container[str]) -> None:
    """Raises Refused if the rate or the SLO is missing, or if a key is set that differs from row to row."""
    for name in ("rate", "slo"):
        if name not in given and f"workload.{name}" not in given:
            raise Refused(f"{name}: is missing, as in rate=50 'slo={{ttft_ms: 500, tpot_ms: 50}}'")
    for name in SPLITS:
        if any(f"{sign}{name}" in given for sign in ("", "+", "++")):
            raise Refused(f"{name}: vbench size splits each replica over all its GPUs; leave {name}=… out")


def _read_gpus(prices: str) -> list[str]:
    try:
        value = OverridesParser.create().parse_override(f"prices={prices}").value()
    except HydraException as error:
        raise Refused(f"prices={prices}: must be $ an hour by GPU, as 'prices={{h100: 2.5}}'") from error
    if not isinstance(value, dict) or not value:
        raise Refused(f"prices={prices}: must be $ an hour by GPU, as 'prices={{h100: 2.5}}'")
    for gpu in map(str, value):
        if gpu not in gpu_names():
            raise Refused(f"prices: {gpu}: no such GPU; {compose.nearest(gpu, gpu_names())}")
    return list(map(str, value))
