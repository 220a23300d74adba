"""What is drawn where on a figure, in pixels at DPI from the lower left: data that `vbench.analysis.figures` draws.

It knows neither runs nor matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vbench.analysis.placement import Box

if TYPE_CHECKING:
    import numpy.typing as npt

DPI = 150
POINT = DPI / 72  # pixels of a point, the unit of fonts and line widths
HEIGHT, DESCENT = 1.1, 0.2  # of a line of text, and its part below the baseline, as multiples of its font's size


class Look(NamedTuple):
    """How a curve looks; widths and sizes in points, dashes in line widths (on, off, …)."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()
    width: float = 2.0
    size: float = 6.0
    face: str = ""  # of the marker; "" fills it with the colour
    edge: str = "white"
    edge_width: float = 0.5


class Line(NamedTuple):
    """A curve with a marker at each point; one in the key has two ends and a marker between them."""

    name: str
    points: npt.NDArray[np.float64]  # (n, 2)
    marks: npt.NDArray[np.float64]  # (m, 2)
    look: Look
    in_axes: bool = True  # nothing of it is drawn outside


class Segments(NamedTuple):
    """Straight lines of one look."""

    ends: npt.NDArray[np.float64]  # (n, 2, 2)
    colour: str
    width: float  # points
    opacity: float = 1.0
    in_axes: bool = False


class Words(NamedTuple):
    """One line of text."""

    text: str
    left: float
    baseline: float
    width: float
    size: float  # of its font, in points
    colour: str
    bold: bool = False
    group: str = ""  # the id of its element in an SVG

    @property
    def box(self) -> Box:
        """What the line takes, from below its lowest to above its highest letter."""
        bottom = self.baseline - DESCENT * self.size * POINT
        return Box(self.left, bottom, self.left + self.width, bottom + line_height(self.size))


@dataclass(frozen=True)
class Scale:
    """Where values lie: both axes begin at 0, in the lower left of the box, and end at `right` and `top`."""

    box: Box
    right: float
    top: float

    def pixels(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Shape (…, 2), from values of shape (…, 2)."""
        size = np.array([self.box.right - self.box.left, self.box.top - self.box.bottom])
        corner, ends = np.array([self.box.left, self.box.bottom]), np.array([self.right, self.top])
        return np.asarray(corner + values / ends * size)


@dataclass(frozen=True)
class Drawing:
    """All that is on one figure; later lists are drawn over earlier ones."""

    width: float
    height: float
    scale: Scale
    grid: Segments
    bars: tuple[Segments, ...]
    lines: tuple[Line, ...]
    edges: Segments  # the two axes
    ticks: Segments
    rings: npt.NDArray[np.float64]  # (n, 2): their centres
    leaders: tuple[Segments, ...]  # from a name to its point
    words: tuple[Words, ...]
    key: tuple[Line, ...] = ()


def line_height(size: float) -> float:
    """Pixels from one line of text to the next; `size` of the font in points."""
    return HEIGHT * size * POINT
