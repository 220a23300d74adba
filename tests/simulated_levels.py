"""SLO searches on servers whose share of misses at each level is given: hundreds in a second, to state their errors.

Misses come in groups of a given size, one after the other, as requests that share an engine's steps miss together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vbench.workload.grouping import find_grouping
from vbench.workload.levels import Probe
from vbench.workload.search import MOST_JUDGED, Answer, answer, next_question

REPORT = 20  # requests that end between two reports
AROUND = 3  # requests of a closed loop that are sent but not judged, for each place


class Simulated(NamedTuple):
    answer: Answer
    probes: list[Probe]
    sent: int  # requests, judged or not


def power_law(capacity: float, slope: float) -> Callable[[float], float]:
    """The share of misses by level: 1 % at the capacity, most of them far above it."""
    return lambda level: min(0.01 * (level / capacity) ** slope, 0.9)


def search_levels(misses: Callable[[float], float], group: int, rng: np.random.Generator) -> Simulated:
    """A search for requests at once; `misses(level)` is the share of misses."""
    probes: list[Probe] = []
    sent = 0
    while question := next_question(probes, whole=True):
        missed = np.repeat(rng.random(-(-MOST_JUDGED // group)) < misses(question.level), group)
        missed = np.roll(missed, rng.integers(group))[:MOST_JUDGED]
        met = (~missed).cumsum()
        for judged in [*range(REPORT, MOST_JUDGED, REPORT), MOST_JUDGED]:
            verdict = question.verdict(int(met[judged - 1]), judged)
            if verdict is False or (verdict and judged >= question.level):
                break
        grouping = find_grouping(missed[:judged].tolist())
        probes.append(Probe(question.level, int(met[judged - 1]), judged, grouping=grouping))
        sent += judged + AROUND * int(question.level)
    return Simulated(answer(probes, whole=True), probes, sent)
