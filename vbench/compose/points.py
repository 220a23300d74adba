"""From the points of a grid to RunConfigs: the only place that turns OmegaConf's containers into our dataclasses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vbench.compose import configfiles
from vbench.compose.messages import explain
from vbench.schema import RunConfig, from_plain
from vbench.schema.errors import Refused


def grid(loader: ConfigLoader, master: DictConfig, points: Iterable[Sequence[str]]) -> Iterator[RunConfig]:
    """The config of each point, a list of overrides, in order. Raises what Hydra raises, or Refused.

    Hydra composes once for each choice of groups; for points that differ in values only, the values are set on what was
    composed, in a tenth of the time. This is sound because all points of a sweep set the same keys.
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


def run_config(composed: DictConfig) -> RunConfig:
    """The composed config as dataclasses, without hydra's own part. Raises Refused, naming the key."""
    try:
        # Part by part: hydra's own, two thirds of the whole and full of interpolations, is never resolved.
        facts = {str(key): _plain(composed[key]) for key in composed if key != "hydra"}
        run: RunConfig = from_plain(RunConfig, facts)
    except OmegaConfBaseException as error:
        raise Refused(explain(error)) from error
    except KeyError as error:
        raise Refused(str(error.args[0])) from error
    return run


def _sets_a_value(override: Override, loader: ConfigLoader) -> bool:
    """Whether the override only replaces a value: it makes no choice, adds no key and has no dict."""
    is_value = override.type is OverrideType.CHANGE and not isinstance(override.value(), dict)
    return is_value and not loader.get_group_options(override.key_or_group)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
