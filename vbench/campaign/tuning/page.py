"""The answer of a tuning, as lines and as plain data. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from vbench.campaign.planning.wording import count
from vbench.campaign.tuning.options import DEFAULTS, Space, drop_keys
from vbench.plan.tuning.decision import EASIER, Answer, Confirmation, Verdict
from vbench.plan.tuning.halving import rank
from vbench.plan.tuning.objective import GOODPUT, Objective
from vbench.plan.tuning.ratio import Ratio
from vbench.plan.tuning.trial import DEFAULT, Outcome
from vbench.schema.secrets import redact

NONE = "no option beats the default"


def show(answer: Answer, space: Space, objective: Objective, words: Sequence[str]) -> Iterator[str]:
    """The table, what was left out and why, the verdict, and the command that uses the winner.

    `words` are those of the command that say what is served and under which load.
    """
    yield from _show_table(answer, space, objective)
    yield from _list_failures(answer, space)
    for name, why in space.skipped:
        yield f"skipped {name}: {why}"
    yield from _explain(answer, space, objective)
    if answer.verdict is Verdict.winner:
        winner = space.options[answer.confirmations[-1].option]
        yield f"use it: {redact(shlex.join(['vbench', *drop_keys(words, winner.words), *winner.words]))}"


def describe(answer: Answer, space: Space, objective: Objective) -> dict[str, Any]:
    """The same as plain data; scores are null where there are none."""
    names = _name_options(space)
    found = answer.confirmations[-1] if answer.confirmations else None
    ratio = found.ratio if found else None
    return {
        "verdict": answer.verdict.value,
        "objective": objective.name,
        "option": names[found.option] if found else None,
        "ratio": _describe_ratio(ratio) if ratio else None,
        "why": answer.why or None,
        "rounds": [
            {
                "share": each.share,
                "scores": {names[place]: _describe_outcome(found) for place, found in each.outcomes.items()},
            }
            for each in answer.rounds
        ],
        "confirmations": [
            {
                "option": names[each.option],
                "scores": [_describe_outcome(one) for one in each.ours],
                "default_scores": [_describe_outcome(one) for one in each.defaults],
            }
            for each in answer.confirmations
        ],
        "skipped": dict(space.skipped),
    }


def _show_table(answer: Answer, space: Space, objective: Objective) -> Iterator[str]:
    names = _name_options(space)
    ends = range(len(answer.rounds), 0, -1)
    tried = list(dict.fromkeys(place for end in ends for place in rank(answer.rounds[:end])))
    heads = [f"round {number} ({each.share:.0%})" for number, each in enumerate(answer.rounds, 1)]
    rows = [["option", *heads]]
    for place in [*tried, *([DEFAULT] if answer.rounds else [])]:
        scores = [each.outcomes.get(place, Outcome(None)).score for each in answer.rounds]
        rows.append([names[place], *("" if each is None else objective.describe(each) for each in scores)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows if tried else []:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _list_failures(answer: Answer, space: Space) -> Iterator[str]:
    """Each option that failed, with its first reason."""
    names, told = _name_options(space), set[int]()
    found = [pair for each in answer.rounds for pair in each.outcomes.items()]
    for each in answer.confirmations:
        found += [(each.option, one) for one in each.ours] + [(DEFAULT, one) for one in each.defaults]
    for place, outcome in found:
        if outcome.score is None and place not in told:
            told.add(place)
            yield f"failed {names[place]}: {outcome.why}"


def _explain(answer: Answer, space: Space, objective: Objective) -> Iterator[str]:
    """One line: the verdict and what it rests on."""
    metric = "goodput" if objective.name == GOODPUT else "goodput per dollar"
    if not answer.confirmations:
        yield f"undecided: {answer.why}" if answer.why else f"{NONE}: none had more {metric} in the last round"
        return
    found = answer.confirmations[-1]
    name, starts = space.options[found.option].name, count(min(map(len, found.scores)), "start")
    if answer.verdict is Verdict.undecided:
        yield f"undecided: {name} could not be confirmed: {_explain_undecided(answer, found)}"
        return
    if found.ratio is None:
        if answer.verdict is Verdict.winner:
            yield f"winner: {name} meets the SLO, the defaults with no request"
        else:
            yield f"{NONE}: {name} meets the SLO with no request, the defaults do"
        return
    told = f"{found.ratio} times the {metric} of the defaults ({starts} of each in turn; 95 % interval)"
    if answer.verdict is Verdict.winner:
        sides = " against ".join(objective.describe(_mean(side)) for side in found.scores)
        yield f"winner: {name} has {told}: {sides}"
        return
    yield f"{NONE}: the best of them, {name}, has {told}"
    if found.ratio.value > 1 and not math.isnan(found.ratio.low):
        yield f"more starts make the interval narrower: engine.restarts={2 * len(found.ours)}; records are kept"


def _explain_undecided(answer: Answer, found: Confirmation) -> str:
    ours, defaults = found.scores
    if answer.why:
        return answer.why
    if found.complete:
        return f"some starts met the SLO with no request; {EASIER}"
    side = DEFAULTS if len(defaults) < len(ours) else "the option"
    return f"too few starts of {side} have a valid result (rerun=failed or rerun=invalid measures them again)"


def _name_options(space: Space) -> dict[int, str]:
    return {DEFAULT: DEFAULTS, **{place: each.name for place, each in enumerate(space.options)}}


def _mean(scores: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, scores)) / len(scores))


def _describe_outcome(found: Outcome) -> float | str:
    return found.why if found.score is None else found.score


def _describe_ratio(ratio: Ratio) -> dict[str, float | None]:
    known = not math.isnan(ratio.low)
    return {"value": ratio.value, "low": ratio.low if known else None, "high": ratio.high if known else None}
