"""Finds room for names on a figure: near what they name and over nothing else. Pure geometry, in pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

Spot = Any  # (x, y)
Boxes = Any  # array of shape (n, 4): left, bottom, right, top; in pixels
MARKER = 8.0  # half of the square that a marker takes
RING = 13.0  # half of the square that a ring takes
LINE = 3.0  # half of the width that a line takes
STEP = 4.0  # between the samples of a line
DIRECTIONS = (0, 45, 315, 90, 270, 135, 225, 180, 20, 340, 70, 290)  # degrees; right of the point is read most easily
BESIDE = (14, 20)  # pixels from a point: clear of its ring beside and above it, and at a slant
AWAY = (30, 48, 70, 96, 126, 160, 200, 250, 300, 360)  # from here on a thin line leads back to the point
NOTHING = np.empty((0, 2))


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

    def overlaps(self, other: Box) -> bool:
        """Whether the two share an area."""
        across = self.left < other.right and other.left < self.right
        return across and self.bottom < other.top and other.bottom < self.top


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
    _parts: list[Boxes] = field(default_factory=list)

    def draw_line(self, points: npt.NDArray[np.float64]) -> None:
        """Marks a polyline and its markers as occupied."""
        self._occupy(_squares(points, MARKER))
        self.draw_bars(np.stack([points[:-1], points[1:]], axis=1))

    def draw_rings(self, points: npt.NDArray[np.float64]) -> None:
        """Marks rings around points as occupied."""
        self._occupy(_squares(points, RING))

    def draw_bars(self, ends: npt.NDArray[np.float64]) -> None:
        """Marks straight lines without markers as occupied: (n, 2, 2), the ends of each."""
        if len(ends):
            self._occupy(_squares(_sample(ends), LINE))

    def place_load(self, width: float, height: float, spot: Spot, others: Any) -> Place | None:
        """Room for a load beside its point, nearer to it than to any of `others`, shape (n, 2); or None."""
        return self._first(width, height, [spot], BESIDE, np.asarray(others, dtype=np.float64).reshape(-1, 2))

    def place_name(self, width: float, height: float, spots: Sequence[Spot]) -> Place | None:
        """Room for a name: beside one of the spots, the earliest first; else away from the first, with a line to it."""
        return self._first(width, height, spots, BESIDE) or self._first(width, height, spots[:1], AWAY)

    @property
    def occupied(self) -> Boxes:
        """Shape (n, 4): left, bottom, right, top."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        return self._parts[0] if self._parts else np.empty((0, 4))

    def _first(
        self, width: float, height: float, spots: Sequence[Spot], radii: Sequence[int], others: Any = NOTHING
    ) -> Place | None:
        for radius in radii:
            for spot in spots:
                boxes = _candidate_boxes(spot, width, height, radius)
                around = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
                near = self.occupied[_overlap(around, self.occupied)]
                free = self._inside(boxes) & ~_overlap(boxes[:, None], near[None]).any(axis=1)
                for each in boxes[free & _names_only(boxes, spot, others)]:
                    box = Box(*each.tolist())
                    if radius in BESIDE or self._sees(box, spot):
                        return self._put(box, spot)
        return None

    def _put(self, box: Box, spot: Spot) -> Place:
        self._occupy(np.array([[box.left, box.bottom, box.right, box.top]]))
        far = math.dist(box.nearest(spot), spot) > BESIDE[-1] + 1
        if far:
            self.draw_bars(np.array([[box.nearest(spot), spot]]))  # the line that leads back
        return Place(box, spot, far)

    def _inside(self, boxes: Boxes) -> Any:
        low, high = self._edges
        return (boxes[:, :2] >= low).all(axis=1) & (boxes[:, 2:] <= high).all(axis=1)

    @cached_property
    def _edges(self) -> tuple[Any, Any]:
        return np.array([self.edge.left, self.edge.bottom]), np.array([self.edge.right, self.edge.top])

    def _sees(self, box: Box, spot: Spot) -> bool:
        """Whether the line from the box to the spot crosses nothing except what is at the spot."""
        samples = _sample(np.array([[box.nearest(spot), spot]]))
        clear = samples[np.hypot(*(samples - spot).T) > 2 * MARKER]
        return not _overlap(_squares(clear, 0.5)[:, None], self.occupied[None]).any()

    def _occupy(self, boxes: Boxes) -> None:
        self._parts.append(boxes)


def _names_only(boxes: Boxes, spot: Spot, others: Any) -> Any:
    """Whether each box is nearer to its spot than to the others: beside a neighbour it would be read as that one's."""
    spots = np.concatenate([[spot], others])
    away = np.maximum(np.maximum(boxes[:, None, :2] - spots, spots - boxes[:, None, 2:]), 0.0)
    distances = np.hypot(away[..., 0], away[..., 1])
    return (distances[:, :1] < distances[:, 1:]).all(axis=1)


def _directions() -> tuple[Any, Any]:
    """Unit vectors (n, 2), and by which share of its size the centre of a box moves further along them."""
    radians = np.radians(DIRECTIONS)
    along = np.column_stack([np.cos(radians), np.sin(radians)])
    return along, np.where(np.abs(along) < 0.5, along, np.sign(along))


ALONG, BEYOND = _directions()


def _candidate_boxes(spot: Spot, width: float, height: float, radius: float) -> Boxes:
    # The box's centre lies in the direction, its border at the radius.
    half = np.array([width / 2, height / 2])
    centres = np.asarray(spot) + ALONG * radius + BEYOND * half
    return np.hstack([centres - half, centres + half])


def _sample(ends: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (m, 2) along straight lines (n, 2, 2), at most STEP apart, both ends among them."""
    lengths = np.hypot(*(ends[:, 1] - ends[:, 0]).T)
    counts = np.maximum(2, np.ceil(lengths / STEP).astype(int) + 1)
    line = np.repeat(np.arange(len(ends)), counts)
    place = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (place / (counts[line] - 1))[:, None]
    return np.asarray(ends[line, 0] * (1 - share) + ends[line, 1] * share)


def _squares(centres: npt.NDArray[np.float64], half: float) -> Boxes:
    """Shape (n, 4), from centres of shape (n, 2)."""
    return np.hstack([np.asarray(centres) - half, np.asarray(centres) + half])


def _overlap(one: Boxes, other: Boxes) -> Any:
    """Whether boxes (…, 4) overlap, broadcast over all axes but the last."""
    across = (one[..., 0] < other[..., 2]) & (other[..., 0] < one[..., 2])
    return across & (one[..., 1] < other[..., 3]) & (other[..., 1] < one[..., 3])
