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
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from vbench.compose import configfiles
from vbench.host import gpus
from vbench.schema import Gpu, Model, RunConfig, from_plain
from vbench.schema.errors import Refused

SIZES = (1, 2, 4, 8)
_beside, _inside = Path(__file__).parents[2] / "conf", Path(__file__).parents[1] / "conf"
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
    parser = OverridesParser.create(loader)
    parsed: dict[str, Override] = {}
    plain_values: dict[str, bool] = {}
    composed: dict[tuple[str, ...], DictConfig] = {}
    with configfiles.read_once(loader):
        for point in points:
            for word in point:
                if word not in parsed:
                    (parsed[word],) = parser.parse_overrides([word])
                    plain_values[word] = _sets_a_value(parsed[word], loader)
            values = [parsed[word] for word in point if plain_values[word]]
            choice = tuple(parsed[word].key_or_group if plain_values[word] else word for word in point)
            if choice in composed:
                for each in values:
                    OmegaConf.update(composed[choice], each.key_or_group, each.value())
            else:
                composed[choice] = loader.load_sweep_config(master, list(point))
            yield run_config(composed[choice])


def _sets_a_value(override: Override, loader: ConfigLoader) -> bool:
    """Whether all that it does is to replace a value: it neither chooses nor adds, and no dict is merged."""
    is_value = override.type is OverrideType.CHANGE and not isinstance(override.value(), dict)
    return is_value and not loader.get_group_options(override.key_or_group)


def run_config(composed: DictConfig) -> RunConfig:
    """The composed config as dataclasses, hydra's own part left out. Raises Refused, naming the key."""
    try:
        # Part by part: hydra's own, two thirds of the whole and full of interpolations, is never resolved.
        facts = {str(key): _plain(composed[key]) for key in composed if key != "hydra"}
        run: RunConfig = from_plain(RunConfig, facts)
    except OmegaConfBaseException as error:
        raise Refused(sentence(error)) from error
    except KeyError as error:
        raise Refused(str(error.args[0])) from error
    return run


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def known_models() -> tuple[Model, ...]:
    """The models of conf/model/."""
    facts = [_facts(path) for path in sorted((CONF / "model").glob("*.yaml"))]
    return tuple(from_plain(Model, each.get("model", each)) for each in facts)


def known_gpus() -> tuple[Gpu, ...]:
    """The GPUs of conf/gpu/."""
    return tuple(from_plain(Gpu, _facts(CONF / "gpu" / f"{name}.yaml")) for name in _gpu_names())


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


def _facts(path: Path) -> dict[str, Any]:
    return dict(OmegaConf.to_container(OmegaConf.load(path)))  # type: ignore[arg-type]  # a mapping, as all of conf/


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
