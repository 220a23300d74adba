"""Which system to measure next: the one that leaves the fewest GPU seconds until the winner is certain. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System, rank

# Three of four points lie within their predicted range (docs/predicting.md): its ends stand for the quarters beyond.
CHANCES = (0.25, 0.5, 0.25)
AHEAD = 2  # further sessions of which each answer is thought through; those behind are all expected to be needed


def choose_next(systems: Sequence[System]) -> System | None:
    """The system whose measurement should settle most for its GPU seconds; None if the winner is certain.

    The best one is measured in any case. Another one comes before it if what it may rule out is worth its session.
    """
    contenders = list_contenders(systems)
    return min(
        contenders,
        key=lambda each: (round(_expect_gpu_s(each, systems, AHEAD), 3), each.cost, each.least_cost, each.split),
        default=None,
    )


def list_contenders(systems: Sequence[System]) -> list[System]:
    """What has to be measured before the winner is certain: the best system, and those that can be cheaper.

    Those that were tried without a result are not measured again; if the best one is among them, all that can be
    cheaper than its highest cost contend.
    """
    best = next(iter(rank(systems)), None)
    if best is None:
        return []
    limit = best.cost if best.capacity.basis is Basis.measured else best.most_cost
    possible = [each for each in systems if each.is_open and math.isfinite(each.least_cost)]
    return [each for each in possible if each is best or each.least_cost < limit]


def _expect_gpu_s(chosen: System, systems: Sequence[System], ahead: int) -> float:
    """GPU seconds of this system's session, and of those that its answer leaves to be measured."""
    left = 0.0
    for value, chance in zip(_list_answers(chosen.capacity), CHANCES, strict=True):
        answered = replace(chosen, capacity=Estimate(value, value, value, Basis.measured, "supposed"))
        after = [answered if each is chosen else each for each in systems]
        contenders = list_contenders(after)
        if ahead:
            left += chance * min((_expect_gpu_s(each, after, ahead - 1) for each in contenders), default=0.0)
        else:
            left += chance * sum(each.gpu_s for each in contenders)
    return chosen.gpu_s + left


def _list_answers(capacity: Estimate) -> tuple[float, float, float]:
    """A low, a usual and a high answer of a measurement."""
    return capacity.low, capacity.value, capacity.high if math.isfinite(capacity.high) else capacity.value
