"""The command `python -m vbench.fetch [-m] [choice=…] [key=value]`: weights into the cache before a GPU is held."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

from hydra.core.utils import JobReturn, setup_globals
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from vbench import compose
from vbench.campaign import launcher
from vbench.engine import hub, weights
from vbench.schema import RunConfig
from vbench.schema.errors import HubFailed, Refused, VbenchError
from vbench.watch.pipes import end_quietly

T = TypeVar("T")
WORKERS = 8  # files at once
HELP = """\
python -m vbench.fetch [-m] [choice=...] [key=value]

Brings the weights and tokenizers of a point, a grid or a campaign into the Hugging Face cache, before a GPU is held.
It takes the same words as `python -m vbench`; of the configs that they compose, only the models matter.

Only the files that a server loads are fetched: one kind of weights (safetensors if there are any), the config and the
tokenizer. Sizes and free disk space are checked first. Cached files are not fetched again, and after an interruption
the same command continues, even in the middle of a file. The exit code is 0 if everything is cached, 1 if something is
missing, 2 if nothing was started.

  HF_HOME=FOLDER    where the cache is (~/.cache/huggingface); choose a folder that batch jobs see too
  HF_TOKEN=TOKEN    for gated and private models; read from the environment only
  HF_ENDPOINT=URL   a mirror of the hub
  HF_HUB_OFFLINE=1  contact no hub, only report what is cached

Examples
  python -m vbench.fetch model=llama8b
  python -m vbench.fetch -m model=llama8b,llama70b
  python -m vbench.fetch -m +campaign=published
"""


@dataclass
class Fetch:
    """`hydra/launcher=fetch`."""

    name: str = "fetch"
    _target_: str = f"{launcher.MODULE}.FetchLauncher"


class FetchLauncher(launcher.CampaignLauncher):
    """Fetches what a campaign would load."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        setup_globals()
        try:
            configs = compose.grid(self.context.config_loader, self.config, job_overrides)
            launcher.CampaignLauncher.exit_code = fetch(configs)
        except KeyboardInterrupt:
            print("vbench: interrupted; downloads are kept; run the same command again to continue", file=sys.stderr)  # noqa: T201
            launcher.CampaignLauncher.exit_code = 130
        return []


def main(words: list[str]) -> int:
    """Returns the exit code, as HELP tells it."""
    if {"-h", "--help"} & set(words):
        print(HELP, end="")  # noqa: T201
        return 0
    launcher.register()
    launcher.offer("hydra/launcher", FetchLauncher, fetch=Fetch())
    kept = [word for word in words if not word.startswith("hydra/launcher=")]
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # Hydra writes a file about the sweep: not into the campaign's folder
        return launcher.run([*kept, "hydra/launcher=fetch", f"hydra.sweep.dir={scratch}"])


@dataclass(frozen=True)
class Download:
    """The files of one repository that a server loads."""

    name: str  # of the model
    repository: hub.Repository
    files: tuple[hub.File, ...]
    is_main: bool = True  # the commit of the main branch, rather than of a revision

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def missing_bytes(self) -> int:
        """Bytes that are not in the cache."""
        return self.size - sum(hub.count_cached_bytes(self.repository, file) for file in self.files)


class Stopped(Exception):
    """Raised in the threads of a download to end it."""


def fetch(configs: Iterable[RunConfig]) -> int:
    """Fetches what these runs load into the cache, model by model; one that fails does not stop the others.

    Returns the exit code. Raises Refused, before anything is fetched, if the disk is too small for all of it.
    """
    console = Console(highlight=False, soft_wrap=True)
    models = [each.model for each in configs if weights.loads_from_hub(each.engine)]
    names = {(model.hub_id, model.revision): model.name for model in models}
    if not names:
        console.print("nothing to fetch: these runs load no weights from a hub")
    looked_up = [_attempt(_look_up, hub_id, revision, name, console) for (hub_id, revision), name in names.items()]
    downloads = [each for found in looked_up if found is not None for each in found]
    if names and looked_up.count(None) == len(names):
        return 2
    _require_room(downloads, console)
    fetched = [_attempt(_download, each, console) for each in downloads]
    return int(None in [*looked_up, *fetched])


def _attempt(action: Callable[..., T], *arguments: Any) -> T | None:
    """What `action` returns; None if it fails, after one line that says why."""
    try:
        return action(*arguments)
    except VbenchError as error:
        print(f"vbench: {error}", file=sys.stderr)  # noqa: T201
        return None


def _look_up(hub_id: str, revision: str | None, name: str, console: Console) -> list[Download]:
    """The download of this model, none if it needs none. Raises Refused or HubFailed if it cannot be fetched."""
    if weights.is_folder(hub_id) or (not revision and hub.is_offline() and weights.is_cached(hub_id)):
        weights.require_complete(hub_id)
        console.print(f"{name}: whole in {hub_id if weights.is_folder(hub_id) else hub.find_cache()}")
        return []
    repository = hub.look_up(hub_id, revision)
    loaded = weights.select_loaded(file.name for file in repository.files)
    if not weights.has_weights(loaded):
        raise Refused(f"model.hub_id={hub_id}: it has no weights that vLLM loads by themselves")
    files = tuple(file for file in repository.files if file.name in loaded)
    download = Download(name, repository, files, is_main=revision is None)
    missing = download.missing_bytes()
    console.print(
        f"{name}: {decimal(download.size)} in {len(download.files)} files of {hub_id}, "
        + (f"{decimal(missing)} to fetch" if missing else "all here")
    )
    return [download]


def _require_room(downloads: Sequence[Download], console: Console) -> None:
    place = next(folder for folder in (hub.find_cache(), *hub.find_cache().parents) if folder.exists())
    need, free = sum(each.missing_bytes() for each in downloads), shutil.disk_usage(place).free
    if need > free:
        raise Refused(
            f"{decimal(need)} to fetch, but only {decimal(free)} free in {hub.find_cache()}; make room, "
            "fetch fewer models, or set HF_HOME to a larger disk"
        )
    if need:
        console.print(f"{decimal(need)} to fetch into {hub.find_cache()}, {decimal(free)} free there")


def _download(download: Download, console: Console) -> bool:
    """Completes the files of a repository. Raises HubFailed if the hub breaks off."""
    missing, began = download.missing_bytes(), time.monotonic()
    try:
        _download_files(download, missing, console)
    except HubFailed as error:
        got = f"{decimal(download.size - download.missing_bytes())} of {decimal(download.size)}"
        raise HubFailed(f"{error}; {got} are in the cache; run the same command again to continue") from error
    if download.is_main:
        hub.set_main_commit(download.repository)
        weights.require_complete(download.repository.hub_id)
    if missing:
        console.print(f"{download.name}: whole, {decimal(missing)} in {time.monotonic() - began:.0f} s")
    return True


def _download_files(download: Download, missing: int, console: Console) -> None:
    """Fetches the missing files, several at once, the largest first."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    stopped = threading.Event()
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(download.name, total=download.size, completed=download.size - missing)

        def advance(count: int) -> None:
            if stopped.is_set():
                raise Stopped
            bar.advance(task, count)

        with ThreadPoolExecutor(WORKERS) as pool:
            files = sorted(download.files, key=lambda file: -file.size)
            doing = {pool.submit(hub.download, download.repository, file, advance): file for file in files}
            try:
                for done in as_completed(doing):
                    done.result()
                    if missing and not console.is_terminal:
                        console.print(f"  {doing[done].name}  {decimal(doing[done].size)}")
            except BaseException as error:
                if not isinstance(error, HubFailed):  # after which the files under way may still complete
                    stopped.set()
                pool.shutdown(cancel_futures=True)
                raise


if __name__ == "__main__":
    sys.exit(end_quietly(lambda: main(sys.argv[1:])))
