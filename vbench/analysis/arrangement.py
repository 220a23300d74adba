"""Arranges a figure: plot -> drawing. Pure; the caller measures how wide a text is.

One curve for each system, named beside the curve. If the curves lie too close for their names, a key below the axes
names them. `pareto` points are ringed; points that are `ideal` are drawn thin, dashed and hollow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from vbench.analysis.curve import Curve, best_curves
from vbench.analysis.drawing import DESCENT, POINT, Drawing, Line, Look, Scale, Segments, Words, line_height
from vbench.analysis.figure_text import TITLE_ID, cut, fold, name_margin, wrap
from vbench.analysis.placement import Box, Paper, Place
from vbench.analysis.points import count_range
from vbench.schema.text import one_line

if TYPE_CHECKING:
    import numpy.typing as npt

    from vbench.analysis.axes import Axis
    from vbench.analysis.plot import Plot

Measure = Callable[[str, float, bool], float]  # text, size of its font in points, bold -> width in pixels

# Okabe and Ito's palette, told apart by every kind of eye; without its yellow, which vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#7F7F7F")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p")
STYLES = ((), (3.7, 1.6), (1.0, 1.65), (6.4, 1.6, 1.0, 1.6))  # a new one each time the colours are used up
MOST_CURVES = 12  # more cannot be told apart, and have no room for their names
INK, FAINT, PALE, EDGE = "#222222", "#666666", "#E6E6E6", "#999999"
IDEAL = Look(FAINT, "o", (4.0, 3.0), width=1.3, size=5.0, face="white", edge=FAINT, edge_width=1.0)
RINGS = "ringed: Pareto front"
HEADROOM = 1.12  # the y axis ends this much above the data; the x axis leaves room for the widest name
INCH = 72 * POINT
WIDTH, HEIGHT = 8.6 * INCH, 5.8 * INCH
LEFT, RIGHT = 0.012 * WIDTH, 0.98 * WIDTH  # of what is written around the axes
ABOVE, BELOW = 1.07 * INCH, 0.58 * INCH  # the room for it
TICK, PAD = 3 * POINT, 3.5 * POINT  # the length of a tick, and its distance from its number
STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)  # between ticks, times a power of ten
MOST_STEPS = (8, 7)  # along x and y
TICK_SIZE, NAME_SIZE, LOAD_SIZE, KEY_SIZE = 11.0, 11.5, 9.5, 10.5
ROW, HANDLE, GAP = 0.225 * INCH, 0.44 * INCH, 0.12 * INCH  # of the key
SHRINK = 2 * POINT  # a leader ends so far from its point and its name


@dataclass(frozen=True)
class _Content:
    """What a figure says, before it is known where."""

    title: str
    subtitle: str
    x: Axis
    y: Axis
    curves: list[Curve]
    looks: list[Look]

    @property
    def rings(self) -> bool:
        return len(self.curves) > 1 and any(curve.ringed.any() for curve in self.curves)


def arrange(plot: Plot, measure: Measure) -> Drawing:
    """The drawing of a plot. Of more than MOST_CURVES curves the best are drawn, and the subtitle says so."""
    curves, count = best_curves(plot.points, plot.x, plot.y, MOST_CURVES)
    subtitle = one_line(plot.subtitle)
    if count > len(curves):
        subtitle = f"the {len(curves)} best of {count} curves · {subtitle}"
    content = _Content(one_line(plot.title), subtitle, plot.x, plot.y, curves, _looks(curves))
    return _with_names(content, _Pen(measure)) or _with_key(content, _Pen(measure))


@dataclass
class _Pen:
    """Writes words."""

    measure: Measure
    words: list[Words] = field(default_factory=list)

    def write(
        self, text: str, x: float, baseline: float, size: float, colour: str,
        *, align: float = 0.0, bold: bool = False, group: str = "",
    ) -> None:  # fmt: skip
        """`x` is the left end of the text, its middle (align=0.5), or its right end (align=1)."""
        if text:
            width = self.measure(text, size, bold)
            self.words.append(Words(text, x - align * width, baseline, width, size, colour, bold, group))

    def place(self, find: Callable[..., Place | None], text: str, at: object, style: tuple[float, str, bool]
    ) -> Place | None:  # fmt: skip
        """Writes the lines of a text where `find` has room for it."""
        size, colour, bold = style
        lines, height = text.split("\n"), line_height(size)
        place = find(max(self.measure(line, size, bold) for line in lines), height * len(lines), at)
        if place is not None:
            for number, line in enumerate(lines, 1):
                baseline = place.box.top - number * height + DESCENT * size * POINT
                self.write(line, place.box.left, baseline, size, colour, bold=bold)
        return place


def _with_names(content: _Content, pen: _Pen) -> Drawing | None:
    """With a name beside each curve; None if one finds no room."""
    names = [curve.name for curve in content.curves]
    scale = _scale(content, Box(0.095 * WIDTH, BELOW, RIGHT, HEIGHT - ABOVE), name_margin(names))
    paper = _paper(content, scale)
    leaders = []
    for curve, look in zip(content.curves, content.looks, strict=True):
        # From the greatest load down to the middle, where the curves are furthest apart.
        spots = scale.pixels(curve.means)[::-1]
        spots = spots[: len(spots) // 2 + 1]
        place = pen.place(paper.place_name, fold(curve.name), spots, (NAME_SIZE, look.colour, True))
        if place is None:
            return None
        leaders += [_leader(place, look.colour)] if place.far else []
    return _finish(content, pen, scale, paper, (HEIGHT, leaders, []))


def _with_key(content: _Content, pen: _Pen) -> Drawing:
    """With a key below the axes: two columns, or one if the names are too long for two."""
    names = [curve.name for curve in content.curves]
    beside = HANDLE + 2 * GAP
    widest = max(pen.measure(name, KEY_SIZE, False) for name in names)
    columns = 2 if LEFT + 2 * (beside + widest) + GAP <= WIDTH else 1
    rows = -(-len(names) // columns)
    room = (rows + 0.5) * ROW
    scale = _scale(content, Box(0.095 * WIDTH, BELOW + room, RIGHT, HEIGHT + room - ABOVE), 0.05)
    longest = WIDTH - LEFT - beside  # of a name in pixels
    key = []
    for place, (name, look) in enumerate(zip(names, content.looks, strict=True)):
        left = LEFT + place // rows * (beside + widest + GAP)
        middle = (rows - place % rows) * ROW
        line = np.array([[left, middle], [left + HANDLE, middle]])
        key.append(Line(name, line, line.mean(axis=0, keepdims=True), look, in_axes=False))
        fitting = cut(name, int(len(name) * longest / max(longest, widest)))
        pen.write(fitting, left + HANDLE + GAP, middle - 0.35 * KEY_SIZE * POINT, KEY_SIZE, INK)
    return _finish(content, pen, scale, _paper(content, scale), (HEIGHT + room, [], key))


def _finish(
    content: _Content, pen: _Pen, scale: Scale, paper: Paper, rest: tuple[float, list[Segments], list[Line]]
) -> Drawing:
    height, leaders, key = rest
    lines = []
    for curve, look in zip(content.curves, content.looks, strict=True):
        points = scale.pixels(curve.means)
        lines.append(Line(curve.name, points, points, look))
        _write_loads(pen, paper, curve.loads, points, look.colour)
    ringed = [curve.means[curve.ringed] for curve in content.curves if content.rings]
    grid, ticks = _write_ticks(pen, scale)
    _write_around(pen, content, scale, height)
    box = scale.box
    return Drawing(
        width=WIDTH,
        height=height,
        scale=scale,
        grid=Segments(grid, PALE, 0.8),
        bars=tuple(
            Segments(scale.pixels(curve.intervals), look.colour, 1.2, opacity=0.8, in_axes=True)
            for curve, look in zip(content.curves, content.looks, strict=True)
            if len(curve.intervals)
        ),
        lines=tuple(lines),
        edges=Segments(
            _segments([[box.left, box.bottom, box.right, box.bottom], [box.left, box.bottom, box.left, box.top]]),
            EDGE,
            0.8,
        ),
        ticks=Segments(ticks, INK, 0.8),
        rings=scale.pixels(np.concatenate(ringed)) if ringed else np.empty((0, 2)),
        leaders=tuple(leaders),
        words=tuple(pen.words),
        key=tuple(key),
    )


def _scale(content: _Content, box: Box, margin: float) -> Scale:
    """Both axes end beyond all intervals; x also leaves a `margin`, a share of its width."""
    ends = [(curve.means + curve.half_widths).max(axis=0) for curve in content.curves]
    right, top = np.max(ends, axis=0).tolist()
    return Scale(box, (right or 1.0) / (1 - margin), (top or 1.0) * HEADROOM)


def _paper(content: _Content, scale: Scale) -> Paper:
    """What the curves, their intervals and rings occupy."""
    paper = Paper(scale.box)
    for curve in content.curves:
        paper.draw_line(scale.pixels(curve.means))
        paper.draw_bars(scale.pixels(curve.intervals))
        if content.rings:
            paper.draw_rings(scale.pixels(curve.means[curve.ringed]))
    return paper


def _leader(place: Place, colour: str) -> Segments:
    start, end = np.array(place.spot), np.array(place.box.nearest(place.spot))
    short = (end - start) * SHRINK / math.dist(start, end)
    return Segments(np.array([[start + short, end - short]]), colour, 0.8)


def _write_loads(pen: _Pen, paper: Paper, loads: Sequence[str], points: npt.NDArray[np.float64], colour: str) -> None:
    """Writes each load beside its point. One without room is left out: its neighbours show about what it is."""
    for number, (spot, load) in enumerate(zip(points, loads, strict=True)):
        find = partial(paper.place_load, others=np.delete(points, number, axis=0))
        for text in dict.fromkeys((load, load.partition(" ")[0])):  # without its unit, if that leaves more room
            if pen.place(find, text, spot, (LOAD_SIZE, colour, False)):
                break


def _write_ticks(pen: _Pen, scale: Scale) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Writes the numbers along both axes; returns the lines of the grid and the ticks."""
    box, (most_x, most_y) = scale.box, MOST_STEPS
    grid, ticks = [], []
    for value in _tick_values(scale.right, most_x):
        x = box.left + value / scale.right * (box.right - box.left)
        grid.append([x, box.bottom, x, box.top])
        ticks.append([x, box.bottom, x, box.bottom - TICK])
        pen.write(_number(value), x, box.bottom - TICK - PAD - 0.76 * TICK_SIZE * POINT, TICK_SIZE, INK, align=0.5)
    for value in _tick_values(scale.top, most_y):
        y = box.bottom + value / scale.top * (box.top - box.bottom)
        grid.append([box.left, y, box.right, y])
        ticks.append([box.left, y, box.left - TICK, y])
        pen.write(_number(value), box.left - TICK - PAD, y - 0.38 * TICK_SIZE * POINT, TICK_SIZE, INK, align=1.0)
    return _segments(grid), _segments(ticks)


def _write_around(pen: _Pen, content: _Content, scale: Scale, height: float) -> None:
    """Writes the title, what was measured, the axes' names and how to read the figure."""
    rings = [RINGS] if content.rings else []
    numbers = f"numbers: {', '.join(dict.fromkeys(curve.load_name for curve in content.curves))}"
    hint = "      ".join([numbers, *rings, _direction(content.x, content.y)])
    pen.write(content.title, LEFT, height - 0.34 * INCH, 15, INK, bold=True, group=TITLE_ID)
    for number, line in enumerate(wrap(content.subtitle, 115)):
        pen.write(line, LEFT, height - 0.40 * INCH - (0.9 + 1.25 * number) * 9.5 * POINT, 9.5, FAINT)
    pen.write(content.y.label, LEFT, height - 0.96 * INCH, 12, INK)  # horizontal, so that people read it
    pen.write(hint, RIGHT, height - 0.96 * INCH, 10.5, FAINT, align=1.0)
    below = scale.box.bottom - 0.44 * INCH
    pen.write(content.x.label, (scale.box.left + scale.box.right) / 2, below, 12, INK, align=0.5)
    pen.write(_bars(content.curves), RIGHT, below, 10.5, FAINT, align=1.0)


def _direction(x: Axis, y: Axis) -> str:
    """The direction of better, as an arrow and in words."""
    up, left = not y.less_is_better, x.less_is_better
    arrow = {(True, True): "↖", (True, False): "↗", (False, True): "↙", (False, False): "↘"}[up, left]
    return f"{arrow} {'up' if up else 'down'} and {'left' if left else 'right'} is better"


def _bars(curves: Sequence[Curve]) -> str:
    """What the bars are; "" if there are none."""
    runs = pd.Series(np.concatenate([curve.runs for curve in curves]))
    return f"bars: 95 % interval, n = {count_range(runs)}" if runs.max() > 1 else ""


def _tick_values(end: float, most: int) -> list[float]:
    """From 0 to at most `end`, in at most that many equal steps that people count in."""
    least = end / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(each * power for each in STEPS if each * power >= least * (1 - 1e-9))
    return [count * step for count in range(math.floor(end / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:,.10g}" if value < 1e7 else f"{value:.3g}"


def _segments(ends: list[list[float]]) -> npt.NDArray[np.float64]:
    """Shape (n, 2, 2), from x, y, x, y of both ends."""
    return np.array(ends).reshape(-1, 2, 2)


def _looks(curves: Sequence[Curve]) -> list[Look]:
    """The look of each curve: colours by rank among the measured; ideals are grey."""
    ranks = iter(range(len(curves)))
    return [IDEAL if curve.ideal else _look(next(ranks)) for curve in curves]


def _look(rank: int) -> Look:
    colour, marker = COLOURS[rank % len(COLOURS)], MARKERS[rank % len(MARKERS)]
    return Look(colour, marker, STYLES[rank // len(COLOURS) % len(STYLES)])
