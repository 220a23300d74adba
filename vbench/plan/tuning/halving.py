"""Successive halving: all options under a short load, the best third of them under a longer one, and so on.

Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (2016), with a rate
of 3. Each round starts every server anew and draws new prompts; in a round all options get the same prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from vbench.plan.tuning.trial import DEFAULT, Outcome, Sampler, Trial, World

RATE = 3  # one of so many options goes on, under a load so many times as long
LEAST_SHARE = 1 / 3  # of the load: a start takes about as long as a load, so shorter ones save little and tell less


@dataclass
class Round:
    """The options of one round and what was measured."""

    share: float  # of the load's length
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by option; DEFAULT's among them

    @property
    def measured(self) -> list[int]:
        """The options that have a score."""
        return [place for place, each in self.outcomes.items() if place != DEFAULT and each.score is not None]


def rank(rounds: Sequence[Round]) -> list[int]:
    """Options with a score in the last round, the best first, by the scores of all rounds.

    All of them took part in every round. A round weighs as much as its load is long.
    """
    pooled = {place: _pool(place, rounds) or 0.0 for place in rounds[-1].measured}
    return sorted(pooled, key=lambda place: -pooled[place])


def rank_above_defaults(rounds: Sequence[Round]) -> list[int]:
    """Those that scored more than the defaults; all if the defaults have no score in a round."""
    bar = _pool(DEFAULT, rounds)
    return [place for place in rank(rounds) if bar is None or (_pool(place, rounds) or 0.0) > bar]


def _pool(option: int, rounds: Sequence[Round]) -> float | None:
    """The weighted mean of its scores; None if it has none in a round."""
    scores = [(each.share, each.outcomes.get(option, Outcome(None)).score) for each in rounds]
    total = 0.0
    for share, score in scores:
        if score is None:
            return None
        total += share * score
    return total / sum(share for share, _ in scores)


def plan_rounds(options: int) -> list[tuple[int, float]]:
    """How many options each round has, and its share of the load; the last has RATE at most, under the whole load.

    No rounds for a single option: nothing has to be chosen.
    """
    sizes = [options] if options > 1 else []
    while sizes and sizes[-1] > RATE:
        sizes.append(math.ceil(sizes[-1] / RATE))
    return [(size, max(RATE ** (place + 1 - len(sizes)), LEAST_SHARE)) for place, size in enumerate(sizes)]


def screen(options: int, sampler: Sampler, world: World, reserve: Sequence[Trial]) -> list[Round]:
    """The rounds that were measured; fewer than planned if the budget leaves no room beside `reserve`."""
    rounds: list[Round] = []
    for place, (size, share) in enumerate(plan_rounds(options)):
        if not rounds:
            rounds.append(_measure_first(sampler, world, share, reserve))
            continue
        kept = rank(rounds)[:size]
        trials = [Trial(option, place, share) for option in (DEFAULT, *kept)]
        if len(kept) < 2 or not world.affords([*trials, *reserve]):
            break
        rounds.append(_measure(trials, world))
    return [each for each in rounds if each.outcomes]


def _measure_first(sampler: Sampler, world: World, share: float, reserve: Sequence[Trial]) -> Round:
    found = Round(share)
    while asked := sampler.ask():
        options = [*([] if found.outcomes else [DEFAULT]), *asked]
        trials = [Trial(option, 0, share) for option in options]
        if not world.affords([*trials, *reserve]):
            break
        found.outcomes |= _measure(trials, world).outcomes
        sampler.tell([(place, found.outcomes[place].score) for place in asked])
    return found


def _measure(trials: Sequence[Trial], world: World) -> Round:
    outcomes = world.measure(trials)
    return Round(trials[0].share, {trial.option: each for trial, each in zip(trials, outcomes, strict=True)})
