"""Points to figures. Pure: DataFrame in, matplotlib Figure out; the only importer of matplotlib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vbench.analysis.placing import Box, Paper, Place
from vbench.analysis.points import HALF_WIDTH, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

    from vbench.analysis.axes import Axis

# Okabe and Ito's palette, told apart by every kind of eye; without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
STYLES = ("-", "--", ":", "-.")  # a new one each time the colours are used up
KEY_COLUMNS = 2
MOST_CURVES = 12  # more can neither be told apart nor named
WIDTH_IN, HEIGHT_IN, KEY_LINE_IN = 8.6, 5.8, 0.24
INK, FAINT = "#222222", "#666666"
NUMBERS = "numbers: num_prompts"
RINGS = "ringed: Pareto front"
LONG_NAME = 24  # characters; beyond them a name takes a second line
HEADROOM = 1.12  # the axes end this much above the data, and as far right of it as the widest name is long
IDEAL = {
    "color": FAINT,
    "marker": "o",
    "linestyle": (0, (4, 3)),
    "linewidth": 1.3,
    "markersize": 5,
    "markerfacecolor": "white",
}
CHARACTER = 0.0128  # width of one in a name, of the axes'


def curves(points: pd.DataFrame, title: str, subtitle: str, x: Axis, y: Axis) -> Figure:
    """One curve a series, one point a load, named beside the curve; `pareto` points, where several curves meet, ringed.

    Takes rows of `points.points` of one system, each with a value of both axes. Rows that are `ideal` were computed
    and not measured: they are drawn thin, dashed and hollow. `subtitle` says what was measured: engine, device,
    weights, load. Where the curves lie too close for their names, a key below the axes names them.
    """
    ranked = _by_rank(points, y)
    drawn = [Curve.of(line, x, y) for line in ranked[:MOST_CURVES]]
    if len(ranked) > len(drawn):
        subtitle = f"the {len(drawn)} best of {len(ranked)} curves · {subtitle}"
    figure = _curves(drawn, title, subtitle, x, y, key=False)
    return figure or _curves(drawn, title, subtitle, x, y, key=True) or Figure()


@dataclass(frozen=True)
class Curve:
    """One series: n points by load."""

    name: str
    means: npt.NDArray[np.float64]  # (n, 2): x and y
    half_widths: npt.NDArray[np.float64]  # (n, 2): of the intervals of both; 0 where a point has no repeats
    loads: list[float]
    runs: pd.Series
    ringed: npt.NDArray[np.bool_]
    ideal: bool

    @classmethod
    def of(cls, line: pd.DataFrame, x: Axis, y: Axis) -> Curve:
        lacking = pd.Series(False, index=line.index)
        found = line[[x.key + HALF_WIDTH, y.key + HALF_WIDTH]]
        return cls(
            name=line["series"].iloc[0],
            means=line[[x.key, y.key]].to_numpy(dtype=np.float64),
            half_widths=np.nan_to_num(found.to_numpy(dtype=np.float64)),
            loads=line["num_prompts"].tolist(),
            runs=line["runs"],
            ringed=line.get("pareto", lacking).to_numpy(dtype=bool),
            ideal=bool(line.get("ideal", lacking).any()),
        )


def _curves(drawn: list[Curve], title: str, subtitle: str, x: Axis, y: Axis, *, key: bool) -> Figure | None:
    """The figure; None where it has no room for the names and is to have no key."""
    names = [curve.name for curve in drawn]
    rings = len(drawn) > 1 and any(curve.ringed.any() for curve in drawn)
    hint = "      ".join([NUMBERS, *([RINGS] if rings else []), _direction(x, y)])
    above = {"title": title, "subtitle": subtitle, "label": y.label, "hint": hint, "bars": _bars(drawn)}
    figure, axes = _axes(above, key_lines=-(-len(names) // KEY_COLUMNS) if key else 0)
    axes.set_xlabel(x.label)
    right, top = np.max([(curve.means + curve.half_widths).max(axis=0) for curve in drawn], axis=0)
    axes.set_xlim(0, right / (1 - (0.05 if key else _widest(names))))
    axes.set_ylim(0, top * HEADROOM)
    for curve, look in zip(drawn, _looks(drawn), strict=True):
        axes.plot(*curve.means.T, label=curve.name, **look)
    paper = Paper(_box(axes.get_window_extent()))
    for line in axes.lines:
        paper.draw_line(_pixels(axes, line))
    for curve, line in zip(drawn, axes.lines, strict=True):
        _draw_bars(axes, paper, curve, line.get_color())
        if rings and curve.ringed.any():
            _ring(axes, paper, curve.means[curve.ringed])
    if key:
        style: dict[str, Any] = {"frameon": False, "fontsize": 10.5, "handlelength": 3}
        figure.legend(loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=KEY_COLUMNS, **style)
    elif not _name(axes, paper):
        return None
    _number(axes, paper, [curve.loads for curve in drawn])
    return figure


def _direction(x: Axis, y: Axis) -> str:
    """Where the good is, as an arrow and in words."""
    up, left = not y.less_is_better, x.less_is_better
    arrow = {(True, True): "↖", (True, False): "↗", (False, True): "↙", (False, False): "↘"}[up, left]
    return f"{arrow} {'up' if up else 'down'} and {'left' if left else 'right'} is better"


def _bars(drawn: list[Curve]) -> str:
    """What the bars are; "" where there are none."""
    repeated = any((curve.runs > 1).any() for curve in drawn)
    return f"bars: 95 % interval, n = {span(pd.concat([curve.runs for curve in drawn]))}" if repeated else ""


def _ring(axes: Axes, paper: Paper, points: npt.NDArray[np.float64]) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=130, facecolors="none", edgecolors=FAINT, linewidths=1.1, zorder=3)
    paper.draw_rings(axes.transData.transform(points))


def _draw_bars(axes: Axes, paper: Paper, curve: Curve, colour: Any) -> None:
    """Draws the intervals of the points that have them, along both axes, thin and without caps, and keeps names off."""
    pairs = zip(curve.means, curve.half_widths, strict=True)
    bars = [np.array([mean - half, mean + half]) for mean, widths in pairs for half in np.diag(widths) if half.any()]
    axes.add_collection(LineCollection(bars, colors=colour, linewidths=1.2, alpha=0.8), autolim=False)
    for ends in bars:
        paper.draw_bar(axes.transData.transform(ends))


def _axes(above: dict[str, str], key_lines: int) -> tuple[Figure, Axes]:
    width, height = WIDTH_IN, HEIGHT_IN + KEY_LINE_IN * key_lines
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    below = KEY_LINE_IN * key_lines + 0.58
    axes = figure.add_axes((0.095, below / height, 0.885, 1 - (below + 1.07) / height))

    def write(x: float, inches: float, text: str, **style: Any) -> None:
        figure.text(x, 1 - inches / height, text, **style)

    write(0.012, 0.34, above["title"], fontsize=15, fontweight="bold", color=INK)
    write(
        0.012, 0.40, "\n".join(_wrapped(above["subtitle"], 115)), fontsize=9.5, color=FAINT, va="top", linespacing=1.25
    )
    write(0.012, 0.96, above["label"], fontsize=12, color=INK)  # level, so that it is read
    write(0.98, 0.96, above["hint"], fontsize=10.5, color=FAINT, ha="right")
    write(
        0.98, height - below + 0.37, above["bars"], fontsize=10.5, color=FAINT, ha="right", va="center"
    )  # as the axis' label
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, colors=INK, length=3)
    axes.xaxis.label.set(fontsize=12, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"))
    return figure, axes


def _looks(drawn: list[Curve]) -> list[dict[str, Any]]:
    """How each curve is drawn: colours by rank among the measured; an ideal has the colour of none."""
    ranks = iter(range(len(drawn)))
    return [IDEAL if curve.ideal else _look(next(ranks)) for curve in drawn]


def _look(rank: int) -> dict[str, Any]:
    return {
        "color": COLOURS[rank % len(COLOURS)],
        "marker": MARKERS[rank % len(MARKERS)],
        "linestyle": STYLES[rank // len(COLOURS) % len(STYLES)],
        "linewidth": 2,
        "markersize": 6,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def _by_rank(points: pd.DataFrame, y: Axis) -> list[pd.DataFrame]:
    """The points of each series by load, the highest first: colours then follow the order on the page."""
    best = points.groupby("series")[y.key].agg("min" if y.less_is_better else "max")
    best = best.sort_values(ascending=y.less_is_better, kind="stable")
    return [points[points["series"] == series].sort_values("num_prompts") for series in best.index]


def _name(axes: Axes, paper: Paper) -> bool:
    """Writes each line's label beside it, none over anything; False where one finds no room."""
    for line in axes.lines:
        # From the greatest load down to the middle: there the curves are furthest apart.
        spots = _pixels(axes, line)[::-1]
        spots = spots[: len(spots) // 2 + 1]
        style = {"color": line.get_color(), "fontsize": 11.5, "fontweight": "bold"}
        if not _write(axes, paper.name, _folded(str(line.get_label())), spots, **style):
            return False
    return True


def _number(axes: Axes, paper: Paper, loads: list[list[float]]) -> None:
    """Writes each load beside its point. One that finds no room is left out: it is one between its neighbours'."""
    for line, numbers in zip(axes.lines, loads, strict=True):
        for spot, load in zip(_pixels(axes, line), numbers, strict=True):
            _write(axes, paper.number, f"{load:g}", spot, color=line.get_color(), fontsize=9.5)


def _pixels(axes: Axes, line: Line2D) -> npt.NDArray[np.float64]:
    return np.asarray(axes.transData.transform(line.get_xydata()))


def _write(
    axes: Axes, place: Callable[..., Place | None], text: str, at: npt.NDArray[np.float64], **style: Any
) -> bool:
    # Placed in pixels, kept as fractions of the figure: an SVG has other pixels than a PNG.
    fractions: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "figure fraction"}
    fraction = axes.figure.transFigure.inverted().transform
    written = axes.annotate(text, (0, 0), xytext=(0, 0), ha="left", va="bottom", linespacing=1.1, **style, **fractions)
    extent = written.get_window_extent()
    found = place(extent.width, extent.height, at)
    if found is None:
        written.remove()
        return False
    written.set_position(tuple(fraction((found.box.left, found.box.bottom))))
    if found.far:
        leader = {"arrowstyle": "-", "color": style["color"], "linewidth": 0.8}
        ends = fraction([found.spot, found.box.nearest(found.spot)])
        axes.annotate("", ends[0], xytext=ends[1], arrowprops=leader, **fractions)
    return True


def _box(extent: Bbox) -> Box:
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)


def _folded(name: str) -> str:
    """A long name in two lines: hardware and parallelism, and below them what differs."""
    words = name.split(" · ")
    return " · ".join(words[:2]) + "\n" + " · ".join(words[2:]) if len(name) > LONG_NAME and words[2:] else name


def _widest(names: Iterable[str]) -> float:
    """The share of the axes' width that the widest name takes, and some air; at most nearly half."""
    characters = max(len(line) for name in names for line in _folded(name).splitlines())
    return min(CHARACTER * characters + 0.025, 0.45)


def _wrapped(text: str, width: int) -> list[str]:
    """At most two lines, broken between the words of " · "; what finds no room there stands in the caption."""
    lines = [""]
    for word in text.split(" · "):
        longer = f"{lines[-1]} · {word}" if lines[-1] else word
        lines = [*lines[:-1], longer] if len(longer) <= width or not lines[-1] else [*lines, word]
    cut = [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines[:2]]
    return cut if len(lines) <= len(cut) else [cut[0], f"{cut[1]} …"]
