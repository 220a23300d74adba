"""The groups of conf/ and their choices, those that are made here included: every size of every GPU, and this host."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from vbench.compose import configfiles
from vbench.compose.containers import make_container
from vbench.compose.unknown import nearest
from vbench.host import gpus
from vbench.schema import Gpu, Model, RunConfig, from_plain
from vbench.schema.errors import Refused

SIZES = (1, 2, 4, 8)
NO_TEXT = re.compile(r"null|true|false|nan|[+-]?(inf|(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)", re.IGNORECASE)  # to Hydra
_beside, _inside = Path(__file__).parents[2] / "conf", Path(__file__).parents[1] / "conf"
CONF = _inside if _inside.is_dir() else _beside  # a wheel carries conf/ inside the package, a checkout beside it
LAUNCHERS = {
    "local": "Processes of this host, side by side as the GPUs allow.",
    "slurm": "Batch jobs.",
    "inline": "This process, one session after the other.",
    "plan": "Nothing runs: what it would take, cost and show, as a page with figures.",
}
MADE = {"auto": "What this host has.", "remote": "Of a server that already runs elsewhere (engine=openai)."}
PARTS = ("gpu", "slurm")  # folders of conf/ that other choices are made of; the latter is a site's own


def register() -> None:
    """Registers the schema with Hydra, and the hardware choices: every size of every GPU in conf/gpu/, auto, remote."""
    configfiles.replace_dicts()
    configfiles.refuse_times_read_as_numbers()
    store = ConfigStore.instance()
    store.store(name="schema", node=make_container(RunConfig))
    for gpu in gpu_names():
        for size in SIZES:
            parts = [{"/gpu@gpu": gpu}, {"optional /slurm@slurm": gpu}]  # the latter is the site's to write
            node = {"defaults": ["_self_", *parts], "gpus": size, "slurm": {"gres_type": gpu}}
            store.store(group="hardware", name=f"{size}x{gpu}", node=node)
    store.store(group="hardware", name="auto", node=_this_host())
    store.store(group="hardware", name="remote", node={"gpus": 0, "gpu": None})


@cache
def groups() -> dict[str, dict[str, str]]:
    """The choices of each group, each with one line that describes it, "" if there is none."""
    folders = sorted(path for path in CONF.iterdir() if path.is_dir() and path.name not in PARTS)
    found = {
        folder.name: {path.stem: _description(path) for path in sorted(folder.glob("*.yaml"))} for folder in folders
    }
    described = {gpu: _description(CONF / "gpu" / f"{gpu}.yaml") for gpu in gpu_names()}
    sizes = {f"{size}x{gpu}": text for gpu, text in described.items() for size in SIZES}
    found["hardware"] = {"auto": MADE["auto"], **found["hardware"], **sizes, "remote": MADE["remote"]}
    return {**found, "hydra/launcher": LAUNCHERS}


def check_choices(words: Sequence[str]) -> None:
    """Raises Refused for what Hydra answers with a traceback: a group that is to be null or a number, and no key."""
    for word in words:
        group, equals, choice = word.lstrip("+~").partition("=")
        if equals and not group:
            raise Refused(f"{word}: a key is missing in front of the =")
        odd = [each for each in map(str.strip, choice.split(",")) if NO_TEXT.fullmatch(each)]
        if odd and "." not in group and group in groups():
            raise Refused(f"{group}={odd[0]}: no such choice; {nearest(odd[0], list(groups()[group]))}")


@cache
def defaults() -> dict[str, str]:
    """The default choice of each group, from conf/config.yaml."""
    listed: Any = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))
    entries = [entry for entry in listed["defaults"] if isinstance(entry, dict)]
    return {str(group).removeprefix("override "): str(name) for entry in entries for group, name in entry.items()}


@cache
def known_models() -> tuple[Model, ...]:
    """The models of conf/model/."""
    facts = [_facts(path) for path in sorted((CONF / "model").glob("*.yaml"))]
    return tuple(from_plain(Model, each.get("model", each)) for each in facts)


@cache
def known_gpus() -> tuple[Gpu, ...]:
    """The GPUs of conf/gpu/."""
    return tuple(from_plain(Gpu, _facts(CONF / "gpu" / f"{name}.yaml")) for name in gpu_names())


def gpu_names() -> list[str]:
    return sorted(path.stem for path in (CONF / "gpu").glob("*.yaml"))


def _description(path: Path) -> str:
    """The first sentence of the comment that each file of conf/ begins with."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except configfiles.UNREADABLE as error:
        raise configfiles.explain_unreadable(str(path), error) from error
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    text = " ".join(line.lstrip("# ") for line in comment if not line.startswith("# @package"))
    return re.split(r"(?<=\.) ", text)[0]


def _facts(path: Path) -> dict[str, Any]:
    try:
        return dict(OmegaConf.to_container(OmegaConf.load(path)))  # type: ignore[arg-type]  # a mapping, as all of conf/
    except configfiles.UNREADABLE as error:
        raise configfiles.explain_unreadable(str(path), error) from error


def _this_host() -> dict[str, Any]:
    """The node of hardware=auto: the largest size of the GPUs here, or the CPU. A GPU need not be in conf/."""
    found = gpus.find_gpus()
    here = [gpu for gpu in found if not gpu.is_sliced] or found  # slices alone are refused as the session begins
    if not here:
        return {"defaults": ["cpu"]}
    first = here[0]
    alike = sum(gpu.product == first.product for gpu in here)
    size = max(size for size in SIZES if size <= alike)
    for gpu in known_gpus():
        if re.search(gpu.product, first.product):
            return {"defaults": [f"{size}x{gpu.name}"]}
    name = re.sub(r"\W+", "_", first.product.lower()).strip("_")
    unknown = {"name": name, "product": re.escape(first.product), "memory_mib": first.memory_mib}
    return {"gpus": size, "gpu": unknown}
