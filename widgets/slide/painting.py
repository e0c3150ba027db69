"""Label and heat tiles as pictures, and strokes drawn on them while the hand still moves.

A tile is coloured once, when it is read, never per frame. A live stroke is drawn right on the picture of the tile; when
the store has taken it over, the tile is marked stale and read again at the next frame. So there is no separate layer
that could flicker, and what is on screen after the commit is what is in the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPainterPath, QPen, QPolygonF

from ...engine.labels.pen import tapered
from ...engine.tiles import TILE, TilePyramid
from .hatching import grid, hatched

Key = tuple[int, int, int]  # level, row, column
Rect = tuple[float, float, float, float]  # x, y, width, height in level-0 pixels
Point = tuple[float, float]
KEPT = 64  # coloured tiles of 1 MB per layer; more where more are in sight at once


@dataclass
class Stroke:
    """A brush stroke in the making; points up to `submitted` are with the store already."""

    label: int
    radius: float  # level-0 pixels
    group: int
    text: str
    points: list[Point] = field(default_factory=list)
    radii: list[float] = field(default_factory=list)  # at each point, where a pen's pressure sets it; else empty
    submitted: int = 0

    def tail(self) -> list[Point]:
        """What the store does not have yet, with the last point it has, so that parts join."""
        return self.points[max(self.submitted - 1, 0) :] if self.submitted < len(self.points) else []

    def radius_of(self, count: int) -> float | list[float]:
        """The radius of the last `count` points, or of each of them."""
        return self.radii[len(self.radii) - count :] if self.radii else self.radius


def bounds(points: Sequence[Point], margin: float = 0.0) -> Rect:
    """The rectangle around points, `margin` wider on each side."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    left, top = min(xs) - margin, min(ys) - margin
    return (left, top, max(xs) + margin - left, max(ys) + margin - top)


class _Picture:
    """One coloured tile: `array` is uint32 [512, 512], None = nothing to draw; `image` looks at the same memory."""

    __slots__ = ("array", "image", "kept", "stale")

    def __init__(self) -> None:
        self.array: np.ndarray | None = None
        self.image: QImage | None = None
        self.kept: np.ndarray | None = None  # bool: pixels of locked classes, which live strokes leave alone
        self.stale = True

    def show(self, tile: np.ndarray | None, table: np.ndarray) -> None:
        """Colour a tile of values; None = empty."""
        if tile is None:
            self.array = self.image = None
            return
        np.take(table, tile, out=self.blank(), mode="clip")

    def blank(self) -> np.ndarray:
        """Make sure that there is a picture; what is in it is left as it is."""
        if self.array is None:
            self.image = QImage(TILE, TILE, QImage.Format.Format_ARGB32_Premultiplied)
            self.array = np.frombuffer(self.image.bits(), np.uint32).reshape(TILE, TILE)
        return self.array


class PyramidLayer:
    """Coloured tiles of a heat map, of pseudo labels or (see `LabelLayer`) of the user's labels."""

    def __init__(self, source: TilePyramid, table: np.ndarray) -> None:
        self.source = source
        self.base_level = source.base.bit_length() - 1
        self._table = table.astype(np.uint32)
        self._pictures: OrderedDict[Key, _Picture] = OrderedDict()
        self.kept = KEPT

    def level(self, k: int) -> int:
        """The pyramid level to draw where the slide is drawn with 2**k level-0 pixels per tile pixel."""
        return min(max(k - self.base_level, 0), self.source.levels - 1)

    def step(self, level: int) -> int:
        """Level-0 pixels per pixel of a level."""
        return self.source.base << level

    def set_table(self, table: np.ndarray) -> None:
        """New colours; tiles are coloured again when they are next drawn."""
        table = table.astype(np.uint32)
        if not np.array_equal(table, self._table):
            self._table = table
            self.invalidate()

    def invalidate(self, rect: Rect | None = None, keep: Container[Key] = ()) -> None:
        """Read again, when they are next drawn, the tiles that touch the rectangle (None = all) and are not in `keep`."""
        for key, picture in self._pictures.items():
            if (rect is None or self._touches(key, rect)) and key not in keep:
                picture.stale = True

    def _touches(self, key: Key, rect: Rect) -> bool:
        size = self.step(key[0]) * TILE
        x, y = key[2] * size, key[1] * size
        return rect[0] <= x + size and rect[0] + rect[2] >= x and rect[1] <= y + size and rect[1] + rect[3] >= y

    def keys(self, level: int, rect: Rect) -> list[Key]:
        """The tiles of a level that touch a rectangle."""
        size = self.step(level) * TILE
        width, height = self.source.level_size(level)
        columns, rows = -(-width // TILE), -(-height // TILE)
        first_row, last_row = max(0, int(rect[1] // size)), min(rows - 1, int((rect[1] + rect[3]) // size))
        first_column = max(0, int(rect[0] // size))
        last_column = min(columns - 1, int((rect[0] + rect[2]) // size))
        return [
            (level, row, column)
            for row in range(first_row, last_row + 1)
            for column in range(first_column, last_column + 1)
        ]

    def ready(self, key: Key) -> bool:
        """Whether `image` costs nothing."""
        picture = self._pictures.get(key)
        return picture is not None and not picture.stale

    def old_image(self, key: Key) -> QImage | None:
        """The picture as it was last drawn, perhaps out of date."""
        picture = self._pictures.get(key)
        return None if picture is None else picture.image

    def image(self, key: Key) -> QImage | None:
        """The picture of a tile, up to date; None when it is empty."""
        return self._picture(key).image

    def _picture(self, key: Key) -> _Picture:
        picture = self._pictures.get(key)
        if picture is None:
            picture = self._pictures[key] = _Picture()
            while len(self._pictures) > self.kept:
                self._pictures.popitem(last=False)
        else:
            self._pictures.move_to_end(key)
        if picture.stale:
            self._read(key, picture)
        return picture

    def _read(self, key: Key, picture: _Picture) -> None:
        tile = self.source.tile(*key)
        picture.stale = False
        picture.show(tile, self._table)


class LabelLayer(PyramidLayer):
    """The user's labels, with what is being painted."""

    def __init__(self, source: TilePyramid, table: np.ndarray) -> None:
        super().__init__(source, table)
        self.protected: frozenset[int] = frozenset()
        self._patterns: tuple[int, ...] = ()  # the labels that have one, in order; none while nothing is hatched
        self._hatched: np.ndarray | None = None  # colours by label and place, see `hatching.py`
        self.live: Stroke | None = None

    def set_table(self, table: np.ndarray) -> None:
        super().set_table(table)
        self._hatched = hatched(self._table, self._patterns) if self._patterns else None

    def set_hatch(self, on: bool, labels: Sequence[int]) -> None:
        """Tell labels apart by a pattern too, or by their colour alone."""
        patterns = tuple(labels) if on else ()
        if patterns != self._patterns:
            self._patterns = patterns
            self._hatched = hatched(self._table, patterns) if on else None
            self.invalidate()

    def color(self, label: int) -> QColor:
        """The colour of a label as it is drawn (with its opacity)."""
        value = int(self._table[label])
        alpha = value >> 24
        if not alpha:
            return QColor(0, 0, 0, 0)
        red, green, blue = (min(255, ((value >> shift & 255) * 255 + alpha // 2) // alpha) for shift in (16, 8, 0))
        return QColor(red, green, blue, alpha)

    def _read(self, key: Key, picture: _Picture) -> None:
        tile = self.source.tile(*key)
        picture.stale = False
        if self._hatched is None or tile is None:
            picture.show(tile, self._table)
        else:
            np.take(self._hatched, grid(tile), out=picture.blank())
        picture.kept = None
        if tile is not None and self.protected:
            kept = np.isin(tile, tuple(self.protected))
            picture.kept = kept if kept.any() else None
        if self.live is not None and (tail := self.live.tail()):
            for path, radius, rect in _pieces(tail, self.live.radius_of(len(tail))):
                if self._touches(key, rect):
                    self._draw(key, picture, self.live.label, rect, path, radius)

    def draw_stroke(
        self, points: Sequence[Point], radius: float | Sequence[float], label: int, keys: Iterable[Key]
    ) -> Rect:
        """Draw a piece of a stroke on those of `keys` it touches; return its level-0 rectangle.

        radius : of all points, or of each.
        """
        keys = list(keys)
        for path, wide, rect in _pieces(points, radius):
            for key in keys:
                if self._touches(key, rect):
                    self._draw(key, self._picture(key), label, rect, path, wide)
        return bounds(points, radius if isinstance(radius, float) else max(radius))

    def draw_polygon(self, rings: Sequence[Sequence[Point]], label: int, rule: str, keys: Iterable[Key]) -> Rect:
        """Fill rings on those of `keys` they touch; return their level-0 rectangle."""
        rect = bounds([point for ring in rings for point in ring])
        path = QPainterPath()
        for ring in rings:
            path.addPolygon(QPolygonF([QPointF(x, y) for x, y in ring]))
            path.closeSubpath()
        path.setFillRule(Qt.FillRule.WindingFill if rule == "nonzero" else Qt.FillRule.OddEvenFill)
        for key in keys:
            if self._touches(key, rect):
                self._draw(key, self._picture(key), label, rect, path)
        return rect

    def _draw(
        self, key: Key, picture: _Picture, label: int, rect: Rect, shape: QPainterPath | QPolygonF, radius: float = 0.0
    ) -> None:
        """Put the colour of `label` where the shape is, 0 clears: a filled path, or a polyline of some radius."""
        if picture.array is None:
            if not self._table[label]:
                return
            picture.blank()[:] = 0
        assert picture.array is not None and picture.image is not None
        step = self.step(key[0])
        left, top = key[2] * TILE * step, key[1] * TILE * step
        saved: np.ndarray | None = None
        if picture.kept is not None:
            x0, y0 = max(0, int((rect[0] - left) // step) - 1), max(0, int((rect[1] - top) // step) - 1)
            x1, y1 = int((rect[0] + rect[2] - left) // step) + 2, int((rect[1] + rect[3] - top) // step) + 2
            part, kept = picture.array[y0:y1, x0:x1], picture.kept[y0:y1, x0:x1]
            saved = part[kept]
        painter = QPainter(picture.image)
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
        width, height = self.source.level_size(key[0])
        painter.setClipRect(0, 0, width - key[2] * TILE, height - key[1] * TILE)
        painter.scale(1 / step, 1 / step)
        # A pixel of a coarse level is that of the first of its level-0 pixels: test there, as the store does.
        painter.translate((step - 1) / 2 - left, (step - 1) / 2 - top)
        color = self.color(label)
        radius = max(radius, step / 2)  # what is thinner than a pixel is seen all the same
        if isinstance(shape, QPainterPath):
            painter.fillPath(shape, color)
        elif shape.size() == 1:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(color)
            painter.drawEllipse(shape.first(), radius, radius)
        else:
            round_cap, round_join = Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin
            painter.setPen(QPen(color, 2 * radius, Qt.PenStyle.SolidLine, round_cap, round_join))
            painter.drawPolyline(shape)
        painter.end()
        if saved is not None:
            part[kept] = saved


def _pieces(points: Sequence[Point], radius: float | Sequence[float]) -> list[tuple[QPolygonF, float, Rect]]:
    """(line, radius, level-0 rectangle) of the pieces of one width that a stroke consists of."""
    if isinstance(radius, float):
        return [(_polyline(points), radius, bounds(points, radius))]
    found = []
    for piece in tapered(np.array(points), np.array(radius)):
        line = [(float(x), float(y)) for x, y in piece.points]
        found.append((_polyline(line), piece.radius, bounds(line, piece.radius)))
    return found


def _polyline(points: Sequence[Point]) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in points])
