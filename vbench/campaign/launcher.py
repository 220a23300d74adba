"""Hydra's entry point to a campaign: composes all points of a grid, checks their types, and runs them together."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from vbench import compose
from vbench.campaign import jobs, story
from vbench.plan.secrecy import check_words
from vbench.schema import RunConfig
from vbench.schema.errors import Refused
from vbench.schema.secrets import redact

MODULE = "hydra_plugins.vbench"
CFG_JOB = ("--cfg", "job")
MULTIRUN = ("-m", "--multirun")  # argparse takes no words on both sides of a flag
# Flags of Hydra that it does not take beside --multirun.
OTHER_MODES = ("--info", "-i", "--hydra-help", "--run", "-r", "--cfg", "-c", "--shell-completion", "-sc")


@dataclass
class Choice:
    """`hydra/launcher=NAME`: the backend of that name in `vbench.campaign.jobs`."""

    name: str
    _target_: str = f"{MODULE}.CampaignLauncher"


class CampaignLauncher(Launcher):
    """Runs a campaign on a backend."""

    exit_code = 0  # of the last campaign; Hydra offers no way to return it

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:  # noqa: ARG002
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        setup_globals()
        configs = list(compose.grid(self.context.config_loader, self.config, job_overrides))
        backend = jobs.backend(self.name)
        if not backend.on_this_host:
            self._refuse_auto(configs, job_overrides)
        CampaignLauncher.exit_code = story.carry_out(configs, backend)
        return []

    def _refuse_auto(self, configs: Sequence[RunConfig], points: Sequence[Sequence[str]]) -> None:
        """Raises Refused if hardware=auto reads this host although the sessions run on others."""
        given = str(self.config.hydra.runtime.choices["hardware"])
        for config, point in zip(configs, points, strict=True):
            words = [word.removeprefix("hardware=") for word in point if word.startswith("hardware=")]
            if [given, *words][-1] == "auto" and config.engine.base_url is None:
                raise Refused(
                    f"hardware=auto: it is what this host has, but hydra/launcher={self.name} runs elsewhere; "
                    "name it, as hardware=2xh100"
                )


def run(words: Sequence[str]) -> int:
    """Composes these command-line arguments and runs the campaign on `hydra/launcher`.

    The exit code is 0 if all runs are VALID, 1 if some are not, 2 if the arguments were refused, 130 after Ctrl-C.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises its errors instead of printing them; we print one line
    from vbench.compose import sweeper

    sweeper.GridSweeper.only_shows = is_shown(words)
    sys.argv[1:] = _order(words)
    try:
        check_words(words)
        compose.register()
        compose.check_quoting(words)
        compose.check_choices(words)
        hydra.main(version_base="1.3", config_path=str(compose.CONF), config_name="config")(_fail_if_called)()
    except Refused as refused:
        return refuse(str(refused))
    except compose.COMPOSE_ERRORS as error:
        return refuse(redact(compose.explain(error)))
    except KeyboardInterrupt:
        print("vbench: interrupted; results are kept; run the same command again to continue", file=sys.stderr)  # noqa: T201
        return 130
    return CampaignLauncher.exit_code


def _order(words: Sequence[str]) -> list[str]:
    """The words for Hydra, with --multirun in front.

    conf/config.yaml sets it too, but Hydra reads that only from a config that composes; without it, a wrong key beside
    a grid is told as "add --multirun".
    """
    kept = [word for word in words if word not in (*MULTIRUN, *(CFG_JOB if is_shown(words) else ()))]
    return kept if any(word.partition("=")[0] in OTHER_MODES for word in kept) else [MULTIRUN[1], *kept]


def is_shown(words: Sequence[str]) -> bool:
    """Whether these ask for the composed config and no more. Hydra's own `--cfg` refuses grids."""
    return any(tuple(words[place : place + 2]) == CFG_JOB for place in range(len(words)))


def register() -> None:
    """Registers these choices of hydra/launcher and hydra/sweeper with Hydra."""
    Plugins.instance()  # the first scan recreates Hydra's plugin classes; derive from them only after it
    from vbench.campaign.planning import entry
    from vbench.compose import sweeper

    offer("hydra/launcher", CampaignLauncher, **{name: Choice(name) for name in jobs.NAMES})
    offer("hydra/launcher", entry.PlanLauncher, plan=entry.Plan())
    offer("hydra/sweeper", sweeper.GridSweeper, grid=sweeper.Grid)


def offer(group: str, plugin: type, **choices: Any) -> None:
    """Adds a plugin to one of Hydra's groups under each of these names; each value is the config node of its options.

    Hydra 1.3 accepts a plugin only if it is importable below `hydra_plugins.`: hence the alias and the two modules,
    instead of a folder of that name at the top of the repository.
    """
    package = sys.modules.setdefault("hydra_plugins", types.ModuleType("hydra_plugins"))
    package.__path__ = getattr(package, "__path__", [])
    module = sys.modules.setdefault(MODULE, types.ModuleType(MODULE))
    alias: Any = type(plugin.__name__, (plugin,), {"__module__": MODULE})
    setattr(module, plugin.__name__, alias)
    Plugins.instance().register(alias)
    for name, node in choices.items():
        ConfigStore.instance().store(group=group, name=name, node=node, provider="vbench")


def _fail_if_called(_: DictConfig) -> None:
    raise AssertionError("conf/config.yaml sets hydra.mode=MULTIRUN: the launcher carries out every campaign")


def refuse(why: str) -> int:
    """Prints why nothing was started; returns the exit code for it."""
    print(f"vbench: {why}", file=sys.stderr)  # noqa: T201
    return 2
