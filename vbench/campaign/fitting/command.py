"""The command `vbench fit [-m] [choice=…] [key=value]`: does a model fit, and how many tokens of KV cache remain."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.utils import JobReturn, setup_globals

from vbench import compose
from vbench.campaign import launcher
from vbench.campaign.fitting import page
from vbench.campaign.fitting.evidence import Start, find_measured, read_known_starts, read_starts
from vbench.campaign.fitting.larger import say_what_fits
from vbench.engine.identity import ask_engine_version
from vbench.plan.memory.estimate import Verdict, estimate_fit
from vbench.plan.rules import check_run
from vbench.schema import Lengths, RunConfig, Workload
from vbench.schema.archives import is_archive
from vbench.schema.errors import Refused

FORMATS = ("text", "json")
HELP = """\
python -m vbench.campaign.fitting.command [-m] [choice=...] [key=value] [format=json] [records=PATH]

Says whether a model fits on GPUs, before any is held: weights as split, activations, CUDA graphs and context against
gpu_memory_utilization of the GPU's memory, and the tokens of KV cache that remain. It takes the same words as `vbench`;
of the configs that they compose, the model, hardware, parallelism and engine matter. One point prints every term with
its formula and source; a grid (-m) prints a row for each point. docs/predicting.md tells how far it errs.

Where records of the same model, engine version, GPU and split exist, what they measured replaces the estimate.

  format=json       model, hardware, max_context_tokens, kv_cache_tokens (0 where it does not fit), weights_gib, terms
  records=PATH      folders or archives with records, commas between several (default: multirun/ here, and the store)

The exit code is 0 if a point fits or is near the edge, 1 if none does, 2 if the words were refused.

Examples
  vbench fit model=llama70b hardware=1xh100
  vbench fit model=gpt_oss_120b hardware=1xh200 engine.max_model_len=131072
  vbench fit -m model=llama70b,mixtral8x22b hardware=2xh100,4xh100
  vbench fit -m +campaign=max_context format=json
"""


@dataclass
class FitChoice:
    """`hydra/launcher=fit`."""

    name: str = "fit"
    _target_: str = f"{launcher.MODULE}.FitLauncher"


@dataclass(frozen=True)
class Options:
    """The words that are not Hydra's."""

    format: str = "text"
    folders: tuple[Path, ...] | None = None  # None: multirun/ and the store


class FitLauncher(launcher.CampaignLauncher):
    """Prints the fit of every point and starts nothing."""

    options = Options()  # Hydra makes the launcher itself, from its own config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        setup_globals()
        configs = compose.grid(self.context.config_loader, self.config, job_overrides)
        folders = self.options.folders
        points = estimate(configs, read_known_starts() if folders is None else read_starts(folders))
        print(write(points, self.options.format))  # noqa: T201
        fitting = any(point.fit.verdict is not Verdict.too_large for point in points)
        launcher.CampaignLauncher.exit_code = 0 if fitting else 1
        return []


def main(words: list[str]) -> int:
    """The exit code is 0 if a point fits or is near the edge, 1 if none is, 2 if the arguments were refused."""
    try:
        options, kept = split_words(words)
    except Refused as refused:
        print(f"vbench: {refused}", file=sys.stderr)  # noqa: T201
        return 2
    FitLauncher.options = options
    launcher.register()
    launcher.offer("hydra/launcher", FitLauncher, fit=FitChoice())
    with tempfile.TemporaryDirectory() as scratch:  # Hydra writes a file about the sweep
        return launcher.run([*kept, "hydra/launcher=fit", f"hydra.sweep.dir={scratch}"])


def split_words(words: Sequence[str]) -> tuple[Options, list[str]]:
    """The command's own options, and the words for Hydra. Raises Refused for a value that is not possible."""
    own = {name: value for name, _, value in (word.partition("=") for word in words) if name in ("format", "records")}
    form = own.get("format", "text")
    if form not in FORMATS:
        raise Refused(f"format={form}: must be one of {', '.join(FORMATS)}")
    folders = tuple(Path(each) for each in own["records"].split(",")) if "records" in own else None
    for folder in folders or ():
        if not (folder.is_dir() or is_archive(folder)):
            raise Refused(f"records={folder}: no such folder, nor an archive")
    kept = [word for word in words if word.partition("=")[0] not in ("format", "records", "hydra/launcher")]
    return Options(form, folders), kept


def estimate(configs: Iterable[RunConfig], starts: list[Start]) -> list[page.Point]:
    """The fit of each point. Raises Refused for a point without a GPU, or with a model of an unknown kind."""
    points, versions = [], {}
    for composed in configs:
        idle = replace(composed, workload=Workload(lengths=Lengths.none, num_prompts=0))
        config = check_run(idle)
        if config.hardware.gpu is None or config.engine.base_url is not None:
            raise Refused(f"hardware={config.hardware.name}: a fit needs GPUs, as hardware=2xh100")
        command = tuple(config.engine.command)
        if command not in versions:
            versions[command] = ask_engine_version(config.engine)
        measured = find_measured(config, starts, versions[command])
        try:
            fit = estimate_fit(config, versions[command], measured.spent if measured else None)
        except ValueError as error:
            raise Refused(f"model={config.model.name}: {error}") from error
        larger = say_what_fits(idle, versions[command]) if fit.verdict is Verdict.too_large else ""
        points.append(page.Point(config, fit, measured, larger))
    return points


def write(points: Sequence[page.Point], form: str) -> str:
    """The points as the format says."""
    if form == "json":
        return page.write_json(points)
    return page.write_terms(points[0]) if len(points) == 1 else page.write_table(points)
