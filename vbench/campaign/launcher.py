"""Hydra's way into a campaign: all points of a grid are composed, typed and carried out together."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vbench import compose
from vbench.campaign import jobs, story
from vbench.schema import RunConfig
from vbench.schema.errors import Refused

MODULE = "hydra_plugins.vbench"


@dataclass
class Choice:
    """`hydra/launcher=NAME`: the backend of that name in `vbench.jobs`."""

    name: str
    _target_: str = f"{MODULE}.CampaignLauncher"


class CampaignLauncher(Launcher):
    """Carries a campaign out on a backend."""

    exit_code = 0  # of the last campaign; Hydra has no way to hand it on

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        setup_globals()
        configs = list(compose.grid(self.context.config_loader, self.config, job_overrides))
        chosen = jobs.backend(self.name)
        if not chosen.on_this_host:
            self._refuse_auto(configs, job_overrides)
        CampaignLauncher.exit_code = story.carry_out(configs, chosen)
        return []

    def _refuse_auto(self, configs: Sequence[RunConfig], points: Sequence[Sequence[str]]) -> None:
        """Raises Refused where the hardware is left to this host to say, though the sessions run on others."""
        given = str(self.config.hydra.runtime.choices["hardware"])
        for config, point in zip(configs, points, strict=True):
            words = [word.removeprefix("hardware=") for word in point if word.startswith("hardware=")]
            if [given, *words][-1] == "auto" and config.engine.base_url is None:
                raise Refused(
                    f"hardware=auto: it is what this host has, but hydra/launcher={self.name} runs elsewhere; "
                    "name it, as hardware=2xh100"
                )


def register() -> None:
    """Makes these choices of hydra/launcher and hydra/sweeper."""
    Plugins.instance()  # its first scan makes Hydra's own plugin classes anew; what derives from them comes after
    from vbench.compose import sweeper

    offer("hydra/launcher", CampaignLauncher, local=Choice("local"), slurm=Choice("slurm"), inline=Choice("inline"))
    offer("hydra/sweeper", sweeper.GridSweeper, grid=sweeper.Grid)


def offer(group: str, plugin: type, **choices: Any) -> None:
    """Makes a plugin a choice of a group of Hydra's, under each of these names; a value is the node of its options.

    Hydra 1.3 takes a plugin only under `hydra_plugins.`, registered and importable there: hence the alias and the two
    modules, in place of a folder of that name at the top of the tree.
    """
    package = sys.modules.setdefault("hydra_plugins", types.ModuleType("hydra_plugins"))
    package.__path__ = getattr(package, "__path__", [])
    module = sys.modules.setdefault(MODULE, types.ModuleType(MODULE))
    alias: Any = type(plugin.__name__, (plugin,), {"__module__": MODULE})
    setattr(module, plugin.__name__, alias)
    Plugins.instance().register(alias)
    for name, node in choices.items():
        ConfigStore.instance().store(group=group, name=name, node=node, provider="vbench")
