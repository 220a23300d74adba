"""How much the misses of a probe come in groups: the design effect of its requests. Pure.

Over batches of BATCH requests in the order in which they were sent, misses that are independent make as many pairs
within a batch as chance does. Those in excess tell how large the groups are: if misses always come g at a time, the
variance of their count is g times that of independent ones, and each has g - 1 others of its group beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

DESIGN_EFFECT = 2.0  # at least: any of several levels may pass by chance
BATCH = 25  # requests: longer than most groups, and short enough for several batches in a probe
ASSUMED, GROUP = 30.0, 3.0  # before any miss: so many are taken as seen, in groups that large
MOST = 10.0  # a larger effect is not believed


class Grouping(NamedTuple):
    """What the misses of a probe tell about groups."""

    misses: float = 0.0  # that could have been in different batches
    excess: float = 0.0  # of pairs (each counted twice) in the same batch, over those that chance makes


NOTHING = Grouping()


def find_grouping(misses: Iterable[bool]) -> Grouping:
    """Of judged requests in the order of their sending; nothing if they fill less than two batches."""
    column = list(misses)
    counts = [sum(column[start : start + BATCH]) for start in range(0, len(column) - BATCH + 1, BATCH)]
    if len(counts) < 2:
        return NOTHING
    total = sum(counts)
    pairs = sum(count * (count - 1) for count in counts)
    return Grouping(total * (1 - 1 / len(counts)), pairs - total * (total - 1) / len(counts))


def estimate_effect(found: Iterable[Grouping]) -> float:
    """The design effect by these probes together, DESIGN_EFFECT to MOST."""
    told = [Grouping(ASSUMED, ASSUMED * (GROUP - 1)), *found]
    effect = 1 + sum(each.excess for each in told) / sum(each.misses for each in told)
    return min(max(effect, DESIGN_EFFECT), MOST)
