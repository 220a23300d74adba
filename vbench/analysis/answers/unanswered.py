"""What the runs cannot tell. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.analysis.answers.words import find_data, join_names, shorten
from vbench.analysis.comparisons.excluded import say_remedies
from vbench.analysis.unfinished import advise, say_unfinished
from vbench.metrics.bounds import NOT_TOLD

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

NOTHING = "nothing that was recorded is at its limit"


def sentences(runs: Runs, found: list[Section], _: Options) -> list[str]:
    """What was left out, not repeated, not watched or not real."""
    told = [*_unfinished(runs), *_left_out(found), *_single(runs, found), *_unbounded(runs, found)]
    if "dummy" in set(runs.used_runs.get("engine.weights", ())):
        told.append("Weights were random (engine.weights=dummy) in some or all runs: they show speed, not answers.")
    return told


def _left_out(found: list[Section]) -> list[str]:
    data = find_data(found, "left-out")
    if data.empty:
        return []
    reasons = [f"{row.reason} {row.runs}" for row in data.itertuples()]
    names = list(dict.fromkeys(data["reason"]))
    return [
        f"Runs that enter no answer, by reason: {join_names(reasons)} (see Left out).",
        *shorten([f"{remedy}." for remedy in say_remedies(names)], "Left out"),
    ]


def _unfinished(runs: Runs) -> list[str]:
    said = say_unfinished(runs)
    return [f"{said[0].upper()}{said[1:]}: {advise(runs)}."] if said else []


def _single(runs: Runs, found: list[Section]) -> list[str]:
    curves = [each for each in found if each.slug.startswith("curves-") and not each.slug.startswith("curves-on-")]
    points = [each.data for each in curves if each.data is not None]
    single, every = sum(int((each["runs"] == 1).sum()) for each in points), sum(map(len, points))
    if not single:
        return []
    sentence = (
        f"{single} of {every} points were measured once: they have no interval, so a small difference between them may "
        f"be noise; {advise(runs) or 'workload.repeats=3 measures it'}."
    )
    return [sentence]


def _unbounded(runs: Runs, found: list[Section]) -> list[str]:
    data = find_data(found, "bounds")
    if data.empty:
        return [] if runs.valid.empty else ["What bounds the systems: no run recorded what its server did."]
    told = []
    for unseen, rows in data[data["bound"] == NOT_TOLD].groupby("unseen"):
        names = join_names((rows["model_label"] + " · " + rows["system_label"]).tolist())
        told.append(f"What bounds {names}: {f'not told, as {unseen}' if unseen else NOTHING}.")
    return told
