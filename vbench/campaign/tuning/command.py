"""The command `vbench tune`: which engine options serve most requests within an SLO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Dict  # noqa: UP035  OmegaConf 2.3 reads typing's forms on Python 3.10

from hydra.core.utils import JobReturn, setup_globals

from vbench import compose
from vbench.campaign import launcher
from vbench.campaign.tuning.options import drop_keys
from vbench.schema.errors import Refused

HELP = """\
python -m vbench.campaign.tuning.command 'tune={KEY: [VALUE, ...]}' 'slo={OBJECTIVE: ms}' [choice=...] [key=value]

Finds the engine options that serve most requests within an SLO, and says whether they beat the defaults. All options
are measured under a short load, the best third of them under one three times as long, and so on. The best one and the
defaults are then started in turn, several times each; it wins only if the 95 % interval of its ratio lies above 1.
Each trial is an ordinary session, so the same command continues and measures nothing twice. It takes the words of
`python -m vbench` besides, for one point, and writes tune.json into multirun/EXPERIMENT/tune.

  'tune={engine.max_num_seqs: [64, 256], parallelism: [tp, tp2dp]}'   keys and choices to vary, all combinations
  'slo={ttft_ms: 500, tpot_ms: 50}'   workload.slo: objectives in ms, of TTFT, TPOT and e2el_ms
  workload=slo_search       compares the goodput at the highest load that meets the SLO; else, that of the load as it is
  objective=cost            $/M tokens within the SLO, in place of goodput
  'prices={h100: 2.5}'      $ an hour of one GPU (default: price_per_hour in conf/gpu/)
  KEY=VALUE                 of a key that tune varies: its value in the default, which is the command without tune
  trials=27                 options of the first round; of more combinations, a sampler chooses so many
  engine.restarts=5         starts of the best option, and of the defaults, that confirm it; 3 or more
  launcher.budget_gpu_hours=4   of all trials, earlier ones included; a confirmation is always kept in reserve
  hydra/launcher=slurm      where trials run (default: local)

The exit code is 0 if a winner was confirmed or no option beats the default, 3 if it is undecided.

Examples
  python -m vbench.campaign.tuning.command model=llama8b hardware=1xh100 workload=slo_search \\
      'tune={engine.max_num_seqs: [64, 128, 256, 512], engine.max_num_batched_tokens: [2048, 8192, 16384]}'
"""
MAPPINGS = ("tune", "prices")  # Hydra adds to a dict of its own by +
OWN = (*MAPPINGS, "objective", "trials")


@dataclass
class Tune:
    """The options of `vbench tune`, as those of a launcher."""

    name: str = "tune"
    tune: Dict[str, Any] = field(default_factory=dict)  # noqa: UP006
    prices: Dict[str, float] = field(default_factory=dict)  # noqa: UP006
    objective: str = "goodput"
    trials: int = 27
    backend: str = "local"
    _target_: str = f"{launcher.MODULE}.TuneLauncher"
    _convert_: str = "all"  # plain lists and dicts, in place of OmegaConf's


class TuneLauncher(launcher.CampaignLauncher):
    """Tunes the one point of the command."""

    words: Sequence[str] = ()  # of the command, without its own options; Hydra makes the launcher itself

    def __init__(
        self,
        name: str,
        tune: Mapping[str, Any],
        prices: Mapping[str, float],
        objective: str,
        trials: int,
        backend: str,
    ) -> None:
        super().__init__(name)
        self._tune = {str(key): values for key, values in tune.items()}
        self._prices = {str(gpu): float(price) for gpu, price in prices.items()}
        self._objective, self._trials, self._backend = objective, trials, backend

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        from vbench.campaign.tuning.story import Question, carry_out

        setup_globals()
        point = job_overrides[0]
        if len(job_overrides) > 1:
            next(compose.grid(self.context.config_loader, self.config, [point]))  # an unknown key is named first
            raise Refused(f"vbench tune answers for one point, not for {len(job_overrides)}; put what varies into tune")
        question = Question(self._tune, self._objective, self._trials, self._prices, self._backend, TuneLauncher.words)
        launcher.CampaignLauncher.exit_code = carry_out(
            question,
            lambda points: compose.grid(
                self.context.config_loader, self.config, [[*drop_keys(point, each), *each] for each in points]
            ),
        )
        return []


def main(words: list[str]) -> int:
    """Returns the exit code: 0 for an answer, 2 if the words were refused, 3 if the question is undecided."""
    launcher.register()
    launcher.offer("hydra/launcher", TuneLauncher, tune=Tune())
    try:
        TuneLauncher.words, made = translate(words)
        return launcher.run(made)
    except Refused as refused:
        return launcher.refuse(str(refused))


def translate(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without our own options, as a campaign takes them, and all of them as overrides for Hydra.

    Raises Refused if the shell has split a mapping.
    """
    compose.check_quoting(words)
    given = Counter(word.partition("=")[0] for word in words)
    kept, made = [], ["hydra/launcher=tune"]
    for word in words:
        name, _, value = word.partition("=")
        if name in MAPPINGS and (given[name] > 1 or not value.startswith("{")):
            raise Refused(f"{name}: must be one mapping in braces, quoted so that the shell keeps it: '{name}={{…}}'")
        if name in OWN:
            made.append(f"{'+' if name in MAPPINGS else ''}hydra.launcher.{name}={value}")
            continue
        kept.append(f"workload.slo={value}" if name == "slo" else word)
        made.append(f"hydra.launcher.backend={value}" if name == "hydra/launcher" else kept[-1])
    return kept, made if any(word.startswith("experiment=") for word in kept) else [*made, "experiment=tune"]
