"""How many sessions a system bears: TTFT by turn, and the share of prompts that its cache served, over the sessions.

Beyond some number of sessions their contexts no longer fit into the KV cache: hits are lost to eviction, prompts are
computed again, and TTFT rises. That is the cliff that the two figures show side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from vbench.analysis.axes import Axis
from vbench.analysis.frame import ensure_columns
from vbench.analysis.labels import add_labels, describe_join, load_axis, shared_conditions
from vbench.analysis.loads import SESSIONS, load_values
from vbench.analysis.plot import Plot
from vbench.analysis.points import HALF_WIDTH, mean_points
from vbench.analysis.section import Section, slug

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options

X = Axis("sessions_at_once", "sessions", False, "g")
TTFT = Axis("median_ttft_ms", "median TTFT in ms", True, ",.0f")
HITS = Axis("prefix_hits", "prompt tokens cached", False, ".0%")
TURNS = {
    "median_ttft_turn1_ms": "turn 1",
    "median_ttft_turn2_3_ms": "turns 2 and 3",
    "median_ttft_turn4_7_ms": "turns 4 to 7",
    "median_ttft_turn8_15_ms": "turns 8 to 15",
    "median_ttft_turn16_up_ms": "turn 16 and later",
}
SHARES = {"prefix_hits_measured": "measured", "prefix_hits_implied": "infinite cache"}
LOST = "prefix_hits_lost_to_eviction"
RATES = ("computed_input_throughput", "users_per_gpu")
KEYS = (*TURNS, *SHARES, LOST, *RATES)


def sections(runs: Runs, _: Options) -> list[Section]:
    """A table and two figures for each model; none if no load had a number of sessions."""
    rows = ensure_columns(runs.valid, [SESSIONS.column, *KEYS])
    rows = rows[load_values(rows, SESSIONS).notna() & rows["prefix_hits_implied"].notna()]
    found: list[Section] = []
    for model, group in rows.groupby("model"):
        labels = _label(group, runs.conditions).assign(model_label=model)
        labels = labels.assign(load=load_values(labels, SESSIONS), load_axis=SESSIONS.column)
        points = mean_points(labels.assign(**{key: labels[key].astype(float) for key in KEYS}), KEYS)
        found += _sections(str(model), points, labels)
    return found


def _label(rows: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """`add_labels` with the sessions as the load: where another parameter was swept too, it is part of the label."""
    labels = add_labels(rows, conditions)
    if load_axis(labels) is SESSIONS or len(set(labels["load"])) == 1:
        return labels
    labels = add_labels(rows, [each for each in conditions if each != SESSIONS.column])
    return labels.assign(system_label=labels["system_label"] + " · " + labels["load"].map(load_axis(labels).say_point))


def _sections(model: str, points: pd.DataFrame, labels: pd.DataFrame) -> list[Section]:
    subtitle = shared_conditions(labels)
    caption = (
        "By the number of sessions: the share of prompt tokens that the prefix cache served, what was lost of an "
        f"infinite one to eviction, and the median TTFT of each turn. {subtitle}."
    )
    ttft, hits = _curves(points, TURNS, TTFT.key), _curves(points, SHARES, HITS.key)
    title = f"{model}: sessions"
    return [
        Section(
            slug("conversations", model), title, caption, _table(points), points, notes=tuple(describe_join(labels))
        ),
        _figure(slug("conversations-ttft", model), f"{model}: TTFT by turn over sessions", subtitle, ttft, TTFT),
        _figure(
            slug("conversations-hits", model), f"{model}: cached prompt tokens over sessions", subtitle, hits, HITS
        ),
    ]


def _figure(name: str, title: str, subtitle: str, data: pd.DataFrame, y: Axis) -> Section:
    figure = Plot(data, title, subtitle, X, y) if len(data) else None
    return Section(name, title, f"One point a number of sessions. {subtitle}.", data=data, figure=figure)


def _curves(points: pd.DataFrame, keys: dict[str, str], y: str) -> pd.DataFrame:
    """One curve for each system and key, with the key's values in column `y`."""
    parts = [
        points.assign(
            system_label=points["system_label"] + f" · {word}",
            **{X.key: points["load"], X.key + HALF_WIDTH: float("nan"), y: points[key]},
            **{y + HALF_WIDTH: points[key + HALF_WIDTH], "pareto": False},
        )
        for key, word in keys.items()
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset=[y])


def _table(points: pd.DataFrame) -> pd.DataFrame:
    def cells(key: str, form: str) -> pd.Series:
        return points[key].map(form.format).where(points[key].notna(), "")

    table = pd.DataFrame({"system": points["system_label"], "sessions": points["load"].map("{:g}".format)})
    shares = {"measured": "prefix_hits_measured", "infinite": "prefix_hits_implied", "lost to eviction": LOST}
    table = table.assign(**{name: cells(key, "{:.1%}") for name, key in shares.items()})
    turns = {f"TTFT ms, {word}": cells(key, "{:,.0f}") for key, word in TURNS.items() if points[key].notna().any()}
    computed = cells("computed_input_throughput", "{:,.0f}")
    table = table.assign(**turns, **{"computed prompt tok/s": computed}, **{"users a GPU": cells(RATES[1], "{:,.1f}")})
    return table.set_index("system")
