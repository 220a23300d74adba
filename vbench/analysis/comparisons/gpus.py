"""GPU against GPU: the ratios of two kinds, model by model, at the points that both have."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.comparisons.ratio_table import ratio_caption, ratio_table
from vbench.analysis.frame import UNKNOWN
from vbench.analysis.hosts import HOST, HOST_METRICS, RATE, SPEED, describe_hosts
from vbench.analysis.labels import (
    add_labels,
    describe_disjoint,
    describe_join,
    describe_mixed,
    load_axis,
    shared_conditions,
)
from vbench.analysis.ratios import log_means, match_points, mean_ratios
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

POINT = ("model_label", "conditions_label", "system_label", "load")
SPLIT = ("gpus", "parallelism")


def sections(runs: Runs, options: Options) -> list[Section]:
    """One table for each pair of GPU kinds."""
    on_gpus = runs.valid[pd.to_numeric(runs.valid["gpus"], errors="coerce") > 0]
    known = on_gpus[on_gpus["gpu_type"] != UNKNOWN]
    kinds = dict(iter(known.assign(kind=name_kinds(known)).groupby("kind")))
    return [_section(runs, options, other, one, kinds) for one, other in combinations(sorted(kinds), 2)]


def name_kinds(rows: pd.DataFrame) -> pd.Series:
    """The kind of GPU of each run, with its product where the runs have several of that kind: they are not alike."""
    several = rows.groupby("gpu_type")["device"].transform("nunique") > 1
    products = rows["gpu_type"] + " (" + rows["device"].fillna("unknown product").astype(str) + ")"
    return rows["gpu_type"].mask(several, products)


def _section(runs: Runs, options: Options, kind: str, baseline: str, kinds: dict[str, pd.DataFrame]) -> Section:
    conditions = [each for each in runs.conditions if each != "device"]
    rows = pd.concat([kinds[kind], kinds[baseline]])
    labels = add_labels(rows, conditions, SPLIT)
    name, title = slug("gpus", kind, baseline), f"{kind} against {baseline}"
    metrics = list(dict.fromkeys([*options.compared, *HOST_METRICS]))
    matched, notes = _match(log_means(labels, metrics, ["kind", *POINT]), kind, baseline), []
    apart = matched.empty and len(set(rows["experiment"])) > 1
    if apart:
        labels = add_labels(rows, [each for each in conditions if each != HOST], SPLIT, join_experiments=True)
        matched = _match_campaigns(labels, metrics, kind, baseline)
        notes = [f"No experiment of the {baseline} belongs to one of the {kind}: each row is one of each."]
    found = matched[matched["metric"].isin(options.compared)]
    if found.empty:
        keys = ["model", "gpus", "parallelism", "num_prompts", *conditions, "experiment"]
        why = describe_disjoint(kinds[kind], kinds[baseline], keys) or "every point"
        return Section(name, title, notes=(f"No point was measured on both: they differ in {why}.",))
    used = labels.merge(found[["model_label", "system_label"]].drop_duplicates())
    mixed = describe_mixed(used, [each for each in conditions if each not in (load_axis(labels).column, HOST)])
    data = mean_ratios(found, ["model_label", "conditions_label"])
    if not mixed and not apart and len(set(found["model_label"])) > 1:
        pooled = mean_ratios(found, []).assign(model_label="all models", conditions_label="")
        data = pd.concat([data, pooled], ignore_index=True)
    caption = (
        f"{kind} divided by {baseline}, at points of the same model, number of GPUs, parallelism, load and engine. "
        f"{ratio_caption(data)} {shared_conditions(used)}."
    )
    notes += [f"No mean over all models: they differ in {mixed}."] if mixed else []
    hosts = matched[matched["metric"].isin((SPEED, RATE))]  # unlike kinds of GPU have unlike clocks
    for words, pairs in hosts.groupby("conditions_label") if apart else [("", hosts)]:
        notes += describe_hosts(pairs, kind, baseline, f" ({words})" if words else "")
    notes += describe_join(used)
    table = ratio_table(data, data["model_label"].str.cat(data["conditions_label"], sep=" · ").str.strip(" ·"), "model")
    return Section(name, title, caption, table, data, notes=tuple(notes))


def _match(stats: pd.DataFrame, kind: str, baseline: str) -> pd.DataFrame:
    return match_points(stats[stats["kind"] == kind], stats[stats["kind"] == baseline], POINT)


def _match_campaigns(labels: pd.DataFrame, metrics: list[str], kind: str, baseline: str) -> pd.DataFrame:
    """`match_points` of each campaign of one kind with each of the other, which `conditions_label` names.

    Two campaigns of one kind are never one curve, and neither are hosts of unlike speed.
    """
    hosts = labels[HOST] if HOST in labels else pd.Series(None, index=labels.index, dtype=object)
    said = hosts.map(lambda words: f" ({words})" if isinstance(words, str) and words else "")
    stats = log_means(labels.assign(origin=labels["experiment"] + said), metrics, ["kind", "origin", *POINT])
    ours, theirs = (stats[stats["kind"] == each].groupby("origin") for each in (kind, baseline))
    pairs = []
    for (one, rows), (other, others) in product(ours, theirs):
        found = match_points(rows, others, POINT)
        words = found["conditions_label"].str.cat([f"{one} / {other}"] * len(found), sep=" · ").str.strip(" ·")
        pairs.append(found.assign(conditions_label=words))
    return pd.concat(pairs, ignore_index=True)
