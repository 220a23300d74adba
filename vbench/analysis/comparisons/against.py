"""Version against version, campaign against campaign: what changed, and whether it is a regression."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from vbench.analysis.comparisons.ratios import explained, shown
from vbench.analysis.frame import WORDS
from vbench.analysis.labels import SYSTEM, apart, labelled, measured, mixed
from vbench.analysis.matched import logarithms, matched, ratios
from vbench.analysis.section import Section
from vbench.schema.errors import Refused

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SLUG = "against"
POINT = ("system", "series", "num_prompts")
ALL = "all"


class Gate(NamedTuple):
    """`output_throughput<0.97`: the ratio that fails."""

    metric: str
    sign: str
    limit: float

    def fails(self, low: float, high: float) -> bool:
        """Whether the whole interval lies beyond the limit."""
        return high < self.limit if self.sign == "<" else low > self.limit


def gate(words: str) -> Gate:
    """Raises Refused where the words are no gate."""
    found = re.fullmatch(r"\s*(\w+)\s*([<>])\s*(\d*\.?\d+)\s*", words)
    if not found:
        raise Refused(f"fail_if={words}: must be a metric, < or >, and a ratio, as output_throughput<0.97")
    return Gate(found[1], found[2], float(found[3]))


def sections(runs: Runs, options: Options) -> list[Section]:
    """The one table of ratios; none unless against=… names a baseline."""
    if runs.baseline is None:
        return []
    title = f"Against {options.against}"
    new, old = runs.valid, runs.baseline.valid
    axis = compared(new, old, runs.conditions)
    conditions = [each for each in runs.conditions if each not in axis]
    labels = labelled(pd.concat([new.assign(side="new"), old.assign(side="old")]), conditions)
    stats = logarithms(labels, _metrics(options, new), ["side", *POINT])
    found = matched(stats[stats["side"] == "new"], stats[stats["side"] == "old"], POINT)
    if found.empty:
        why = apart(new, old, ["model", *SYSTEM, "num_prompts", *conditions])
        return [
            Section(
                SLUG, title, notes=(f"No point was measured on both sides: they differ in {why or 'every point'}.",)
            )
        ]
    used = labels.merge(found[["system", "series"]].drop_duplicates())
    data = ratios(found, ["system", "series"])
    refused = mixed(used, conditions)
    if not refused:
        data = pd.concat([data, ratios(found, []).assign(system=ALL, series="")], ignore_index=True)
    differs = apart(new, old, axis) or "nothing that was asked for"
    caption = f"Divided by {options.against}, on the points that both have. They differ in {differs}. {explained(data)}"
    table = shown(data, (data["system"] + " · " + data["series"]).str.strip(" ·"), "system")
    notes = [f"No mean over all: the points differ in {refused}."] if refused else []
    return [Section(SLUG, title, f"{caption} {measured(used)}.", table, data, notes=tuple(notes))]


def compared(new: pd.DataFrame, old: pd.DataFrame, conditions: tuple[str, ...]) -> set[str]:
    """The axis: the engine's version, and those of its options in which the sides have nothing in common.

    Weights, workloads, models and GPUs are never part of it.
    """
    options = [each for each in conditions if each.startswith("engine.") and each != "engine.weights"]
    return {"engine_version", *(each for each in options if apart(new, old, [each]))}


def regressions(found: list[Section], words: str) -> list[str]:
    """A line for each row that fails. Raises Refused where the gate cannot be judged."""
    asked = gate(words)
    data = next((each.data for each in found if each.slug == SLUG), None)
    if data is None:
        why = next((note for each in found if each.slug == SLUG for note in each.notes), "give against=…, the baseline")
        raise Refused(f"fail_if={words}: there is nothing to judge: {why}")
    rows = data[data["metric"] == asked.metric]
    judged = rows[rows["interval_from"] != ""]
    if judged.empty:
        raise Refused(f"fail_if={words}: one point and no repeats have no interval; measure with workload.repeats=3")
    return [
        f"{row.system}{' · ' + row.series if row.series else ''}: {asked.metric} is {row.value:.3f} "
        f"[{row.low:.3f}, {row.high:.3f}] of the baseline, over {row.points} points"
        for row in judged.itertuples()
        if asked.fails(row.low, row.high)
    ]


def _metrics(options: Options, rows: pd.DataFrame) -> list[str]:
    if options.fail_if is None:
        return options.compared
    metric = gate(options.fail_if).metric
    known = [each for each in rows.columns if pd.api.types.is_float_dtype(rows[each]) and each not in WORDS]
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1, cutoff=0)
        raise Refused(f"fail_if={options.fail_if}: no run has {metric}; did you mean {near[0] if near else 'another'}?")
    return list(dict.fromkeys([*options.compared, metric]))
