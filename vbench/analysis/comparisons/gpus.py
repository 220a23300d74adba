"""GPU against GPU: the ratios of two kinds, model by model, at the points that both have."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.comparisons.ratio_table import ratio_caption, ratio_table
from vbench.analysis.frame import UNKNOWN
from vbench.analysis.hosts import HOST_METRICS, RATE, SPEED, describe_hosts
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
    labels = add_labels(rows, conditions, ["gpus", "parallelism"])
    name, title = slug("gpus", kind, baseline), f"{kind} against {baseline}"
    stats = log_means(labels, list(dict.fromkeys([*options.compared, *HOST_METRICS])), ["kind", *POINT])
    matched = match_points(stats[stats["kind"] == kind], stats[stats["kind"] == baseline], POINT)
    found = matched[matched["metric"].isin(options.compared)]
    if found.empty:
        keys = ["model", "gpus", "parallelism", "num_prompts", *conditions, "experiment"]
        why = describe_disjoint(kinds[kind], kinds[baseline], keys) or "every point"
        return Section(name, title, notes=(f"No point was measured on both: they differ in {why}.",))
    used = labels.merge(found[["model_label", "system_label"]].drop_duplicates())
    mixed = describe_mixed(used, [each for each in conditions if each != load_axis(labels).column])
    data = mean_ratios(found, ["model_label", "conditions_label"])
    if not mixed and len(set(found["model_label"])) > 1:
        pooled = mean_ratios(found, []).assign(model_label="all models", conditions_label="")
        data = pd.concat([data, pooled], ignore_index=True)
    caption = (
        f"{kind} divided by {baseline}, at points of the same model, number of GPUs, parallelism, load and engine. "
        f"{ratio_caption(data)} {shared_conditions(used)}."
    )
    notes = [f"No mean over all models: they differ in {mixed}."] if mixed else []
    hosts = matched[matched["metric"].isin((SPEED, RATE))]  # unlike kinds of GPU have unlike clocks
    notes += [*describe_hosts(hosts, kind, baseline), *describe_join(used)]
    table = ratio_table(data, data["model_label"].str.cat(data["conditions_label"], sep=" · ").str.strip(" ·"), "model")
    return Section(name, title, caption, table, data, notes=tuple(notes))
