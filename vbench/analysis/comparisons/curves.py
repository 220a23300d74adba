"""Throughput against latency as the load grows: a figure a model across hardware, a figure a hardware across models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.analysis.axes import AXES, axis
from vbench.analysis.frame import UNKNOWN
from vbench.analysis.labels import add_labels, describe_join, load_axis, shared_conditions
from vbench.analysis.loads import NUM_PROMPTS
from vbench.analysis.pareto import pareto_front
from vbench.analysis.plot import Plot
from vbench.analysis.points import mean_points, repeats_caption, withhold_untold
from vbench.analysis.section import Section, slug
from vbench.metrics.quantiles import count_replies, needs_text

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.axes import Axis
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options


def sections_by_model(runs: Runs, options: Options) -> list[Section]:
    """One figure for each model: a curve for each hardware and parallelism."""
    found = []
    for model, rows in runs.valid.groupby("model"):
        # Labelled anew: what differs only between models is the same everywhere here, and belongs in the subtitle.
        labels = add_labels(rows, runs.conditions).assign(model_label=model)
        found.append(_section(slug("curves", model), model, labels, options))
    return found


def sections_by_hardware(runs: Runs, options: Options) -> list[Section]:
    """One figure for each hardware that served several models: a curve for each model and parallelism."""
    found = []
    for hardware, rows in runs.valid[runs.valid["hardware"] != UNKNOWN].groupby("hardware"):
        if len(set(rows["model"])) > 1:
            labels = add_labels(rows, runs.conditions, ["parallelism"])
            curve = labels["model_label"] + " · " + labels["system_label"]
            labels = labels.assign(system_label=curve, model_label=hardware)
            found.append(_section(slug("curves-on", hardware), hardware, labels, options))
    return found


def _section(name: str, subject: str, rows: pd.DataFrame, options: Options) -> Section:
    x, y, load = axis(options.x), axis(options.y), load_axis(rows)
    found = mean_points(rows)
    title, subtitle = f"{subject}: {_quantity(y.key)} against {_quantity(x.key)}", shared_conditions(rows)
    drawable = withhold_untold(found, [x.key, y.key]).dropna(subset=[x.key, y.key])
    if drawable.empty:
        note = f"No run has both {y.short} and {x.short}: nothing to draw. {_hint(found, x, y)}".strip()
        return Section(name, title, f"{subtitle}.", data=found, notes=(note,))
    drawable = drawable.assign(pareto=pareto_front(drawable, x, y))
    notes = [] if len(drawable) > drawable["system_label"].nunique() else ["One load a system: points, not yet curves."]
    notes += [f"Not drawn: {_describe_lacking(found, x, y)}."] if len(drawable) < len(found) else []
    notes += describe_join(rows)
    repeats = repeats_caption(drawable)
    swept = "" if load is NUM_PROMPTS else f" ({load.name})"
    caption = f"One point a load{swept}{f': {repeats}' if repeats else ''}. {subtitle}."
    figure = Plot(drawable, title, subtitle, x, y)
    return Section(name, title, caption, data=drawable, figure=figure, notes=tuple(notes))


def _describe_lacking(found: pd.DataFrame, x: Axis, y: Axis) -> str:
    """`2 of 8 points without p99 ITL in ms (a p99 needs 299 replies)`, for each axis that some lack."""
    told = withhold_untold(found, [x.key, y.key])
    counts = {of: int(told[of.key].isna().sum()) for of in (y, x)}
    words = [f"{count} of {len(found)} points without {of.short}" for of, count in counts.items() if count]
    few = any(found[of.key].notna().sum() > told[of.key].notna().sum() for of in (y, x))
    return " and ".join(words) + (f" ({_hint(found, x, y).rstrip('.')})" if few else "")


def _quantity(key: str) -> str:
    """The kind of quantity, for a title; its unit stands at the axis."""
    if key.endswith("_ms"):
        return "latency"
    return {"dollars_per_million_tokens": "cost", "output_tokens_per_joule": "tokens a joule"}.get(key, "throughput")


def _hint(found: pd.DataFrame, x: Axis, y: Axis) -> str:
    keys = (x.key, y.key)
    rows = found.to_dict("records")
    few = [(key, needs) for key in keys for row in rows if (needs := needs_text(key, count_replies(key, row)))]
    if few:
        return f"A {few[0][0].partition('_')[0]} {few[0][1]} replies."
    if "dollars_per_million_tokens" in keys:
        return "Dollars need one price of each GPU: 'prices={h100: 2.5}', $ an hour."
    if "output_tokens_per_joule" in keys:
        return "Joules need a GPU whose power can be read while a run is measured."
    others = [
        each.key for each in AXES if each.key.endswith("_ms") and found[[each.key, y.key]].notna().all(axis=1).any()
    ]
    if others:
        return f"What they have: x={', x='.join(others)}."
    return "Replies of one token have no time between tokens."
