"""Which system gives the most: at the load of the tables, within the limits on latency, and within an SLO. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from vbench.analysis.answers import within_slo
from vbench.analysis.answers.words import describe_load, find_data, format_value, join_names, shorten
from vbench.analysis.axes import Axis, axis
from vbench.analysis.points import HALF_WIDTH, is_tied, withhold_untold

if TYPE_CHECKING:
    from vbench.analysis.frame import Runs
    from vbench.analysis.options import Options
    from vbench.analysis.section import Section

PER_GPU = "output_throughput_per_gpu"


def sentences(_: Runs, found: list[Section], options: Options) -> list[str]:
    """For each model one sentence for each of the three."""
    x, y = axis(options.x), axis(options.y)
    told = [*_at_the_load(find_data(found, "throughput-latency"), y), *_within_limits(found, x, y, options.slo)]
    return [
        *shorten(told, "Throughput and latency, and the curves"),
        *within_slo.sentences(find_data(found, "within-slo")),
    ]


def compare(best: Any, other: Any, y: Axis) -> str:
    """How far the better of two points is ahead, and whether their intervals decide."""
    one, two = float(best[y.key]), float(other[y.key])
    single = math.isnan(float(best[y.key + HALF_WIDTH])) or math.isnan(float(other[y.key + HALF_WIDTH]))
    apart = not is_tied(best, other, y.key)
    ahead = f"{one / two:.2f} × the next" if two else "ahead of the next"
    if ahead.startswith("1.00 "):
        ahead = "less than 1 % from the next" if apart else "no difference that was measured to the next"
    if single:
        decided = "not every point was repeated, so whether they differ is not known"
    else:
        decided = "their 95 % intervals do not overlap" if apart else "not decided: their 95 % intervals overlap"
    return f"{ahead}, {other['system_label']} with {format_value(other, y)}; {decided}"


def _at_the_load(cells: pd.DataFrame, y: Axis) -> list[str]:
    if cells.empty:
        return []
    told, alone = [], []
    for model, rows in withhold_untold(cells, [y.key]).dropna(subset=[y.key]).groupby("model_label"):
        ranked = _ranked(rows, y)
        best = ranked.iloc[0]
        if len(ranked) == 1:
            alone.append(f"{model} on {best['system_label']}, {format_value(best, y)}")
            continue
        told.append(f"{model} {describe_load(best)}: {best['system_label']}, {format_value(best, y)}: "
                    f"{compare(best, ranked.iloc[1], y)}.{_per_gpu(rows, best, y)}")  # fmt: skip
    if alone:
        told.append(f"Measured on one system only {describe_load(cells.iloc[0])}: {join_names(alone, 4)}.")
    return told


def _per_gpu(rows: pd.DataFrame, best: pd.Series, y: Axis) -> str:
    """Another system gives more for each GPU: said only where the leader has other GPUs than the rest."""
    known = rows.dropna(subset=[PER_GPU])
    if not y.adds_up or known["hardware"].nunique() < 2:
        return ""
    leader = _ranked(known, axis(PER_GPU)).iloc[0]
    if leader["system_label"] == best["system_label"]:
        return " It also gives the most for each GPU."
    return f" For each GPU: {leader['system_label']}, {format_value(leader, axis(PER_GPU))}."


def _within_limits(found: list[Section], x: Axis, y: Axis, limits: list[float]) -> list[str]:
    """The best point of any load that keeps each limit, for the models that have several systems."""
    told = []
    for section in found:
        data = section.data
        if not section.slug.startswith("curves-") or section.slug.startswith("curves-on-") or data is None:
            continue
        points = withhold_untold(data, [x.key, y.key]).dropna(subset=[x.key, y.key])
        if points["system_label"].nunique() < 2:
            continue
        winners: dict[str, list[float]] = {}  # equal winners are named once
        for limit in limits:
            winners.setdefault(_best_within(points, limit, x, y), []).append(limit)
        words = [f"{_limit_text(kept, x)}: {winner}" for winner, kept in winners.items()]
        told.append(f"{points['model_label'].iloc[0]} within {'; '.join(words)}.")
    return told


def _best_within(points: pd.DataFrame, limit: float, x: Axis, y: Axis) -> str:
    """The best of the points that keep the limit, unless one that may or may not keep it would be better."""
    room = (limit - points[x.key]) * (1 if x.less_is_better else -1)
    unsure = points[x.key + HALF_WIDTH].fillna(0.0).clip(lower=_printed_step(x) / 2)
    surely, perhaps = points[room >= unsure], points[room > -unsure]
    if perhaps.empty:
        return "none"
    best = _ranked(perhaps, y).iloc[0]
    if best.name in surely.index:
        named = _prefer_small(_ranked(surely, y), y)
        told = f"{named['system_label']}, {format_value(named, y)} {describe_load(named)}"
        return told + _name_equal(named, surely, y)
    certain = "none" if surely.empty else _best_within(surely, limit, x, y)
    return f"not decided: {best['system_label']} is at the limit {describe_load(best)}; surely within it: {certain}"


def _prefer_small(ranked: pd.DataFrame, y: Axis) -> pd.Series:
    """The best point; of those that no measured difference tells from it, the one on the fewest GPUs."""
    best = ranked.iloc[0]
    equal = ranked[[_is_equal(best, row, y) for _, row in ranked.iterrows()]]
    gpus = pd.to_numeric(equal["hardware"].str.extract(r"^(\d+)x")[0]).fillna(math.inf)
    return best if gpus[best.name] == gpus.min() else equal.loc[gpus.idxmin()]


def _name_equal(best: pd.Series, kept: pd.DataFrame, y: Axis) -> str:
    """That the best point of another system gives as much, where no difference was measured; else ""."""
    others = kept[kept["system_label"] != best["system_label"]]
    if others.empty:
        return ""
    other = _ranked(others, y).iloc[0]
    return f" (no difference that was measured to {other['system_label']})" if _is_equal(best, other, y) else ""


def _is_equal(best: pd.Series, other: pd.Series, y: Axis) -> bool:
    """Whether `compare` says so, whichever of the two is ahead."""
    ahead = best[y.key] <= other[y.key] if y.less_is_better else best[y.key] >= other[y.key]
    return compare(*((best, other) if ahead else (other, best)), y).startswith("no difference")


def _printed_step(x: Axis) -> float:
    """The smallest difference that a cell of this axis shows: 0.1 of `,.1f`."""
    return 10.0 ** -int(x.digits.strip(",.f") or 0)


def _limit_text(limits: list[float], x: Axis) -> str:
    """`median ITL ≤ 20 and 50 ms`."""
    name, _, unit = x.short.partition(" in ")
    *first, last = [f"{limit:g}" for limit in limits]
    numbers = f"{', '.join(first)} and {last}" if first else last
    return f"{name} {'≤' if x.less_is_better else '≥'} {numbers} {unit}".strip()


def _ranked(rows: pd.DataFrame, of: Axis) -> pd.DataFrame:
    return rows.sort_values(of.key, ascending=of.less_is_better, kind="stable")
