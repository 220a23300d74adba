"""Finds room for names on a figure: near what they name and over nothing else. Pure geometry, in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

Spot = Any  # (x, y)
Boxes = Any  # array of shape (n, 4): left, bottom, right, top; in pixels
MARKER = 8.0  # half of the square that a marker takes
RING = 13.0  # half of the square that a ring takes
LINE = 3.0  # half of the width that a line takes
STEP = 4.0  # between the samples of a line
DIRECTIONS = (0, 45, 315, 90, 270, 135, 225, 180, 20, 340, 70, 290)  # degrees; right of the point is read most easily
BESIDE = (14, 18)  # pixels from a point: the nearest is clear of its ring
AWAY = (30, 48, 70, 96, 126, 160, 200, 250, 300, 360)  # from here on a thin line leads back to the point


@dataclass(frozen=True)
class Box:
    """A rectangle, in pixels from the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    def nearest(self, spot: Spot) -> tuple[float, float]:
        """The point of the box nearest to a spot."""
        return min(max(spot[0], self.left), self.right), min(max(spot[1], self.bottom), self.top)


@dataclass(frozen=True)
class Place:
    """Where a name stands, and what it names; a far name needs a line to it."""

    box: Box
    spot: Spot
    far: bool


@dataclass
class Paper:
    """What is occupied of the area within `edge`; grows with each name that is placed."""

    edge: Box
    occupied: Boxes = field(default_factory=lambda: np.empty((0, 4)))  # (n, 4): left, bottom, right, top

    def draw_line(self, points: npt.NDArray[np.float64]) -> None:
        """Marks a polyline and its markers as occupied."""
        self._occupy(_squares(points, MARKER))
        self.draw_bar(points)

    def draw_rings(self, points: npt.NDArray[np.float64]) -> None:
        """Marks rings around points as occupied."""
        self._occupy(_squares(points, RING))

    def draw_bar(self, points: npt.NDArray[np.float64]) -> None:
        """Marks a polyline without markers as occupied."""
        for start, end in pairwise(points):
            samples = np.linspace(start, end, max(2, int(math.dist(start, end) / STEP)))
            self._occupy(_squares(samples, LINE))

    def place_load(self, width: float, height: float, spot: Spot) -> Place | None:
        """Room for a load beside its point, or None."""
        return self._first(width, height, [spot], BESIDE)

    def place_name(self, width: float, height: float, spots: Sequence[Spot]) -> Place | None:
        """Room for a name: beside one of the spots, the earliest first; else away from the first, with a line to it."""
        return self._first(width, height, spots, BESIDE) or self._first(width, height, spots[:1], AWAY)

    def _first(self, width: float, height: float, spots: Sequence[Spot], radii: Sequence[int]) -> Place | None:
        for radius in radii:
            for spot in spots:
                for box in _candidate_boxes(spot, width, height, radius):
                    if self._free(box) and (radius in BESIDE or self._sees(box, spot)):
                        return self._put(box, spot)
        return None

    def _put(self, box: Box, spot: Spot) -> Place:
        self._occupy(_array(box))
        far = math.dist(box.nearest(spot), spot) > BESIDE[-1] + 1
        if far:
            self.draw_bar(np.array([box.nearest(spot), spot]))  # the line that leads back
        return Place(box, spot, far)

    def _free(self, box: Box) -> bool:
        return self._inside(box) and not _overlap(_array(box), self.occupied).any()

    def _inside(self, box: Box) -> bool:
        edge = self.edge
        across = box.left >= edge.left and box.right <= edge.right
        return across and box.bottom >= edge.bottom and box.top <= edge.top

    def _sees(self, box: Box, spot: Spot) -> bool:
        """Whether the line from the box to the spot crosses nothing except what is at the spot."""
        start = np.array(box.nearest(spot))
        samples = np.linspace(start, spot, max(2, int(math.dist(start, spot) / STEP)))
        clear = samples[np.hypot(*(samples - spot).T) > 2 * MARKER]
        return not _overlap(_squares(clear, 0.5)[:, None], self.occupied[None]).any()

    def _occupy(self, boxes: Boxes) -> None:
        self.occupied = np.concatenate([self.occupied, boxes])


def _candidate_boxes(spot: Spot, width: float, height: float, radius: float) -> Iterator[Box]:
    for degrees in DIRECTIONS:
        dx, dy = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        # The box's centre lies in the direction, its border at the radius.
        x = spot[0] + dx * radius + (dx if abs(dx) < 0.5 else math.copysign(1, dx)) * width / 2
        y = spot[1] + dy * radius + (dy if abs(dy) < 0.5 else math.copysign(1, dy)) * height / 2
        yield Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _array(box: Box) -> Boxes:
    return np.array([[box.left, box.bottom, box.right, box.top]])


def _squares(centres: npt.NDArray[np.float64], half: float) -> Boxes:
    """Shape (n, 4), from centres of shape (n, 2)."""
    return np.hstack([np.asarray(centres) - half, np.asarray(centres) + half])


def _overlap(one: Boxes, other: Boxes) -> Any:
    """Whether boxes (…, 4) overlap, broadcast over all axes but the last."""
    across = (one[..., 0] < other[..., 2]) & (other[..., 0] < one[..., 2])
    return across & (one[..., 1] < other[..., 3]) & (other[..., 1] < one[..., 3])
