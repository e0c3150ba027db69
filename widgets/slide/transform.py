"""Where a place of the slide stands on the screen, and the way back: the one rule that all who draw or point follow.

Level-0 pixels of the slide: x right, y down; pixel (i, j) covers [i, i+1) x [j, j+1). Screen: device-independent pixels of
the view, x right, y down, from its upper left corner. The slide may be turned by any angle and be seen from behind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

Point = tuple[float, float]
Rect = tuple[float, float, float, float]  # x, y, width, height
Matrix = tuple[float, float, float, float]  # (a, b, c, d): (x, y) -> (a x + b y, c x + d y)


@lru_cache(maxsize=64)
def turning(rotation: float, mirrored: bool) -> Matrix:
    """The matrix that mirrors left and right where it is asked for, then turns clockwise by `rotation` degrees.

    It is exact for quarter turns, and its inverse is its transpose.
    """
    quarter, rest = divmod(rotation, 90.0)
    if rest == 0:
        cos, sin = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    else:
        cos, sin = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    return (-cos, -sin, -sin, cos) if mirrored else (cos, -sin, sin, cos)


def bounding(points: list[Point]) -> Rect:
    """The upright rectangle around points."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))


@dataclass(frozen=True)
class ViewTransform:
    """A view of a slide.

    Attributes
    ----------
    centre : level-0 point in the middle of the view.
    zoom : screen pixels per level-0 pixel.
    viewport : width and height of the view in screen pixels.
    rotation : degrees by which the slide is turned clockwise.
    mirrored : left and right are swapped before it is turned.
    """

    centre: Point
    zoom: float
    viewport: tuple[float, float]
    rotation: float = 0.0
    mirrored: bool = False

    @property
    def upright(self) -> bool:
        """Whether the slide lies as it was scanned: neither turned nor mirrored."""
        return not self.mirrored and self.rotation % 360 == 0

    @property
    def quarter(self) -> bool:
        """Whether the slide's pixels stand upright on the screen: turned by quarters only."""
        return self.rotation % 90 == 0

    @property
    def matrix(self) -> Matrix:
        """Level-0 directions to screen directions, without the zoom."""
        return turning(self.rotation, self.mirrored)

    def to_slide(self, x: float, y: float) -> Point:
        """Level-0 point under a point of the view."""
        a, b, c, d = turning(self.rotation, self.mirrored)
        x, y = (x - self.viewport[0] / 2) / self.zoom, (y - self.viewport[1] / 2) / self.zoom
        return self.centre[0] + (a * x + c * y), self.centre[1] + (b * x + d * y)

    def to_view(self, x: float, y: float) -> Point:
        """Point of the view at a level-0 point."""
        a, b, c, d = turning(self.rotation, self.mirrored)
        x, y = x - self.centre[0], y - self.centre[1]
        return (
            (a * x + b * y) * self.zoom + self.viewport[0] / 2,
            (c * x + d * y) * self.zoom + self.viewport[1] / 2,
        )

    def slide_vector(self, dx: float, dy: float) -> Point:
        """A way on the screen as a way on the slide, in level-0 pixels."""
        a, b, c, d = self.matrix
        return (a * dx + c * dy) / self.zoom, (b * dx + d * dy) / self.zoom

    def slide_rect(self, rect: Rect) -> Rect:
        """The upright level-0 rectangle around a rectangle of the view."""
        return bounding([self.to_slide(*corner) for corner in corners(rect)])

    def view_rect(self, rect: Rect) -> Rect:
        """The upright rectangle of the view around a level-0 rectangle."""
        return bounding([self.to_view(*corner) for corner in corners(rect)])

    def in_sight(self, rect: Rect, margin: float = 0.0) -> bool:
        """Whether an upright level-0 rectangle that touches `slide_rect` of the view reaches into the view itself.

        `margin` widens the view on each side, in screen pixels.
        """
        x, y, width, height = self.view_rect(rect)
        return (
            x < self.viewport[0] + margin
            and y < self.viewport[1] + margin
            and x + width > -margin
            and y + height > -margin
        )

    def size_of(self, width: float, height: float) -> tuple[float, float]:
        """Width and height that a level-0 rectangle takes on the screen at zoom 1."""
        a, b, c, d = (abs(value) for value in self.matrix)
        return a * width + b * height, c * width + d * height


def corners(rect: Rect) -> list[Point]:
    """The four corners of a rectangle, all the way round."""
    x, y, width, height = rect
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
