"""Single requests in groups, each of which shares the beginning of its prompts. Pure.

With an infinite cache, every request of a group but the first may hit the group's prefix, so the share of prompt tokens
that can hit follows from the load alone.
"""

from __future__ import annotations

import numpy as np

from vbench.schema import Order, Workload
from vbench.schema.record import Floats, Ints
from vbench.schema.structure import singles
from vbench.workload.draws import distribution
from vbench.workload.script import Script


def script(workload: Workload, rng: np.random.Generator, replies: Ints, times: Floats) -> Script:
    """The load; `replies` (n,) are tokens, `times` (n,) arrivals. Parts: the groups' prefixes, then the suffixes."""
    asked, n = workload.prefix, len(replies)
    prefixes = distribution(asked.prefix_len, "prefix.prefix_len", 1).counts(asked.groups, rng)
    suffixes = distribution(asked.suffix_len, "prefix.suffix_len", 1).counts(n, rng)
    groups = group_order(n, asked.groups, asked.order, rng)
    structure = singles([[group, asked.groups + index] for index, group in enumerate(groups.tolist())])
    return Script(structure, np.concatenate([prefixes, suffixes]), replies, times)


def group_order(n: int, groups: int, order: Order, rng: np.random.Generator) -> Ints:
    """The group of each of n requests, (n,); the groups' sizes differ by at most one."""
    dealt = np.arange(n) % groups
    if order is Order.round_robin:
        return dealt
    return np.sort(dealt) if order is Order.grouped else rng.permutation(dealt)
