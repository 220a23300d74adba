"""The story of a tuning: combine the options, screen them, confirm the best, write and print the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vbench.campaign.jobs import NAMES
from vbench.campaign.planning.wording import count
from vbench.campaign.tasklist import ROOT
from vbench.campaign.tuning import page
from vbench.campaign.tuning.options import Option, Space, make_space
from vbench.campaign.tuning.sampling import make_sampler
from vbench.campaign.tuning.world import Sessions
from vbench.plan.tuning.decision import LEAST_STARTS, STARTS, Verdict, tune
from vbench.plan.tuning.halving import RATE, plan_rounds
from vbench.plan.tuning.objective import COST, GOODPUT, Objective
from vbench.plan.tuning.objective import NAMES as OBJECTIVES
from vbench.plan.tuning.shortening import shorten
from vbench.plan.tuning.trial import DEFAULT
from vbench.schema import RunConfig
from vbench.schema.errors import Refused
from vbench.schema.record import atomic
from vbench.workload.prompts import lengths

UNDECIDED = 3  # the exit code


@dataclass(frozen=True)
class Question:
    """What `vbench tune` is asked."""

    tune: Mapping[str, Any]
    objective: str
    trials: int
    prices: Mapping[str, float]
    launcher: str
    words: Sequence[str]  # of the command, without its own options


def carry_out(question: Question, compose: Callable[[list[list[str]]], Iterator[RunConfig]]) -> int:
    """Returns the exit code: 0 if a winner was confirmed or none beats the defaults, 3 if it is undecided.

    `compose` gives the config of the command with each of these lists of further overrides. Raises Refused, before
    anything is started, if the question cannot be answered.
    """
    _check(question)
    space = make_space(question.tune, compose)
    starts = _read_starts(space.default.config)
    prices = _find_prices(question, space)
    if not space.options:
        raise Refused(f"tune: no combination can be run: {space.skipped[0][0]}: {space.skipped[0][1]}")
    objective = _make_objective(question, space)
    world = Sessions(space.default, space.options, objective, prices, question.launcher)
    tried = min(len(space.options), question.trials)
    print(_announce(space, tried, starts))  # noqa: T201
    sampler = make_sampler([each.point for each in space.options], space.sizes, tried)
    answer = tune(tried, sampler, world, starts)
    path = _write(page.describe(answer, space, objective), space.default.config.experiment)
    budget = space.default.config.launcher.budget_gpu_hours
    spent = f"; {world.spent_gpu_hours:.2f} of {budget:g} GPU hours" if budget else ""
    lines = page.show(answer, space, objective, question.words)
    print("\n".join(["", *lines, f"written: {path}{spent}"]))  # noqa: T201
    return UNDECIDED if answer.verdict is Verdict.undecided else 0


def _check(question: Question) -> None:
    if question.objective not in OBJECTIVES:
        raise Refused(f"objective={question.objective}: must be {' or '.join(OBJECTIVES)}")
    if question.launcher not in NAMES:
        raise Refused(f"hydra/launcher={question.launcher}: trials run on {', '.join(NAMES)}")
    if question.trials < 2:
        raise Refused(f"trials={question.trials}: must be 2 or more")


def _read_starts(config: RunConfig) -> int:
    """How many starts of each side confirm the winner. Raises Refused for what cannot be tuned."""
    if config.engine.base_url is not None:
        raise Refused("engine.base_url: tuning starts servers with other options; leave it out")
    if not config.workload.slo.limits:
        raise Refused("slo: name objectives in ms, as 'slo={ttft_ms: 500, tpot_ms: 50}'")
    if config.launcher.detach:
        raise Refused("launcher.detach=true: what is measured next depends on what was found; leave it out")
    starts = config.engine.restarts
    if starts == 1:
        return STARTS
    if starts < LEAST_STARTS:
        raise Refused(f"engine.restarts={starts}: a confirmation takes {LEAST_STARTS} starts of each side, or more")
    return starts


def _find_prices(question: Question, space: Space) -> dict[int, float | None]:
    """$ an hour of one GPU, by option. Raises Refused if scores could not be compared."""
    every: dict[int, Option] = {DEFAULT: space.default, **dict(enumerate(space.options))}
    hardware = {place: each.config.hardware for place, each in every.items()}
    if question.objective == GOODPUT:
        if len({(each.name, each.gpus) for each in hardware.values()}) > 1:
            raise Refused("tune: hardware: other GPUs have other costs; add objective=cost 'prices={h100: 2.5}'")
        return dict.fromkeys(every)
    found: dict[int, float | None] = {}
    for place, each in hardware.items():
        price = question.prices.get(each.gpu.name, each.gpu.price_per_hour) if each.gpu else None
        if not price:
            name = each.gpu.name if each.gpu else each.name
            raise Refused(f"objective=cost: {name} has no price; give $ an hour of one GPU, as 'prices={{h100: 2.5}}'")
        found[place] = price
    return found


def _make_objective(question: Question, space: Space) -> Objective:
    if question.objective != COST:
        return Objective(GOODPUT)
    replies = lengths(replace(space.default.config.workload, num_prompts=1280))[:, 1]
    return Objective(COST, float(replies.mean()))


def _announce(space: Space, tried: int, starts: int) -> str:
    """What is going to be measured."""
    load = space.default.config.workload
    rounds = plan_rounds(tried)
    told = ", ".join(f"{size} under {share:.0%} of the load" for size, share in rounds) or "nothing to screen"
    if len(rounds) > 1 and shorten(load, 1 / RATE) == load:
        told += " (which cannot be shorter)"
    return (
        f"{count(len(space.options), 'option')} and the defaults: {told}; then the best and the defaults in turn, on "
        f"{count(starts, 'start')} of each"
    )


def _write(facts: dict[str, Any], experiment: str) -> Path:
    folder = ROOT / experiment / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "tune.json") as partial:
        partial.write_text(json.dumps(facts, indent=1) + "\n")
    return folder / "tune.json"
