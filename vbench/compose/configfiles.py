"""Where Hydra's own composition is changed.

Each config file is read once, `key={…}` replaces what was there, and a time that YAML reads as a number is refused.
"""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, OverrideType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, ListConfig, OmegaConf

from vbench.compose.containers import make_container
from vbench.engine import published
from vbench.schema import to_plain
from vbench.schema.errors import Refused

NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
UNREADABLE = (yaml.YAMLError, UnicodeDecodeError, OSError)  # OmegaConf's error for a file without keys is an OSError
SEXAGESIMAL = re.compile(r"\d:[0-5]?\d")

_load_config = ConfigRepository.load_config
_merge_overrides = ConfigLoaderImpl._apply_overrides_to_config  # noqa: SLF001


class _Remembering(ConfigRepository):
    """Gives a fresh copy of what it has read: Hydra writes into what it is given, and values would leak between points.

    A copy is unpickled, which takes a tenth of the time that reading and parsing take.
    """

    def __init__(self, repository: ConfigRepository, read: dict[str, bytes] | None = None) -> None:
        self.sources = repository.sources
        self._read = {} if read is None else read

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._read:
            self._read[config_path] = pickle.dumps(super().load_config(config_path))
        read: ConfigResult | None = pickle.loads(self._read[config_path])  # noqa: S301  pickled two lines above
        return read

    def __deepcopy__(self, _: dict[int, Any]) -> _Remembering:
        """Each composition works on a copy, which may be given other sources (hydra.searchpath): it then reads anew."""
        return _Remembering(self, self._read)

    def initialize_sources(self, config_search_path: Any) -> None:
        super().initialize_sources(config_search_path)
        self._read = {}


@contextmanager
def read_once(loader: ConfigLoader) -> Iterator[None]:
    """Within the block the loader reads each file once."""
    assert isinstance(loader, ConfigLoaderImpl)
    before = loader.repository
    loader.repository = _Remembering(before)
    try:
        yield
    finally:
        loader.repository = before


def replace_dicts() -> None:
    """From now on `workload.slo={ttft_ms: 500}` sets no other objective; Hydra would keep those that were set before.

    `+key={…}` still adds to a dict.
    """
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(_apply_overrides)  # type: ignore  # noqa: SLF001,PGH003


def refuse_times_read_as_numbers() -> None:
    """From now on a config file that holds `1:30:00` or `16:00` without quotes is refused, by its line.

    YAML 1.1 reads them to the base of 60, as 5400 and 960, if they begin with 1 to 9; to sbatch these are minutes.
    """
    ConfigRepository.load_config = _load_checked  # type: ignore[assignment,method-assign]


def _load_checked(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
    group, _, choice = config_path.removesuffix(".yaml").partition("/")
    if group == "model" and published.is_published(choice):
        facts = OmegaConf.create(to_plain(published.read_model(choice)))
        return ConfigResult(provider="vbench", path=f"vbench://{config_path}", config=facts, header={"package": None})
    try:
        found = _load_config(repository, config_path)
    except UNREADABLE as error:
        raise explain_unreadable(config_path, error) from error
    if found is not None and found.path.startswith("file://"):
        name = config_path if config_path.endswith((".yaml", ".yml")) else f"{config_path}.yaml"
        file = Path(found.path.removeprefix("file://")) / name
        if file.is_file():
            _check_times(file)
    return found


def explain_unreadable(file: str, error: Exception) -> Refused:
    """Why a config file cannot be read, one of UNREADABLE, in one line that names its place."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    place = f"{mark.name}, line {mark.line + 1}" if mark else getattr(error, "filename", None) or file
    why = getattr(error, "problem", None) or getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return Refused(f"{place}: cannot be read as YAML: {why}; correct the file")


def _check_times(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    if not SEXAGESIMAL.search(text):  # parsing again takes longer than all else
        return
    for key, value in _scalars(yaml.compose(text)):
        if value.tag in NUMBERS and ":" in value.value:
            raise Refused(
                f"{file}, line {value.start_mark.line + 1}: {key}: {value.value} is a number to YAML, "
                f"{yaml.safe_load(value.value):g}; write '{value.value}' in quotes"
            )


def _scalars(node: yaml.Node | None, key: str = "") -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Each scalar value below the node, with the key that holds it."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(value, str(name.value))
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _scalars(value, key)
    elif isinstance(node, yaml.ScalarNode):
        yield key, node


def _apply_overrides(overrides: list[Override], config: DictConfig) -> None:
    for override in overrides:
        key = override.key_or_group
        _refuse_below_value(config, key)
        if override.type is OverrideType.CHANGE and isinstance(override.value(), dict) and not key.startswith("hydra."):
            _clear(config, key, override.value())
        _merge_overrides([override], config)


def _refuse_below_value(config: DictConfig, key: str) -> None:
    """Raises Refused for a key of a part that is null, or of a plain value: OmegaConf ends with an assertion there."""
    node: Any = config
    path = key.split(".")
    for depth, name in enumerate(path[:-1], 1):
        if not isinstance(node, DictConfig) or name not in node:
            return  # an unknown key, which is left to Hydra
        node = node._get_node(name)  # noqa: SLF001  node[name] resolves it
        is_place = isinstance(node, ListConfig) and path[depth].isdigit()
        if node._is_none() or not (isinstance(node, DictConfig) or is_place):  # noqa: SLF001
            raise Refused(_explain_value(".".join(path[:depth]), key, isinstance(node, DictConfig)))


def _explain_value(part: str, key: str, may_hold_keys: bool) -> str:
    if part == "hardware.gpu":
        return f"{key}: there is no GPU to describe; choose one too, as hardware=1xh100"
    if may_hold_keys:
        return f"{key}: {part} is null; set it whole, as '{part}={{{key.removeprefix(part + '.')}: …}}'"
    return f"{key}: {part} is a value and holds no keys; set it as {part}=…"


def _clear(config: DictConfig, key: str, value: Any) -> None:
    """Sets a part of the schema to its defaults, and a dict to the value; an unknown key is left to Hydra to refuse."""
    path, _, name = key.rpartition(".")
    parent = OmegaConf.select(config, path) if path else config
    node = parent._get_node(name) if isinstance(parent, DictConfig) else None  # noqa: SLF001  parent[name] hides a null
    if isinstance(node, DictConfig):
        part = node._metadata.ref_type  # noqa: SLF001
        cleared = make_container(part) if dataclasses.is_dataclass(part) and isinstance(part, type) else value
        OmegaConf.update(config, key, cleared, merge=False)
