"""Hydra's entry point for hydra/launcher=plan, and the command `vbench plan`, which is short for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Optional  # noqa: UP035  OmegaConf 2.3 reads typing's forms on Python 3.10

from hydra.core.utils import JobReturn, setup_globals

from vbench import compose
from vbench.campaign import launcher
from vbench.schema.errors import Refused

HELP = """\
python -m vbench.campaign.planning.entry [-m] [choice=...] [key=value] ['gpus={GPU: N}'] ['prices={GPU: $}']

Says what a campaign would run, take and show, and starts nothing. It takes the same words as `python -m vbench`, where
hydra/launcher=plan does the same.

It writes plan.md (a page with figures) and plan.json (every number with its basis and range) into
multirun/EXPERIMENT/plan. Each number is measured (records of the same system and load), interpolated (between two
recorded loads), predicted (by a model fitted to the records), or assumed. Recorded runs are left out, and sessions that
cannot work are named with the reason.

  'gpus={h100: 8}'      GPUs to pack the sessions on, by name (default: this host's, else several numbers side by side)
  'prices={h100: 2.5}'  $ an hour of one GPU, by name (default: price_per_hour in conf/gpu/)
  out=FOLDER            where to write the plan

launcher.budget_gpu_hours=N refuses a campaign whose plan takes more, whatever launches it.

Examples
  python -m vbench.campaign.planning.entry -m model=llama70b hardware=2xh100,4xh100 workload.num_prompts=10,80,320
  python -m vbench.campaign.planning.entry +campaign=published 'gpus={a100: 8, h100: 8}'
"""
OPTIONS = {"gpus": "+", "prices": "+", "out": ""}  # Hydra adds to a dict of its own only by +
GIVEN_TWICE = "hydra/launcher="


@dataclass
class Plan:
    """`hydra/launcher=plan` and its options."""

    name: str = "plan"
    gpus: Dict[str, int] = field(default_factory=dict)  # noqa: UP006
    prices: Dict[str, float] = field(default_factory=dict)  # noqa: UP006
    out: Optional[str] = None  # noqa: UP045
    _target_: str = f"{launcher.MODULE}.PlanLauncher"


class PlanLauncher(launcher.CampaignLauncher):
    """Plans a campaign."""

    def __init__(self, name: str, gpus: Mapping[str, Any], prices: Mapping[str, Any], out: str | None) -> None:
        super().__init__(name)
        self._gpus = {str(pool): int(number) for pool, number in gpus.items()}
        self._prices, self._out = {str(gpu): float(price) for gpu, price in prices.items()}, out

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from vbench.campaign.planning import story

        setup_globals()
        configs = compose.grid(self.context.config_loader, self.config, job_overrides)
        out = Path(self._out) if self._out else None
        launcher.CampaignLauncher.exit_code = story.carry_out(configs, self._gpus, self._prices, out)
        return []


def main(words: list[str]) -> int:
    """Returns the exit code: 0, or 2 if the words were refused."""
    launcher.register()
    try:
        compose.check_quoting(words)
        return launcher.run([*map(_translate, words), "hydra/launcher=plan"])
    except Refused as refused:
        return launcher.refuse(str(refused))


def _translate(word: str) -> str:
    """`gpus=…` and `out=…` as options of the launcher."""
    if word.startswith(GIVEN_TWICE):
        raise Refused(f"{word}: a plan starts nothing; leave it out")
    name, equals, value = word.partition("=")
    if equals and OPTIONS.get(name) == "+" and not value.startswith("{"):
        raise Refused(f"{word}: name the GPUs, as '{name}={{h100: 8}}'")
    return f"{OPTIONS[name]}hydra.launcher.{name}={value}" if equals and name in OPTIONS else word
