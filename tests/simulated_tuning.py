"""A world for `vbench tune` without servers: options of a known goodput, measured with noise."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from vbench.plan.tuning.trial import DEFAULT, Outcome, Trial

START_S, LOAD_S = 180.0, 300.0  # of one trial: the start of a server with its rehearsal, and the whole load


@dataclass
class SimulatedWorld:
    """`truth` holds the goodput of each option; the defaults have 1.

    The noise is of a logarithm, half of its variance of the start and half of the run; that of the run grows as the
    load gets shorter. `fails` says which trials have no score, `room` how many trials the budget still has.
    """

    truth: Sequence[float]
    rng: random.Random
    noise: float = 0.03
    fails: frozenset[int] = frozenset()
    room: float = math.inf
    trials: list[Trial] = field(default_factory=list)
    spent_s: float = 0.0

    def measure(self, trials: Sequence[Trial]) -> list[Outcome]:
        self.trials += trials
        self.room -= len(trials)
        return [self._measure(trial) for trial in trials]

    def affords(self, trials: Sequence[Trial]) -> bool:
        return len(trials) <= self.room

    def _measure(self, trial: Trial) -> Outcome:
        self.spent_s += START_S + LOAD_S * trial.share
        if trial.option in self.fails:
            return Outcome(None, "oom_load: out of memory")
        value = 1.0 if trial.option == DEFAULT else self.truth[trial.option]
        sigma = self.noise * math.sqrt((1 + 1 / trial.share) / 2)
        return Outcome(value * math.exp(self.rng.gauss(0, sigma)))
