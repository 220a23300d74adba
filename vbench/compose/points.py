"""From the points of a grid to RunConfigs: the only place that turns OmegaConf's containers into our dataclasses."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vbench.compose import configfiles
from vbench.compose.messages import explain
from vbench.compose.unknown import explain_unknown_key
from vbench.schema import RunConfig, from_plain
from vbench.schema.errors import Refused
from vbench.schema.serialisation import NO_SUCH_KEY


def grid(loader: ConfigLoader, master: DictConfig, points: Iterable[Sequence[str]]) -> Iterator[RunConfig]:
    """The config of each point, a list of overrides, in order. Raises what Hydra raises, or Refused.

    Hydra composes once for each choice of groups; for points that differ in values only, the values are set on what was
    composed, in a tenth of the time. This is sound because all points of a sweep set the same keys.
    """
    parser = OverridesParser.create(loader)
    parsed: dict[str, Override] = {}
    plain_values: dict[str, bool] = {}
    composed: dict[tuple[str, ...], DictConfig] = {}
    plain: dict[tuple[str, ...], dict[str, Any]] = {}  # the parts of what was composed, as plain data
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
                changed = {each.key_or_group.partition(".")[0] for each in values}
            else:
                composed[choice] = loader.load_sweep_config(master, list(point))
                plain[choice], changed = {}, set()
            yield _run_config(composed[choice], _keep_unchanged(plain[choice], changed))


def run_config(composed: DictConfig) -> RunConfig:
    """The composed config as dataclasses, without hydra's own part. Raises Refused, naming the key."""
    return _run_config(composed, {})


def _run_config(composed: DictConfig, plain: dict[str, Any]) -> RunConfig:
    """`plain` holds parts that are known as plain data, and gets the others that refer to nothing else."""
    try:
        # Part by part: hydra's own, two thirds of the whole and full of interpolations, is never resolved.
        facts = {}
        for key in map(str, composed):
            if key == "hydra":
                continue
            if key not in plain and (raw := _unresolved(composed, key)) is not None:
                plain[key] = raw
            facts[key] = plain[key] if key in plain else _plain(composed[key])
        run: RunConfig = from_plain(RunConfig, facts)
    except OmegaConfBaseException as error:
        raise Refused(explain(error)) from error
    except KeyError as error:
        key, _, why = str(error.args[0]).partition(": ")
        raise Refused(explain_unknown_key(key) if why == NO_SUCH_KEY else error.args[0]) from error
    return run


def _keep_unchanged(plain: dict[str, Any], changed: Collection[str]) -> dict[str, Any]:
    for key in changed:
        plain.pop(key, None)
    return plain


def _unresolved(composed: DictConfig, key: str) -> Any:
    """A part of the config as plain data; None if it has interpolations, so that it may change with another part."""
    node = composed._get_node(key)  # noqa: SLF001  composed[key] resolves it
    if not OmegaConf.is_config(node):
        return None if "${" in str(node._value()) else composed[key]  # type: ignore[union-attr]  # noqa: SLF001
    raw = OmegaConf.to_container(node, resolve=False)
    return None if "${" in str(raw) else raw


def _sets_a_value(override: Override, loader: ConfigLoader) -> bool:
    """Whether the override only replaces a value: it makes no choice, adds no key and has no dict."""
    is_value = override.type is OverrideType.CHANGE and not isinstance(override.value(), dict)
    return is_value and not loader.get_group_options(override.key_or_group)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
