"""From conf/ and overrides to RunConfig: the only place that turns OmegaConf's containers into our dataclasses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench import gpus
from vbench.config import RunConfig, typed
from vbench.errors import Refused

SIZES = (1, 2, 4, 8)
_beside, _inside = Path(__file__).parents[1] / "conf", Path(__file__).parent / "conf"
CONF = _inside if _inside.is_dir() else _beside  # a wheel carries conf/ inside the package, a checkout beside it

COMPOSE_ERRORS = (HydraException, OmegaConfBaseException)


def register() -> None:
    """Tells Hydra of the schema, of every size of every GPU in conf/gpu/, and of what this host has (`auto`)."""
    store = ConfigStore.instance()
    store.store(name="schema", node=_schema())
    for gpu in _gpu_names():
        for size in SIZES:
            parts = [{"/gpu@gpu": gpu}, {"optional /slurm@slurm": gpu}]  # the latter is the site's to write
            node = {"defaults": ["_self_", *parts], "gpus": size, "slurm": {"gres_type": gpu}}
            store.store(group="hardware", name=f"{size}x{gpu}", node=node)
    store.store(group="hardware", name="auto", node=_this_host())
    store.store(group="hardware", name="remote", node={"gpus": 0, "gpu": None})  # of a server that already runs


def grid(loader: ConfigLoader, master: DictConfig, points: Iterable[Sequence[str]]) -> Iterator[RunConfig]:
    """Each point, a list of overrides, composed and typed, in order. Raises what Hydra raises, or Refused.

    Hydra composes once for each choice of groups; points that differ in values only have these set on what was composed
    (a tenth of the time). It is sound because every point of a sweep sets the same keys.
    """
    groups: dict[str, bool] = {}
    composed: dict[tuple[str, ...], DictConfig] = {}
    for point in points:
        overrides = OverridesParser.create(loader).parse_overrides(list(point))
        for each in overrides:
            if each.key_or_group not in groups:
                groups[each.key_or_group] = bool(loader.get_group_options(each.key_or_group))
        values = [each for each in overrides if each.type is OverrideType.CHANGE and not groups[each.key_or_group]]
        choice = tuple(each.key_or_group if each in values else str(each.input_line) for each in overrides)
        if choice in composed:
            for each in values:
                OmegaConf.update(composed[choice], each.key_or_group, each.value())
        else:
            composed[choice] = loader.load_sweep_config(master, list(point))
        yield run_config(composed[choice])


def run_config(composed: DictConfig) -> RunConfig:
    """The composed config as dataclasses, hydra's own part left out. Raises Refused, naming the key."""
    try:
        facts: Any = OmegaConf.to_container(composed, resolve=True)
        del facts["hydra"]
        run: RunConfig = typed(RunConfig, facts)
    except OmegaConfBaseException as error:
        raise Refused(sentence(error)) from error
    except KeyError as error:
        raise Refused(str(error.args[0])) from error
    return run


def sentence(error: BaseException) -> str:
    """One line for people, from what Hydra or OmegaConf raised: the key, what is wrong, what was meant."""
    text = str(error)
    if isinstance(error, MissingConfigException) and (named := re.search(r"Could not find '([\w/]+)/([^']*)'", text)):
        return f"{named[1]}={named[2]}: no such choice; {_nearest(named[2], error.options or [])}"
    if isinstance(error, ConfigCompositionException) and (named := re.search(r"Could not override '([^']*)'", text)):
        inner = str(getattr(error.__cause__, "full_key", None) or "")  # a key within a value: slo={foo: 1}
        return _unknown_key(inner if inner.startswith(f"{named[1]}.") else named[1])
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return sentence(error.__cause__)
    if isinstance(error, (ConfigKeyError, ConfigAttributeError)) and error.full_key:
        return _unknown_key(str(error.full_key))
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {(error.msg or text).splitlines()[0]}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _schema() -> DictConfig:
    node: DictConfig = OmegaConf.structured(RunConfig)
    _thaw(node)
    return node


def _thaw(node: DictConfig) -> None:
    """Frozen dataclasses make read-only containers; while a config is being composed it must still take values."""
    OmegaConf.set_readonly(node, None)
    for key in node:
        child = node._get_node(key)  # noqa: SLF001  node[key] does not show the container of a null
        if isinstance(child, DictConfig):
            OmegaConf.set_readonly(child, None)
            if OmegaConf.is_dict(node[key]):
                _thaw(child)


def _gpu_names() -> list[str]:
    return sorted(path.stem for path in (CONF / "gpu").glob("*.yaml"))


def _this_host() -> dict[str, Any]:
    here = gpus.present()
    if not here:
        return {"defaults": ["cpu"]}
    first = here[0]
    alike = sum(gpu.product == first.product for gpu in here)
    size = max(size for size in SIZES if size <= alike)
    for gpu in _gpu_names():
        if re.search(OmegaConf.load(CONF / "gpu" / f"{gpu}.yaml").product, first.product):
            return {"defaults": [f"{size}x{gpu}"]}
    name = re.sub(r"\W+", "_", first.product.lower()).strip("_")
    unknown = {"name": name, "product": re.escape(first.product), "memory_mib": first.memory_mib}
    return {"gpus": size, "gpu": unknown}


def _unknown_key(key: str) -> str:
    *path, _ = key.removeprefix("+").split(".")
    known = OmegaConf.select(_schema(), ".".join(path)) if path else _schema()
    if isinstance(known, DictConfig) and OmegaConf.get_type(known) is dict:
        return f"{key}: not set yet; +{key}=… adds it"
    names = [str(name) for name in known] if isinstance(known, DictConfig) else []
    return f"{key}: no such key; {_nearest(key, sorted('.'.join([*path, name]) for name in names))}"


def _nearest(word: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    listed = f"choose from {', '.join(choices)}" if choices else "see --help"
    return f"did you mean {near[0]}? ({listed})" if near else listed
