"""GPU against GPU: ratios of two kinds, model by model, on the points that both have."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.comparisons.ratios import explained, shown
from vbench.analysis.labels import apart, labelled, measured, mixed
from vbench.analysis.matched import logarithms, matched, ratios
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

POINT = ("system", "beyond", "series", "num_prompts")


def sections(runs: Runs, options: Options) -> list[Section]:
    """One table a pair of kinds of GPU; none where there is one kind only."""
    of_gpus = runs.valid[runs.valid["gpus"] > 0]
    kinds = dict(iter(of_gpus.groupby("gpu_type")))
    return [_section(runs, options, other, one, kinds) for one, other in combinations(sorted(kinds), 2)]


def _section(runs: Runs, options: Options, kind: str, baseline: str, kinds: dict[str, pd.DataFrame]) -> Section:
    conditions = [each for each in runs.conditions if each != "device"]
    rows = pd.concat([kinds[kind], kinds[baseline]])
    labels = labelled(rows, conditions, ["gpus", "parallelism"])
    name, title = slug("gpus", kind, baseline), f"{kind} against {baseline}"
    stats = logarithms(labels, options.compared, ["gpu_type", *POINT])
    found = matched(stats[stats["gpu_type"] == kind], stats[stats["gpu_type"] == baseline], POINT)
    if found.empty:
        why = apart(kinds[kind], kinds[baseline], ["model", "gpus", "parallelism", "num_prompts", *conditions])
        return Section(name, title, notes=(f"No point was measured on both: they differ in {why or 'every point'}.",))
    used = labels.merge(found[["system", "series"]].drop_duplicates())
    refused = mixed(used, conditions)
    data = ratios(found, ["system", "beyond"])
    if not refused and len(set(found["system"])) > 1:
        data = pd.concat([data, ratios(found, []).assign(system="all models", beyond="")], ignore_index=True)
    caption = (
        f"{kind} divided by {baseline}, on the points of the same model, number of GPUs, parallelism, load and engine. "
        f"{explained(data)} {measured(used)}."
    )
    notes = [f"No mean over all models: they differ in {refused}."] if refused else []
    table = shown(data, data["system"].str.cat(data["beyond"], sep=" · ").str.strip(" ·"), "model")
    return Section(name, title, caption, table, data, notes=tuple(notes))
