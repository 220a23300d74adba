"""Systems that bear a load: replicas of a split model, and what they cost. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vbench.plan.forecast.estimate import Basis, Estimate


@dataclass(frozen=True)
class System:
    """Replicas of one kind, as many as a load needs. `capacity` is of one replica, in requests/s."""

    gpu: str
    split: int  # GPUs of one replica: its tensor-parallel size
    capacity: Estimate
    rate: float  # requests/s of the load
    price: float | None  # $ an hour of one GPU
    session_s: float = 600.0  # that it takes to measure it: start and search
    tried: bool = False  # without a result
    likely: Estimate | None = None  # its predicted capacity in a range that is seldom left, in place of hardly ever

    @property
    def is_open(self) -> bool:
        """Whether it may be measured."""
        return self.capacity.basis is not Basis.measured and not self.tried

    @property
    def outlook(self) -> Estimate:
        """What to reckon with in choosing what to measure: the likely range of what is predicted."""
        return self.likely if self.likely and self.capacity.basis is Basis.predicted else self.capacity

    @property
    def gpu_s(self) -> float:
        """GPU seconds that it takes to measure one replica."""
        return self.split * self.session_s

    @property
    def replicas(self) -> int | None:
        """None if one replica bears no load within the SLO."""
        return _count(self.rate, self.capacity.value)

    @property
    def gpus(self) -> int | None:
        return None if self.replicas is None else self.replicas * self.split

    @property
    def cost(self) -> float:
        """$ an hour; GPUs, if it has no price; infinite if it does not bear the load."""
        return self._cost(self.replicas)

    @property
    def least_cost(self) -> float:
        """If its capacity is as high as it may be."""
        return self._cost(_count(self.rate, self.capacity.high))

    @property
    def most_cost(self) -> float:
        """If its capacity is as low as it may be."""
        return self._cost(_count(self.rate, self.capacity.low))

    @property
    def likely_least_cost(self) -> float:
        """If its capacity is as high as it likely is."""
        return self._cost(_count(self.rate, self.outlook.high))

    @property
    def likely_most_cost(self) -> float:
        return self._cost(_count(self.rate, self.outlook.low))

    @property
    def headroom(self) -> float:
        """How much more than the load it bears, as a share of the load."""
        return (self.replicas or 0) * self.capacity.value / self.rate - 1

    @property
    def share_after_loss(self) -> float:
        """The share of the load that it bears without one replica; 1 at most."""
        return min(((self.replicas or 1) - 1) * self.capacity.value / self.rate, 1.0)

    @property
    def spare_cost(self) -> float:
        """With one replica more, so that it bears the load without one: its cost."""
        return math.inf if self.replicas is None else self._cost(self.replicas + 1)

    def dollars_per_million(self, tokens: float) -> float | None:
        """$ a million tokens, of which a request has so many, at the load's rate; all costs are put on them."""
        if self.price is None or math.isinf(self.cost):
            return None
        return self.cost / (self.rate * tokens * 3600) * 1e6

    def _cost(self, replicas: int | None) -> float:
        if replicas is None:
            return math.inf
        return replicas * self.split * (1.0 if self.price is None else self.price)


def rank(systems: Sequence[System]) -> list[System]:
    """The cheapest first; of equal ones, what bears more after a loss, then fewer GPUs, then more headroom."""
    return sorted(
        systems,
        key=lambda each: (each.cost, -each.share_after_loss, each.gpus or math.inf, -each.headroom),
    )


def _count(rate: float, capacity: float) -> int | None:
    return math.ceil(rate / capacity - 1e-9) if capacity > 0 else None
