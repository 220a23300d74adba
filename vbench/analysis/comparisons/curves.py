"""Throughput against latency as the load grows: a figure a model across hardware, a figure a hardware across models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vbench.analysis import figures
from vbench.analysis.axes import axis
from vbench.analysis.labels import labelled, measured
from vbench.analysis.pareto import front
from vbench.analysis.points import points, spread
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    import pandas as pd

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options


def of_models(runs: Runs, options: Options) -> list[Section]:
    """One figure a model: a curve for each hardware and parallelism."""
    found = []
    for model, rows in runs.valid.groupby("model"):
        # Labelled anew: what differs only between models is here the same everywhere, and belongs in the subtitle.
        labels = labelled(rows, runs.conditions).assign(system=model)
        found.append(_section(slug("curves", model), model, labels, options))
    return found


def of_hardware(runs: Runs, options: Options) -> list[Section]:
    """One figure a hardware that served several models: a curve for each model and parallelism."""
    found = []
    for hardware, rows in runs.valid.groupby("hardware"):
        if len(set(rows["model"])) > 1:
            labels = labelled(rows, runs.conditions, ["parallelism"])
            labels = labels.assign(series=labels["system"] + " · " + labels["series"], system=hardware)
            found.append(_section(slug("curves-on", hardware), hardware, labels, options))
    return found


def _section(name: str, what: str, rows: pd.DataFrame, options: Options) -> Section:
    x, y = axis(options.x), axis(options.y)
    found = points(rows)
    title, subtitle = f"{what}: {_word(y.key)} against {_word(x.key)}", measured(rows)
    drawable = found.dropna(subset=[x.key, y.key])
    if drawable.empty:
        note = f"No run has both {y.short} and {x.short}: nothing to draw. {_hint(x.key, y.key)}".strip()
        return Section(name, title, f"{subtitle}.", data=found, notes=(note,))
    drawable = drawable.assign(pareto=front(drawable, x, y))
    notes = [] if len(drawable) > drawable["series"].nunique() else ["One load a system: points, not yet curves."]
    said = spread(drawable)
    caption = f"One point a load{f': {said}' if said else ''}. {subtitle}."
    figure = figures.curves(drawable, title, subtitle, x, y)
    return Section(name, title, caption, data=drawable, figure=figure, notes=tuple(notes))


def _word(key: str) -> str:
    """What is drawn, in a title: the kind of quantity, for its unit stands at the axis."""
    if key.endswith("_ms"):
        return "latency"
    return {"dollars_per_million_tokens": "cost", "output_tokens_per_joule": "tokens a joule"}.get(key, "throughput")


def _hint(*keys: str) -> str:
    if "dollars_per_million_tokens" in keys:
        return "Dollars need a price: prices={h100: 2.5}, $ an hour of one GPU."
    if "output_tokens_per_joule" in keys:
        return "Joules need a GPU whose power can be read while a run is measured."
    return "Replies of one token have no time between tokens."
