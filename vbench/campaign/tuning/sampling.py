"""Which combinations of options are tried: all of a small grid; of a large one, those that Optuna's sampler chooses.

The sampler is seeded and is told the same scores in the same order, so the same command makes the same choices and
finds its records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

BATCH = 6  # options chosen before the next scores are told
TRIES = 20  # to find one that is new, before a random one is taken


class Grid:
    """All options at once."""

    def __init__(self, options: int) -> None:
        self._left = list(range(options))

    def ask(self) -> list[int]:
        asked, self._left = self._left, []
        return asked

    def tell(self, scores: Sequence[tuple[int, float | None]]) -> None:
        """Nothing is left to choose."""


class Tpe:
    """The options that a Tree-structured Parzen Estimator expects to score best, in batches.

    `points` are the places of each option's values, one for each key; `sizes` is how many values each key has.
    """

    def __init__(self, points: Sequence[tuple[int, ...]], sizes: Sequence[int], most: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        # Values are in the order given, as a rule ascending: neighbours are alike.
        self._keys: dict[str, optuna.distributions.BaseDistribution] = {
            str(key): optuna.distributions.IntDistribution(0, size - 1) for key, size in enumerate(sizes)
        }
        self._places = {point: place for place, point in enumerate(points)}
        self._rng, self._most = random.Random(0), most
        self._open: dict[int, optuna.trial.Trial] = {}
        self._chosen: set[int] = set()

    def ask(self) -> list[int]:
        wanted = min(BATCH, self._most - len(self._chosen), len(self._places) - len(self._chosen))
        return [self._choose() for _ in range(wanted)]

    def tell(self, scores: Sequence[tuple[int, float | None]]) -> None:
        for place, score in scores:
            if score is None:
                self._study.tell(self._open.pop(place), state=self._failed)
            else:
                self._study.tell(self._open.pop(place), score)

    def _choose(self) -> int:
        """An option that was not chosen before; Optuna may propose one twice, or one that cannot be run."""
        for _ in range(TRIES):
            trial = self._study.ask(self._keys)
            place = self._places.get(tuple(trial.params[key] for key in self._keys))
            if place is not None and place not in self._chosen:
                break
            self._study.tell(trial, state=self._failed)
        else:
            place = self._rng.choice(sorted(set(self._places.values()) - self._chosen))
            point = next(point for point, each in self._places.items() if each == place)
            self._study.enqueue_trial(dict(zip(self._keys, point, strict=True)))
            trial = self._study.ask(self._keys)
        self._chosen.add(place)
        self._open[place] = trial
        return place


def make_sampler(points: Sequence[tuple[int, ...]], sizes: Sequence[int], most: int) -> Grid | Tpe:
    """Of these options, at most so many."""
    return Grid(len(points)) if len(points) <= most else Tpe(points, sizes, most)
