"""How a grid of overrides becomes points: Hydra's own way, less its trial composition of each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf


@dataclass
class Grid(BasicSweeperConf):
    """`hydra/sweeper=grid`."""

    _target_: str = "hydra_plugins.vbench.GridSweeper"


class GridSweeper(BasicSweeper):
    """Expands a grid of overrides into points."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Left to the launcher, which composes every point before it starts anything."""
