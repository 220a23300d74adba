"""Whether an option beats the defaults: measured again on fresh starts of both, one after the other, ABABAB.

The scores of the rounds decide only which option is confirmed. They do not enter the ratio: the best of many noisy
scores is too good by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from vbench.plan.tuning.halving import Round, plan_rounds, rank_above_defaults, screen
from vbench.plan.tuning.ratio import Ratio, compare
from vbench.plan.tuning.trial import DEFAULT, Outcome, Sampler, Trial, World

LEAST_STARTS = 3  # of each side, that have a score
STARTS = 5  # find +10 % under a noise of 3 % a start in 99 of 100 cases, four in 94, three in 72

EASIER = "a lower load or a looser SLO tells them apart"
SPARES = 2  # further starts of each, in place of those without a score


class Verdict(Enum):
    """What a tuning found."""

    winner = "winner"  # an option beats the defaults
    default = "default"  # no option does
    undecided = "undecided"  # it could not be measured


@dataclass(frozen=True)
class Confirmation:
    """The outcomes of an option and of the defaults on fresh starts, in the order in which they were measured."""

    option: int
    ours: list[Outcome] = field(default_factory=list)
    defaults: list[Outcome] = field(default_factory=list)

    @property
    def scores(self) -> tuple[list[float], list[float]]:
        """Those that exist, of the option and of the defaults."""
        ours, defaults = (
            [each.score for each in side if each.score is not None] for side in (self.ours, self.defaults)
        )
        return ours, defaults

    @property
    def complete(self) -> bool:
        """Whether both sides have enough scores for a verdict."""
        return min(map(len, self.scores)) >= LEAST_STARTS

    @property
    def ratio(self) -> Ratio | None:
        """None without enough scores, or where some are 0."""
        ours, defaults = self.scores
        return compare(ours, defaults) if self.complete and min(*ours, *defaults) > 0 else None

    @property
    def verdict(self) -> Verdict:
        """The option wins if the interval of the ratio is above 1, or if only the defaults never meet the SLO.

        Where neither side ever meets it, nothing was compared. Scores without any spread are their own interval.
        """
        ours, defaults = self.scores
        if not self.complete:
            return Verdict.undecided
        if self.ratio is None:
            if min(ours) > 0 and max(defaults) == 0:
                return Verdict.winner
            return Verdict.default if max(ours) == 0 < min(defaults) else Verdict.undecided
        low = self.ratio.value if math.isnan(self.ratio.low) else self.ratio.low
        return Verdict.winner if low > 1 else Verdict.default


@dataclass(frozen=True)
class Answer:
    """What a tuning found, and why where that is not a confirmation."""

    rounds: list[Round]
    confirmations: list[Confirmation] = field(default_factory=list)  # the last one decides; those before it failed
    why: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.confirmations:
            return self.confirmations[-1].verdict
        return Verdict.undecided if self.why else Verdict.default


def tune(options: int, sampler: Sampler, world: World, starts: int = STARTS) -> Answer:
    """Screens the options in rounds, and confirms the best one against the defaults on so many starts of each.

    `options` is how many the sampler chooses for the first round. An option that fails while it is confirmed gives
    way to the next best.
    """
    begin = len(plan_rounds(options))
    rounds = screen(options, sampler, world, _plan_confirmation(0, begin, LEAST_STARTS))
    if begin and not rounds:
        return Answer([], why="the budget has no room for the first round and a confirmation")
    candidates = rank_above_defaults(rounds) if rounds else sampler.ask()
    if rounds and not rounds[-1].measured:
        return Answer(rounds, why="no option could be measured")
    if rounds and not any(outcome.score for each in rounds for outcome in each.outcomes.values()):
        return Answer(rounds, why=f"no request met the SLO, of no option; {EASIER}")
    confirmations: list[Confirmation] = []
    for option in candidates:
        trials = _plan_confirmation(option, begin, starts + SPARES)
        if not world.affords(trials[: 2 * LEAST_STARTS]):
            return Answer(rounds, confirmations, "the budget has no room for a confirmation")
        confirmations.append(_confirm(trials, starts, world))
        if not _has_failed(confirmations[-1].ours):
            break
        begin += starts + SPARES
    return Answer(rounds, confirmations)


def _plan_confirmation(option: int, begin: int, starts: int) -> list[Trial]:
    """The option and the defaults in turn."""
    return [Trial(place, begin + start) for start in range(starts) for place in (option, DEFAULT)]


def _confirm(trials: Sequence[Trial], starts: int, world: World) -> Confirmation:
    """Measures one trial after the other, so that a drifting host changes both sides alike.

    It ends when both sides have so many scores, when the budget is spent, or when a side failed too often.
    """
    found = Confirmation(trials[0].option)
    for place, trial in enumerate(trials):
        begins_pair = place % 2 == 0
        if begins_pair and min(map(len, found.scores)) >= starts:
            break
        if begins_pair and place >= 2 * LEAST_STARTS and not world.affords(trials[place : place + 2]):
            break
        side = found.defaults if trial.option == DEFAULT else found.ours
        side.extend(world.measure([trial]))
        if _has_failed(side):
            break
    return found


def _has_failed(side: Sequence[Outcome]) -> bool:
    """Whether more of its starts have no score than there are spare ones."""
    return sum(each.score is None for each in side) > SPARES
