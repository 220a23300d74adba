"""How a grid of overrides becomes points: Hydra's way, but a key given twice is refused and ranges are decimal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, ValueType
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from vbench.compose.points import run_config
from vbench.schema.errors import Refused
from vbench.schema.secrets import redact

Plugins.instance()  # the first scan recreates Hydra's plugin classes, so they are imported only after it

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf  # noqa: E402


@dataclass
class Grid(BasicSweeperConf):
    """`hydra/sweeper=grid`."""

    _target_: str = "hydra_plugins.vbench.GridSweeper"


class GridSweeper(BasicSweeper):
    """Expands a grid of overrides into points."""

    only_shows = False  # --cfg job: prints what would be launched

    def sweep(self, arguments: list[str]) -> Any:
        """Launches all points. Hydra's own also writes `multirun.yaml`: before anything is checked, secrets included.

        Raises Refused if a key is given twice and one of the two is a list of values: Hydra keeps only the last.
        """
        assert self.hydra_context is not None
        assert self.launcher is not None
        given: dict[str, Override] = {}
        for each in OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(arguments):
            before = given.setdefault(each.key_or_group, each)
            if before is not each and (before.is_sweep_override() or each.is_sweep_override()):
                key = each.key_or_group
                raise Refused(f"{key}: given twice, as {before.input_line} and as {each.input_line}; give it once")
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        if GridSweeper.only_shows:
            return self._show(batches[0])
        return [self.launcher.launch(batch, 0) for batch in batches]

    def _show(self, points: list[list[str]]) -> list[Any]:
        """Prints the first point as YAML. Raises Refused if a key must be given and is not."""
        assert self.hydra_context is not None
        assert self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, points[0])
        if len(points) > 1:
            print(f"# the first of {len(points)} points: {' '.join(points[0])}")  # noqa: T201
        ours = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
        print(redact(OmegaConf.to_yaml(ours)))  # noqa: T201
        run_config(composed)
        return []

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        points: list[list[list[str]]] = BasicSweeper.split_arguments(
            [*map(_convert_to_decimals, overrides)], max_batch_size
        )
        return points


def _convert_to_decimals(override: Override) -> Override:
    """A range of fractions as a person would list it; Hydra adds up binary fractions, to 0.30000000000000004."""
    sweep = override.value()
    if not isinstance(sweep, RangeSweep) or all(isinstance(end, int) for end in (sweep.start, sweep.stop, sweep.step)):
        return override
    value, stop, step = (Decimal(str(end)) for end in (sweep.start, sweep.stop, sweep.step))
    if not step:
        raise Refused(f"{override.input_line}: the step of a range must not be 0")
    values: list[Any] = []
    while (value < stop) if step > 0 else (value > stop):
        values.append(float(value))
        value += step
    choices = ChoiceSweep(list=values, shuffle=sweep.shuffle, tags=sweep.tags)
    return dataclasses.replace(override, value_type=ValueType.CHOICE_SWEEP, _value=choices)
