"""Which system to measure next: the one that leaves the fewest GPU seconds until the winner is settled. Pure.

It is settled when no other system is likely to be cheaper: what counts are likely ranges, narrower than those that a
table shows. To rule out all that lies within the wider ones would take more than half as many GPU seconds again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from vbench.plan.forecast.estimate import Basis, Estimate
from vbench.plan.sizing.systems import System, rank

# Three of four capacities lie within their likely range (docs/sizing.md): its ends stand for what lies beyond.
CHANCES = (0.25, 0.5, 0.25)
AHEAD = 2  # further sessions of which each answer is thought through; those behind are all expected to be needed


def choose_next(systems: Sequence[System]) -> System | None:
    """The system whose measurement should settle most for its GPU seconds; None if the winner is settled.

    The best one is measured in any case. Another one comes before it if what it may rule out is worth its session.
    """
    contenders = list_contenders(systems)
    return min(
        contenders,
        key=lambda each: (round(_expect_gpu_s(each, systems, AHEAD), 3), each.cost, each.likely_least_cost, each.split),
        default=None,
    )


def list_contenders(systems: Sequence[System]) -> list[System]:
    """What has to be measured before the winner is settled: the best system, and those that are likely to be cheaper.

    Those that were tried without a result are not measured again; if the best one is among them, all that are likely
    to be cheaper than its highest likely cost contend.
    """
    best = next(iter(rank(systems)), None)
    if best is None:
        return []
    limit = best.cost if best.capacity.basis is Basis.measured else best.likely_most_cost
    possible = [each for each in systems if each.is_open and math.isfinite(each.likely_least_cost)]
    return [each for each in possible if each is best or each.likely_least_cost < limit]


def _expect_gpu_s(chosen: System, systems: Sequence[System], ahead: int) -> float:
    """GPU seconds of this system's session, and of those that its answer leaves to be measured."""
    left = 0.0
    for value, chance in zip(_list_answers(chosen.outlook), CHANCES, strict=True):
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
