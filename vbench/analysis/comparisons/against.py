"""Version against version, campaign against campaign: the ratio to a baseline at the points that both have."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.comparisons.ratio_table import ratio_caption, ratio_table
from vbench.analysis.frame import ALONE, TOKENS_IN, TOKENS_OUT, WORDS, add_lengths, ensure_columns, find_varying
from vbench.analysis.gate import Outcome, judge, parse_gate
from vbench.analysis.hosts import HOST, HOST_METRICS, describe_hosts
from vbench.analysis.labels import (
    SYSTEM,
    add_labels,
    describe_disjoint,
    describe_join,
    describe_mixed,
    load_axis,
    shared_conditions,
)
from vbench.analysis.ratios import log_means, match_points, mean_ratios
from vbench.analysis.section import Section
from vbench.schema.errors import Refused

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SLUG = "against"
POINT = ("model_label", "system_label", "load")
ALL = "all"
SURROUNDINGS = ("driver", "torch", "host_cpu", ALONE)  # what a host may have of its own


def sections(runs: Runs, options: Options) -> list[Section]:
    """The table of ratios; no section unless against=… names a baseline."""
    if runs.baseline is None:
        return []
    title = f"Against {options.against}"
    everything = tuple(dict.fromkeys([*runs.everything, *runs.baseline.everything]))  # of both sides: absent is a value
    new, old = ensure_columns(runs.valid, everything), ensure_columns(runs.baseline.valid, everything)
    if new.empty or old.empty:
        side = "the new side" if new.empty else f"the baseline {options.against}"
        return [Section(SLUG, title, notes=(f"Nothing to compare: {side} has no VALID run under load.",))]
    axis = comparison_axis(new, old, everything)
    metrics = _metrics(options, new, old)
    sides = pd.concat([new.assign(side="new"), old.assign(side="old")], ignore_index=True)
    stated = [each for each in find_varying(sides, everything) if each not in (*axis, TOKENS_IN, TOKENS_OUT, HOST)]
    sides = add_lengths(sides, stated)
    new, old = sides[sides["side"] == "new"], sides[sides["side"] == "old"]
    conditions = [*stated, TOKENS_IN, TOKENS_OUT]
    labels = add_labels(
        sides.reindex(columns=list(dict.fromkeys([*sides, *metrics]))), conditions, join_experiments=True
    )
    stats = log_means(labels, list(dict.fromkeys([*metrics, *HOST_METRICS])), ["side", *POINT])
    matched = match_points(stats[stats["side"] == "new"], stats[stats["side"] == "old"], POINT)
    found = matched[matched["metric"].isin(metrics)]
    if found.empty:
        why = describe_disjoint(new, old, ["model", *SYSTEM, "num_prompts", *conditions]) or "every point"
        return [Section(SLUG, title, notes=(f"No point was measured on both sides: they differ in {why}.",))]
    used = labels.merge(found[["model_label", "system_label"]].drop_duplicates())
    data = mean_ratios(found, ["model_label", "system_label"])
    mixed = describe_mixed(used, [each for each in conditions if each != load_axis(labels).column])
    if not mixed and len(data[["model_label", "system_label"]].drop_duplicates()) > 1:
        data = pd.concat([data, mean_ratios(found, []).assign(model_label=ALL, system_label="")], ignore_index=True)
    differs = describe_disjoint(new, old, axis) or "nothing that was asked for"
    caption = (
        f"Divided by {options.against}, at the points that both have. They differ in {differs}. {ratio_caption(data)} "
        f"{shared_conditions(used)}."
    )
    names = (data["model_label"] + " · " + data["system_label"]).str.strip(" ·")
    notes = [f"No mean over all: the points differ in {mixed}."] if mixed else []
    notes += describe_hosts(matched, "the new side", str(options.against))
    notes += [
        f"{side}: {joined}" for side, rows in (("New side", new), ("Baseline", old)) for joined in describe_join(rows)
    ]
    return [Section(SLUG, title, caption, ratio_table(data, names, "system"), data, notes=tuple(notes))]


def comparison_axis(new: pd.DataFrame, old: pd.DataFrame, conditions: Sequence[str]) -> list[str]:
    """What is compared: the engine's version, and its options and host in which the sides have nothing in common.

    Weights, workloads, models and GPUs are never part of it.
    """
    options = [
        each for each in conditions if (each.startswith("engine.") and each != "engine.weights") or each in SURROUNDINGS
    ]
    return ["engine_version", *(each for each in options if describe_disjoint(new, old, [each]))]


def judge_sections(found: list[Section], fail_if: str) -> Outcome:
    """Judges the table of ratios by `fail_if`."""
    section = next(each for each in found if each.slug == SLUG)
    return judge(section.data, " ".join(section.notes), fail_if)


def _metrics(options: Options, *sides: pd.DataFrame) -> list[str]:
    """The metrics to compare. Raises Refused if no run has the metric of `fail_if`."""
    if options.fail_if is None:
        return options.compared
    metric = parse_gate(options.fail_if).metric
    known = {
        each
        for rows in sides
        for each in rows.columns
        if pd.api.types.is_float_dtype(rows[each]) and each not in WORDS and rows[each].notna().any()
    }
    if metric not in known:
        near = difflib.get_close_matches(metric, sorted(known), n=1, cutoff=0)
        raise Refused(f"fail_if={options.fail_if}: no run has {metric}; did you mean {near[0] if near else 'another'}?")
    return list(dict.fromkeys([*options.compared, metric]))
