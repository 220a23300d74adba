"""Trials as sessions: each is an ordinary session with its records, so that nothing is measured twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from vbench.campaign import story
from vbench.campaign.jobs import backend
from vbench.campaign.planning.making import make_forecast
from vbench.campaign.planning.spending import count_spent_seconds
from vbench.campaign.results import look_up_store
from vbench.campaign.task import Task
from vbench.campaign.tasklist import make_tasks
from vbench.campaign.tuning.options import Option
from vbench.plan.tuning.objective import Objective
from vbench.plan.tuning.shortening import shorten
from vbench.plan.tuning.trial import DEFAULT, Outcome, Trial
from vbench.schema import RunConfig


class Sessions:
    """The world of a tuning: its options, where sessions run, and what they may cost."""

    def __init__(
        self,
        default: Option,
        options: Sequence[Option],
        objective: Objective,
        prices: dict[int, float | None],
        launcher: str,
    ) -> None:
        """`prices` are $ an hour of one GPU, by the place of the option."""
        self._options = {DEFAULT: default, **dict(enumerate(options))}
        self._objective, self._prices, self._launcher = objective, prices, launcher
        self._budget = default.config.launcher.budget_gpu_hours
        self._measured: dict[Trial, Task] = {}

    def measure(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Measures what has no record. Raises KeyboardInterrupt if the user cancelled it or detached."""
        configs = [self.make_config(trial) for trial in trials]
        missing = any(task.find_missing_runs() for task in _find_tasks(configs))
        if missing:
            print(f"\nmeasuring {'; '.join(map(self._name, trials))}")  # noqa: T201
            if story.carry_out(configs, backend(self._launcher)) == story.INTERRUPTED:
                raise KeyboardInterrupt
        tasks = _find_tasks(configs)
        self._measured |= dict(zip(trials, tasks, strict=True))
        return [self._read(trial, task) for trial, task in zip(trials, tasks, strict=True)]

    def affords(self, trials: Sequence[Trial]) -> bool:
        """Whether what these take, beside what was spent, is within launcher.budget_gpu_hours."""
        if self._budget is None:
            return True
        needed = make_forecast(_find_tasks([self.make_config(trial) for trial in trials])).gpu_hours.value
        return self.spent_gpu_hours + needed <= self._budget

    @property
    def spent_gpu_hours(self) -> float:
        """What the trials have taken, those of earlier commands included."""
        return math.fsum(_count_gpu_hours(task) for task in self._measured.values())

    def make_config(self, trial: Trial) -> RunConfig:
        """The config of a trial: a start of its own, with seeds and a share of the load of its own."""
        config = self._options[trial.option].config
        load, engine = config.workload, config.engine
        return replace(
            config,
            engine=replace(engine, restarts=1, restart=engine.restart + trial.start),
            workload=replace(shorten(load, trial.share), seed=load.seed + trial.start * load.repeats),
            launcher=replace(config.launcher, budget_gpu_hours=None),
        )

    def _name(self, trial: Trial) -> str:
        """A trial for people; sessions of two options may have the same name."""
        share = "" if trial.share == 1 else f" under {trial.share:.0%} of the load"
        return f"{self._options[trial.option].name}{share}, start {trial.start + 1}"

    def _read(self, trial: Trial, task: Task) -> Outcome:
        records = [record for _, record in task.results.pair_with_records()]
        return self._objective.score(self._options[trial.option].config, self._prices[trial.option], records)


def _find_tasks(configs: Sequence[RunConfig]) -> list[Task]:
    """The one task of each config, with what the store has of it."""
    tasks = [task for config in configs for task in make_tasks([config])]
    look_up_store([task.results for task in tasks])
    return tasks


def _count_gpu_hours(task: Task) -> float:
    """Of its start, its rehearsal and its runs."""
    records = [record for _, record in task.results.pair_with_records() if record]
    return count_spent_seconds(records) * task.session.hardware.gpus / 3600
