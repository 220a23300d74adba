"""Which option a tuning chooses, and what it says of it, in simulated worlds."""

import math
import random

import pandas as pd
import pytest
from simulated_tuning import SimulatedWorld

from vbench.analysis.ratios import log_means, match_points, mean_ratio
from vbench.campaign.tuning.sampling import Grid
from vbench.plan.tuning.decision import SPARES, STARTS, Verdict, tune
from vbench.plan.tuning.halving import plan_rounds
from vbench.plan.tuning.ratio import compare
from vbench.plan.tuning.trial import DEFAULT, Outcome, Trial

SEEDS = 200


def answer(truth, seed=0, starts=STARTS, **facts):
    world = SimulatedWorld(truth, random.Random(seed), **facts)
    return tune(len(truth), Grid(len(truth)), world, starts), world


def test_rounds_thin_out_by_three_and_end_with_three_under_the_whole_load():
    assert plan_rounds(1) == []
    assert plan_rounds(3) == [(3, 1)]
    assert plan_rounds(4) == [(4, pytest.approx(1 / 3)), (2, 1)]
    assert plan_rounds(27) == [(27, pytest.approx(1 / 3)), (9, pytest.approx(1 / 3)), (3, 1)]


def test_the_better_option_wins_and_its_ratio_holds_the_truth():
    found, world = answer([0.9, 1.3, 1.0, 0.8, 1.1])
    assert found.verdict is Verdict.winner
    ratio = found.confirmations[-1].ratio
    assert found.confirmations[-1].option == 1
    assert ratio.low < 1.3 < ratio.high
    assert [trial.share for trial in world.trials if trial.option == 0] == [pytest.approx(1 / 3)]


def test_a_winner_of_ten_percent_under_three_percent_of_noise_is_found():
    truth = [0.9, 0.95, 1.0, 1.1, 1.0, 0.97, 0.85, 1.02, 0.99]
    found = [answer(truth, seed)[0] for seed in range(SEEDS)]
    right = [each.verdict is Verdict.winner and each.confirmations[-1].option == 3 for each in found]
    assert sum(right) >= 0.9 * SEEDS


@pytest.mark.parametrize("options", [1, 9, 27])
def test_where_nothing_differs_no_option_beats_the_defaults(options):
    """The best of many noisy scores is too good by chance, so scores of the rounds must not enter the ratio."""
    found = [answer([1.0] * options, seed)[0] for seed in range(SEEDS)]
    assert sum(each.verdict is Verdict.winner for each in found) <= 0.05 * SEEDS
    assert all(each.verdict is not Verdict.undecided for each in found)


def test_scores_of_the_rounds_would_have_told_of_winners_that_are_none():
    """What the confirmation on fresh starts is for: the same data that chose an option flatters it."""
    wrong = 0
    for seed in range(SEEDS):
        world = SimulatedWorld([1.0] * 9, random.Random(seed))
        sides = [[math.exp(world.rng.gauss(0, 0.03)) for _ in range(STARTS)] for _ in range(10)]
        best = max(sides[1:], key=sum)
        wrong += compare(best, sides[0]).low > 1
    assert wrong > 0.05 * SEEDS


def test_the_confirmation_alternates_on_starts_that_no_round_had():
    _, world = answer([1.0, 1.3, 0.9, 0.8], starts=3)
    last = world.trials[-6:]
    assert [trial.option for trial in last] == [1, DEFAULT] * 3
    assert [trial.start for trial in last] == [2, 2, 3, 3, 4, 4]
    assert len(set(world.trials)) == len(world.trials)
    assert all(trial.share == 1 for trial in last)


def test_an_option_that_fails_is_left_out_and_the_others_go_on():
    found, world = answer([1.0, 1.5, 0.9, 1.3], fails=frozenset({1}))
    assert (found.verdict, found.confirmations[-1].option) == (Verdict.winner, 3)
    assert found.rounds[0].outcomes[1] == Outcome(None, "oom_load: out of memory")
    assert sum(trial.option == 1 for trial in world.trials) == 1


def test_an_option_that_fails_while_it_is_confirmed_gives_way_to_the_next_best():
    class Fragile(SimulatedWorld):
        def _measure(self, trial):
            return Outcome(None, "crashed") if trial.option == 0 and trial.start else super()._measure(trial)

    world = Fragile([1.5, 1.3, 0.9], random.Random(0))
    found = tune(3, Grid(3), world)
    assert [each.option for each in found.confirmations] == [0, 1]
    assert found.verdict is Verdict.winner
    assert len(set(world.trials)) == len(world.trials)


def test_a_start_without_a_score_is_replaced_by_another_one():
    class Disturbed(SimulatedWorld):
        def _measure(self, trial):
            return Outcome(None, "INVALID") if trial == Trial(0, 1) else super()._measure(trial)

    found = tune(1, Grid(1), Disturbed([1.3], random.Random(0)), starts=3)
    assert found.verdict is Verdict.winner
    assert [len(side) for side in found.confirmations[0].scores] == [3, 4]


def test_without_defaults_there_is_no_verdict():
    found, world = answer([1.2, 1.1], fails=frozenset({DEFAULT}))
    assert found.verdict is Verdict.undecided
    assert sum(trial.option == DEFAULT for trial in world.trials) == 1 + SPARES + 1


def test_defaults_that_never_meet_the_slo_lose_to_an_option_that_does():
    class Overloaded(SimulatedWorld):
        def _measure(self, trial):
            return Outcome(0.0) if trial.option == DEFAULT else super()._measure(trial)

    found = tune(2, Grid(2), Overloaded([1.0, 0.9], random.Random(0)))
    assert (found.verdict, found.confirmations[-1].ratio) == (Verdict.winner, None)


class Fixed(SimulatedWorld):
    """Every start of an option has the same score; the defaults have `base`."""

    base = 0.0

    def _measure(self, trial):
        return Outcome(self.base if trial.option == DEFAULT else self.truth[trial.option])


@pytest.mark.parametrize("options", [1, 2, 5])
def test_where_no_request_ever_meets_the_slo_nothing_was_compared(options):
    found = tune(options, Grid(options), Fixed([0.0] * options, random.Random(0)))
    assert found.verdict is Verdict.undecided


@pytest.mark.parametrize(("score", "verdict"), [(2.0, Verdict.winner), (1.0, Verdict.default), (0.5, Verdict.default)])
def test_scores_without_any_spread_are_compared_as_they_are(score, verdict):
    world = Fixed([score], random.Random(0))
    world.base = 1.0
    assert tune(1, Grid(1), world).verdict is verdict


def test_options_that_no_round_found_better_are_not_confirmed():
    found, world = answer([0.5, 0.6])
    assert (found.verdict, found.confirmations, len(world.trials)) == (Verdict.default, [], 3)


@pytest.mark.parametrize(("room", "trials", "verdict"), [
    (9, 0, Verdict.undecided),  # no first round of five beside a confirmation of three starts each
    (11, 5 + 6, Verdict.winner),  # no second round, and no fourth start
    (14, 8 + 6, Verdict.winner),
    (100, 8 + 10, Verdict.winner),
])  # fmt: skip
def test_a_confirmation_is_kept_in_reserve(room, trials, verdict):
    found, world = answer([1.0, 1.4, 0.9, 0.8], room=room)
    assert len(world.trials) == trials
    assert found.verdict is verdict


def test_the_interval_is_that_of_the_comparisons():
    """Two definitions of the same interval would drift apart: `vbench.analysis` tells it of tables."""
    rng = random.Random(3)
    sides = [[math.exp(rng.gauss(0, 0.1)) for _ in range(4)] for _ in range(2)]
    rows = pd.DataFrame(
        [
            {"side": name, "server": f"{name}{place}", "point": 1, "goodput": value}
            for name, side in zip("ab", sides, strict=True)
            for place, value in enumerate(side)
        ]
    )
    ours, base = (log_means(rows[rows["side"] == name], ["goodput"], ["point"]) for name in "ab")
    theirs, found = mean_ratio(match_points(ours, base, ["point"])), compare(*sides)
    assert (found.value, found.low, found.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_values_without_any_spread_have_no_interval():
    found = compare([2.0, 2.0, 2.0], [1.0, 1.0, 1.0])
    assert found.value == pytest.approx(2)
    assert math.isnan(found.low)
    assert str(found) == "2.000"
