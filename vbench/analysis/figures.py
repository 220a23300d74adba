"""Plots to matplotlib figures. Pure; the only importer of matplotlib.

Names in a figure come from records and files of others: matplotlib reads none of them as mathematics (`_plain_text`).
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vbench.analysis.figure_text import TITLE_ID, figure_line, fold, name_margin, wrap
from vbench.analysis.loads import load_axis_named
from vbench.analysis.placement import Box, Paper, Place
from vbench.analysis.points import HALF_WIDTH, count_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

    from vbench.analysis.axes import Axis
    from vbench.analysis.plot import Plot

# Okabe and Ito's palette, told apart by every kind of eye; without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
STYLES = ("-", "--", ":", "-.")  # a new one each time the colours are used up
KEY_COLUMNS = 2
MOST_CURVES = 12  # more cannot be told apart, and have no room for their names
WIDTH_IN, HEIGHT_IN, KEY_LINE_IN = 8.6, 5.8, 0.24
INK, FAINT = "#222222", "#666666"
SIZES: dict[tuple[Any, ...], tuple[float, float]] = {}  # of texts, by text and font
RINGS = "ringed: Pareto front"
HEADROOM = 1.12  # the y axis ends this much above the data; the x axis leaves room for the widest name
IDEAL = {
    "color": FAINT,
    "marker": "o",
    "linestyle": (0, (4, 3)),
    "linewidth": 1.3,
    "markersize": 5,
    "markerfacecolor": "white",
}


def draw(plot: Plot) -> Figure:
    """One curve for each system, named beside the curve; `pareto` points are ringed.

    Points that are `ideal` are drawn thin, dashed and hollow. If the curves lie too close for their names, a key below
    the axes names them.
    """
    with _plain_text():
        return _figure(plot.points, figure_line(plot.title), figure_line(plot.subtitle), plot.x, plot.y)


def _figure(points: pd.DataFrame, title: str, subtitle: str, x: Axis, y: Axis) -> Figure:
    ranked = _by_rank(points, y)
    drawn = [Curve.from_points(line, x, y) for line in ranked[:MOST_CURVES]]
    if len(ranked) > len(drawn):
        subtitle = f"the {len(drawn)} best of {len(ranked)} curves · {subtitle}"
    figure = _draw(drawn, title, subtitle, x, y, key=False)
    return figure or _draw(drawn, title, subtitle, x, y, key=True) or Figure()


@contextmanager
def _plain_text() -> Iterator[None]:
    """Text that is made here is drawn as it is: `$` begins no formula, and a missing glyph is no warning."""
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def render(figure: Figure, path: Any, kind: str) -> None:
    """Writes the figure to a path or stream, as png, svg or pdf."""
    with _plain_text():
        # Little compression: the file grows by a few percent, and is written in a quarter of the time.
        options: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if kind == "png" else {}
        figure.savefig(path, format=kind, **options)


@dataclass(frozen=True)
class Curve:
    """One system: n points by load."""

    name: str
    means: npt.NDArray[np.float64]  # (n, 2): x and y
    half_widths: npt.NDArray[np.float64]  # (n, 2): of the intervals of both; 0 where a point has no repeats
    loads: list[str]  # as they are written beside the points
    load_name: str
    runs: pd.Series
    ringed: npt.NDArray[np.bool_]
    ideal: bool

    @classmethod
    def from_points(cls, line: pd.DataFrame, x: Axis, y: Axis) -> Curve:
        lacking = pd.Series(False, index=line.index)
        axes = line["load_axis"].map(load_axis_named)
        found = line[[x.key + HALF_WIDTH, y.key + HALF_WIDTH]]
        return cls(
            name=figure_line(line["system_label"].iloc[0]),
            means=line[[x.key, y.key]].to_numpy(dtype=np.float64),
            half_widths=np.nan_to_num(found.to_numpy(dtype=np.float64)),
            loads=[axis.describe_point(load) for axis, load in zip(axes, line["load"], strict=True)],
            load_name=axes.iloc[0].name,
            runs=line["runs"],
            ringed=line.get("pareto", lacking).to_numpy(dtype=bool),
            ideal=bool(line.get("ideal", lacking).any()),
        )


def _draw(drawn: list[Curve], title: str, subtitle: str, x: Axis, y: Axis, *, key: bool) -> Figure | None:
    """The figure; None if it has no room for the names and `key` is false."""
    names = [curve.name for curve in drawn]
    rings = len(drawn) > 1 and any(curve.ringed.any() for curve in drawn)
    numbers = f"numbers: {', '.join(dict.fromkeys(curve.load_name for curve in drawn))}"
    hint = "      ".join([numbers, *([RINGS] if rings else []), _direction(x, y)])
    above = {"title": title, "subtitle": subtitle, "label": y.label, "hint": hint, "bars": _bars(drawn)}
    figure, axes = _axes(above, key_lines=-(-len(names) // KEY_COLUMNS) if key else 0)
    axes.set_xlabel(x.label)
    right, top = np.max([(curve.means + curve.half_widths).max(axis=0) for curve in drawn], axis=0)
    axes.set_xlim(0, right / (1 - (0.05 if key else name_margin(names))))
    axes.set_ylim(0, top * HEADROOM)
    for curve, look in zip(drawn, _styles(drawn), strict=True):
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
    elif not _write_names(axes, paper):
        return None
    _write_loads(axes, paper, [curve.loads for curve in drawn])
    return figure


def _direction(x: Axis, y: Axis) -> str:
    """The direction of better, as an arrow and in words."""
    up, left = not y.less_is_better, x.less_is_better
    arrow = {(True, True): "↖", (True, False): "↗", (False, True): "↙", (False, False): "↘"}[up, left]
    return f"{arrow} {'up' if up else 'down'} and {'left' if left else 'right'} is better"


def _bars(drawn: list[Curve]) -> str:
    """What the bars are; "" if there are none."""
    repeated = any((curve.runs > 1).any() for curve in drawn)
    return f"bars: 95 % interval, n = {count_range(pd.concat([curve.runs for curve in drawn]))}" if repeated else ""


def _ring(axes: Axes, paper: Paper, points: npt.NDArray[np.float64]) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=130, facecolors="none", edgecolors=FAINT, linewidths=1.1, zorder=3)
    paper.draw_rings(axes.transData.transform(points))


def _draw_bars(axes: Axes, paper: Paper, curve: Curve, colour: Any) -> None:
    """Draws the intervals along both axes, for points that have them, and keeps names away from them."""
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

    write(0.012, 0.34, above["title"], fontsize=15, fontweight="bold", color=INK, gid=TITLE_ID)
    write(0.012, 0.40, "\n".join(wrap(above["subtitle"], 115)), fontsize=9.5, color=FAINT, va="top", linespacing=1.25)
    write(0.012, 0.96, above["label"], fontsize=12, color=INK)  # horizontal, so that people read it
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


def _styles(drawn: list[Curve]) -> list[dict[str, Any]]:
    """The style of each curve: colours by rank among the measured; ideals are grey."""
    ranks = iter(range(len(drawn)))
    return [IDEAL if curve.ideal else _style(next(ranks)) for curve in drawn]


def _style(rank: int) -> dict[str, Any]:
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
    """The points of each system by load, the best system first: colours then follow the order on the page."""
    best = points.groupby("system_label")[y.key].agg("min" if y.less_is_better else "max")
    best = best.sort_values(ascending=y.less_is_better, kind="stable")
    return [points[points["system_label"] == label].sort_values("load") for label in best.index]


def _write_names(axes: Axes, paper: Paper) -> bool:
    """Writes each line's label beside it, over nothing else; False if one finds no room."""
    for line in axes.lines:
        # From the greatest load down to the middle, where the curves are furthest apart.
        spots = _pixels(axes, line)[::-1]
        spots = spots[: len(spots) // 2 + 1]
        style = {"color": line.get_color(), "fontsize": 11.5, "fontweight": "bold"}
        if not _write(axes, paper.place_name, fold(str(line.get_label())), spots, **style):
            return False
    return True


def _write_loads(axes: Axes, paper: Paper, loads: list[list[str]]) -> None:
    """Writes each load beside its point. One without room is left out: its neighbours show about what it is."""
    for line, numbers in zip(axes.lines, loads, strict=True):
        for spot, load in zip(_pixels(axes, line), numbers, strict=True):
            for text in (load, load.partition(" ")[0]):  # without its unit, if that leaves more room
                if _write(axes, paper.place_load, text, spot, color=line.get_color(), fontsize=9.5):
                    break


def _pixels(axes: Axes, line: Line2D) -> npt.NDArray[np.float64]:
    return np.asarray(axes.transData.transform(line.get_xydata()))


def _write(
    axes: Axes, place: Callable[..., Place | None], text: str, at: npt.NDArray[np.float64], **style: Any
) -> bool:
    # Placed in pixels but stored as fractions of the figure, because an SVG has other pixels than a PNG.
    found = place(*_size(axes, text, style), at)
    if found is None:
        return False
    fractions: dict[str, Any] = {"xycoords": "figure fraction", "textcoords": "figure fraction"}
    fraction = axes.figure.transFigure.inverted().transform
    corner = tuple(fraction((found.box.left, found.box.bottom)))
    axes.annotate(text, (0, 0), xytext=corner, ha="left", va="bottom", linespacing=1.1, **style, **fractions)
    if found.far:
        leader = {"arrowstyle": "-", "color": style["color"], "linewidth": 0.8}
        ends = fraction([found.spot, found.box.nearest(found.spot)])
        axes.annotate("", ends[0], xytext=ends[1], arrowprops=leader, **fractions)
    return True


def _size(axes: Axes, text: str, style: dict[str, Any]) -> tuple[float, float]:
    """Width and height of a text, in pixels. Measured once: loads are the same beside hundreds of points."""
    font = text, style["fontsize"], style.get("fontweight"), axes.figure.dpi
    if font not in SIZES:
        written = axes.annotate(text, (0, 0), ha="left", va="bottom", linespacing=1.1, **style)
        extent = written.get_window_extent()
        written.remove()
        SIZES[font] = extent.width, extent.height
    return SIZES[font]


def _box(extent: Bbox) -> Box:
    return Box(extent.x0, extent.y0, extent.x1, extent.y1)
