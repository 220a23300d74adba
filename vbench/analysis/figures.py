"""Drawings to files. The only module of this room that imports matplotlib.

Names in a figure come from records and files of others: matplotlib reads none of them as mathematics. A drawing is
replayed through matplotlib's renderers, without its axes and text objects: they would take most of a report's time.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path
from matplotlib.transforms import Affine2D, Bbox

from vbench.analysis.arrangement import FAINT, arrange
from vbench.analysis.drawing import DPI, POINT, Drawing, Line, Segments, Words
from vbench.analysis.png import encode_png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vbench.analysis.plot import Plot

RING_SIZE, RING_WIDTH = 11.4, 1.1  # points


def draw(plot: Plot) -> Drawing:
    """Arranges what `render` will draw, with texts as wide as matplotlib writes them."""
    with _missing_glyphs():
        return arrange(plot, _measure)


def render(drawing: Drawing, path: Any, kind: str) -> None:
    """Writes the drawing as png or pdf to a path, as svg to a stream of text."""
    with _missing_glyphs():
        if kind == "png":
            renderer: Any = RendererAgg(drawing.width, drawing.height, DPI)  # type: ignore[no-untyped-call]
            _replay(drawing, renderer)
            path.write_bytes(encode_png(np.asarray(renderer.buffer_rgba()), DPI))
        elif kind == "svg":
            renderer = RendererSVG(drawing.width / POINT, drawing.height / POINT, path, image_dpi=DPI)  # type: ignore[no-untyped-call]
            _replay(drawing, renderer)
            renderer.finalize()
        else:
            _save(drawing, path, kind)


def _save(drawing: Drawing, path: Any, kind: str) -> None:
    """Writes the drawing in any other format that matplotlib has."""
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure  # the other formats do without it, in less time and memory

    class Replay(Artist):
        def draw(self, renderer: Any) -> None:
            _replay(drawing, renderer)

    figure = Figure(figsize=(drawing.width / DPI, drawing.height / DPI), dpi=DPI, facecolor="white")
    figure.add_artist(Replay())
    figure.savefig(path, format=kind)


@contextmanager
def _missing_glyphs() -> Iterator[None]:
    """A character that the font lacks is drawn as a box, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


@cache
def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(size=size, weight="bold" if bold else "normal")


@cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]


@cache
def _measure(text: str, size: float, bold: bool) -> float:
    """The width of a text in pixels. Measured once: loads are the same beside hundreds of points."""
    ruler: Any = _ruler()
    width, _, _ = ruler.get_text_width_height_descent(text, _font(size, bold), False)
    return float(width)


def _replay(drawing: Drawing, renderer: Any) -> None:
    """Draws the drawing on white with whatever renderer a format has."""
    pen = _Pen(renderer, drawing)
    pen.fill("white")
    pen.draw_segments(drawing.grid)
    for bars in drawing.bars:
        pen.draw_segments(bars)
    for line in (*drawing.lines, *drawing.key):
        pen.draw_line(line)
    pen.draw_segments(drawing.edges)
    pen.draw_segments(drawing.ticks)
    pen.draw_rings(drawing.rings)
    for leader in drawing.leaders:
        pen.draw_segments(leader)
    for words in drawing.words:
        pen.write(words)


class _Pen:
    """Pixels of a drawing to those of a renderer, whose resolution may be another."""

    def __init__(self, renderer: Any, drawing: Drawing) -> None:
        self.renderer = renderer
        self.point = renderer.points_to_pixels(1.0)
        self.scale = self.point / POINT
        self.transform = Affine2D().scale(self.scale)
        self.height = renderer.get_canvas_width_height()[1]
        box = drawing.scale.box
        corners = np.array([[box.left, box.bottom], [box.right, box.top]]) * self.scale
        self.axes = Bbox(corners)

    def fill(self, colour: str) -> None:
        gc = self._context(colour, 0.0, in_axes=False)
        size = Affine2D().scale(*self.renderer.get_canvas_width_height())
        self.renderer.draw_path(gc, Path.unit_rectangle(), size, to_rgba(colour))
        gc.restore()

    def draw_segments(self, segments: Segments) -> None:
        gc = self._context(segments.colour, segments.width, segments.in_axes, segments.opacity)
        codes = np.tile(np.array([Path.MOVETO, Path.LINETO], dtype=np.uint8), len(segments.ends))
        gc.set_snap(True)
        self.renderer.draw_path(gc, Path(segments.ends.reshape(-1, 2), codes), self.transform)
        gc.restore()

    def draw_line(self, line: Line) -> None:
        look = line.look
        gc = self._context(look.colour, look.width, line.in_axes)
        gc.set_joinstyle("round")
        gc.set_capstyle("butt" if look.dashes else "projecting")
        if look.dashes:
            gc.set_dashes(0, [each * look.width for each in look.dashes])
        self.renderer.draw_path(gc, Path(line.points), self.transform)
        gc.restore()
        marker = (look.marker, look.size, look.edge, look.edge_width, look.face or look.colour)
        self._draw_markers(line.marks, *marker, in_axes=line.in_axes)

    def draw_rings(self, centres: Any) -> None:
        if len(centres):
            self._draw_markers(centres, "o", RING_SIZE, FAINT, RING_WIDTH, "", in_axes=True)

    def write(self, words: Words) -> None:
        gc = self._context(words.colour, 1.0, in_axes=False)
        self.renderer.open_group("text", words.group or None)
        x, y = words.left * self.scale, words.baseline * self.scale
        y = self.height - y if self.renderer.flipy() else y
        self.renderer.draw_text(gc, x, y, words.text, _font(words.size, words.bold), 0.0)
        self.renderer.close_group("text")
        gc.restore()

    def _draw_markers(
        self, at: Any, marker: str, size: float, edge: str, edge_width: float, face: str, *, in_axes: bool
    ) -> None:
        style = MarkerStyle(marker)
        gc = self._context(edge, edge_width, in_axes)
        gc.set_joinstyle(style.get_joinstyle())
        gc.set_capstyle(style.get_capstyle())
        gc.set_snap(size >= (style.get_snap_threshold() or np.inf))
        shape = style.get_transform() + Affine2D().scale(size * self.point)
        fill = to_rgba(face) if face else None
        self.renderer.draw_markers(gc, style.get_path(), shape, Path(at), self.transform, fill)
        gc.restore()

    def _context(self, colour: str, width: float, in_axes: bool, opacity: float = 1.0) -> Any:
        gc = self.renderer.new_gc()
        gc.set_foreground(to_rgba(colour, opacity), isRGBA=True)
        gc.set_linewidth(width)
        if in_axes:
            gc.set_clip_rectangle(self.axes)
        return gc
