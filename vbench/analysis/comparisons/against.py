"""Version against version, campaign against campaign: the ratio to a baseline at the points that both have."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.axes import DOLLARS_AN_HOUR, IN_DOLLARS
from vbench.analysis.comparisons.ratio_table import ratio_caption, ratio_table
from vbench.analysis.conditions import differs
from vbench.analysis.frame import ALONE, TOKENS_IN, TOKENS_OUT, WORDS, add_lengths, ensure_columns, find_varying
from vbench.analysis.gate import PASSED, UNDECIDED, Outcome, judge, parse_gate
from vbench.analysis.hosts import HOST, HOST_METRICS, describe_hosts, find_slowdown
from vbench.analysis.labels import (
    SYSTEM,
    add_labels,
    describe_disjoint,
    describe_join,
    describe_mixed,
    join_phrases,
    load_axis,
    shared_conditions,
)
from vbench.analysis.ratios import log_means, match_points, mean_ratios
from vbench.analysis.section import Section
from vbench.analysis.unfinished import advise, say_lost, say_unfinished
from vbench.metrics.names import metric_name
from vbench.metrics.quantiles import needed, percentile_of
from vbench.schema.errors import Refused

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

SLUG = "against"
POINT = ("model_label", "system_label", "load")
SYSTEM_NAMES = ("model_label", "system_label")
ALL = "all"
SURROUNDINGS = ("driver", "torch", "python", "kernel", "host_cpu", ALONE)  # what a host may have of its own


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
    metrics, priced = _leave_out_unlike_prices(_metrics(options, new, old), new, old)
    sides = pd.concat([new.assign(side="new"), old.assign(side="old")], ignore_index=True)
    stated = [each for each in find_varying(sides, everything) if each not in (*axis, TOKENS_IN, TOKENS_OUT, HOST)]
    sides = add_lengths(sides, stated)
    new, old = sides[sides["side"] == "new"], sides[sides["side"] == "old"]
    conditions = [*stated, TOKENS_IN, TOKENS_OUT]
    labels = add_labels(
        sides.reindex(columns=list(dict.fromkeys([*sides, *metrics]))), conditions, join_experiments=True
    )
    labels = labels.assign(variant=describe_variants(labels, axis))
    stats = log_means(labels, list(dict.fromkeys([*metrics, *HOST_METRICS])), ["side", *POINT, "variant"])
    matched = _match_sides(stats)
    found = matched[matched["metric"].isin(metrics)]
    if found.empty:
        why = describe_disjoint(new, old, ["model", *SYSTEM, "num_prompts", *conditions]) or "every point"
        told = f"No point was measured on both sides: they differ in {why}."
        return [Section(SLUG, title, notes=(told, *priced))]
    used = labels.merge(found[[*SYSTEM_NAMES]].drop_duplicates())
    found = _name_pairs(found)
    data = mean_ratios(found, [*SYSTEM_NAMES])
    mixed = _describe_mixed(used, [each for each in conditions if each != load_axis(labels).column], axis)
    if not mixed and len(data[[*SYSTEM_NAMES]].drop_duplicates()) > 1:
        data = pd.concat([data, mean_ratios(found, []).assign(model_label=ALL, system_label="")], ignore_index=True)
    data = data.assign(host_slower=_find_slowdowns(data, _name_pairs(matched)))
    differs = describe_disjoint(new, old, axis) or "nothing that was asked for"
    caption = (
        f"Divided by {options.against}, at the points that both have. They differ in {differs}. {ratio_caption(data)} "
        f"{shared_conditions(used)}."
    )
    names = (data["model_label"] + " · " + data["system_label"]).str.strip(" ·")
    notes = [*priced, *([f"No mean over all: the points differ in {mixed}."] if mixed else [])]
    notes += _describe_hosts(_name_pairs(matched), str(options.against))
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


def describe_variants(labels: pd.DataFrame, axis: Sequence[str]) -> pd.Series:
    """What tells the runs of one side apart in what is compared, such as two engine versions; "" where nothing does.

    They are never one mean: each is divided by each of the baseline.
    """
    parts = []
    for _, side in labels.groupby("side"):
        varying = [each for each in axis if differs(side, each)]
        parts.append(join_phrases(side, varying))
    return pd.concat(parts).reindex(labels.index)


def _match_sides(stats: pd.DataFrame) -> pd.DataFrame:
    """`match_points` of each variant of the new side and each of the baseline, with both names."""
    new = stats[stats["side"] == "new"]
    old = stats[stats["side"] == "old"].rename(columns={"variant": "old_variant"})
    on = [*POINT, "metric"]
    pairs = [*POINT, "variant", "old_variant"]
    ours = new.merge(old[[*on, "old_variant"]], on=on)
    theirs = old.merge(new[[*on, "variant"]], on=on)
    return match_points(ours, theirs, pairs)


def _find_slowdowns(data: pd.DataFrame, pairs: pd.DataFrame) -> list[float]:
    """For each row of `mean_ratios`: how many times as slow the new side's hosts were.

    Where a row's own points do not tell, those of all points do; of the mean over all, also the one that tells most.
    """
    each = {name: find_slowdown(rows) for name, rows in pairs.groupby([*SYSTEM_NAMES])}
    most = max(each.values(), key=lambda times: abs(math.log(times)))
    overall = find_slowdown(pairs)
    known = [each.get(name, most) for name in data[[*SYSTEM_NAMES]].itertuples(index=False, name=None)]
    return [overall if times == 1.0 else times for times in known]


def _describe_hosts(pairs: pd.DataFrame, baseline: str) -> list[str]:
    """The hosts of all points, else of the systems that had unlike ones: two that differ both ways hide each other."""
    overall = describe_hosts(pairs, "the new side", baseline)
    if overall:
        return overall
    return [
        sentence
        for name, rows in pairs.groupby([*SYSTEM_NAMES])
        for sentence in describe_hosts(rows, "the new side", baseline, f" ({' · '.join(name)})")
    ]


def _name_pairs(found: pd.DataFrame) -> pd.DataFrame:
    """With the system and, where a side has several variants, which of them are compared, as `system_label`."""
    return found.assign(system_label=_name_variants(found))


def _name_variants(found: pd.DataFrame) -> pd.Series:
    new = found["system_label"].str.cat(found["variant"], sep=" · ").str.strip(" ·")
    old = found["old_variant"].map(lambda name: f" against {name}" if name else "")
    return new + old


def _describe_mixed(used: pd.DataFrame, conditions: Sequence[str], axis: Sequence[str]) -> str:
    """What the points differ in, beside that one side differs from the other."""
    found = [describe_mixed(used, conditions), *(describe_mixed(side, axis) for _, side in used.groupby("side"))]
    return "; ".join(filter(None, found))


def _leave_out_unlike_prices(
    metrics: list[str], new: pd.DataFrame, old: pd.DataFrame
) -> tuple[list[str], tuple[str, ...]]:
    """The metrics without those in dollars if the runs recorded several prices of a GPU; and why they are left out."""
    dollars = [each for each in metrics if each in IN_DOLLARS]
    known = pd.concat([new, old]).groupby("gpu_type")[DOLLARS_AN_HOUR].unique().map(lambda each: sorted(each[each > 0]))
    unlike = known[known.map(len) > 1]
    if not dollars or unlike.empty:
        return metrics, ()
    told = "; ".join(f"{kind} {', '.join(f'${each:g}' for each in prices)}" for kind, prices in unlike.items())
    sentence = (
        f"No ratio of {', '.join(map(metric_name, dollars))}: the runs recorded several prices of a GPU hour ({told}); "
        f"prices={{{unlike.index[0]}: …}} sets one for both sides."
    )
    return [each for each in metrics if each not in dollars], (sentence,)


def judge_sections(found: list[Section], fail_if: str, first: str = "", lost: str = "") -> Outcome:
    """Judges the table of ratios by `fail_if`; `first` is what to do before more is measured, of `advise_first`.

    Ratios do not tell of the points that were `lost`, of `find_lost`: they may fail, but not pass.
    """
    section = next(each for each in found if each.slug == SLUG)
    outcome = _judge_ratios(section, fail_if, first)
    if outcome.verdict != PASSED or not lost:
        return outcome
    return Outcome(UNDECIDED, f"{outcome.line}. Not passed, because {lost}")


def _judge_ratios(section: Section, fail_if: str, first: str) -> Outcome:
    if section.data is None:
        return judge(None, " ".join(section.notes), fail_if, first)
    metric = parse_gate(fail_if).metric
    percent = percentile_of(metric)
    few = f", from {needed(percent)} replies or more" if percent else ""
    why = next((note for note in section.notes if metric_name(metric) in note), "")
    missing = why or f"no point that both sides measured has it on both{few}"
    return judge(section.data, missing, fail_if, first)


def advise_first(runs: Runs) -> str:
    """For each side that lacks runs: that it is unfinished, and what measures them."""
    sides = (("the new side", runs), ("the baseline", runs.baseline))
    told = [(side, say_unfinished(each), advise(each)) for side, each in sides if each is not None and advise(each)]
    return ". ".join(": ".join(filter(None, words)) for words in told)


def find_lost(runs: Runs) -> str:
    """Which points the new side lacks, of the baseline's or of its own plan; "" if none."""
    unfinished, lost = say_unfinished(runs), say_lost(runs, runs.baseline) if runs.baseline else ""
    told = [f"the new side is {unfinished}"] if unfinished else []
    return " and ".join([*told, *([f"the baseline has what the new side lacks: {lost}"] if lost else [])])


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
