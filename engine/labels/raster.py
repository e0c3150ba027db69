"""From vector operations to pixels: a pixel belongs to a shape when its centre lies inside it.

Rows are cut into spans of columns by exact tests that depend on the shape and the row alone, never on the window that
is asked for: one large window and many small ones, or a coarse level and every n-th pixel of level 0, agree in every
pixel. Coordinates are level-0 pixels; pixel (i, j) covers [i, i+1) x [j, j+1), so its centre is (i + 0.5, j + 0.5).
A centre exactly on a polygon's left or upper edge is in, on its right or lower edge out: neighbours that share an edge
share no pixel and leave none out. A centre exactly on a brush's rim is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..tiles import TILE

# Spans are first found a little too wide, then each end is tested exactly: far above the rounding of float64 at slide
# coordinates, far below what could move an end by a whole pixel.
_SLACK = 1e-9
_BYTES = np.uint64(0x0101010101010101)
_MOST = 1 << 20  # intervals per round, to bound memory


@dataclass(frozen=True)
class Spans:
    """Runs of pixels: `row` counts from the first row asked for, columns [start, end) are level-0 pixels.

    Sorted by row, then start; runs of one row neither overlap nor touch. All int64, shape (N,).
    """

    row: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def mask(self, rows: int, x: int, width: int, step: int = 1) -> np.ndarray:
        """Bool (rows, width): column c shows the level-0 column ``x + c * step``."""
        start, end = -((x - self.start) // step), -((x - self.end) // step)  # ceiling
        keep = (end > start) & (end > 0) & (start < width)
        # A running sum along each row of where runs begin and end, odd = inside: eight pixels at a time, as multiplying
        # a word by 0x0101... leaves in each byte the sum of those before it; then once more over the words.
        edges = np.zeros((rows, -(-width // 8) * 8), np.uint8)
        edges[self.row[keep], np.maximum(start[keep], 0)] += 1
        keep &= end < width
        edges[self.row[keep], end[keep]] += 1
        words = edges.view("<u8")
        words *= _BYTES
        odd = (words >> np.uint64(56)).astype(np.uint8) & 1
        before = np.bitwise_xor.accumulate(odd, axis=1)[:, :-1]
        words[:, 1:] += before * _BYTES
        edges &= 1
        return edges[:, :width].view(bool)

    def clipped(self, first: int, last: int) -> Spans:
        """The part within columns [first, last)."""
        start, end = np.maximum(self.start, first), np.minimum(self.end, last)
        keep = end > start
        return Spans(self.row[keep], start[keep], end[keep])

    def tiles(self) -> Iterator[tuple[int, Spans | None]]:
        """Yield (tile column, spans that touch it); None in place of spans when all TILE x TILE pixels are inside.

        For spans of TILE rows with columns >= 0.
        """
        if not len(self.row):
            return
        count = int((self.end.max() - 1) // TILE) + 1
        whole = np.zeros(count + 1, np.int64)
        first, last = -(-self.start // TILE), self.end // TILE
        across = last > first
        np.add.at(whole, first[across], 1)
        np.add.at(whole, last[across], -1)
        full = np.cumsum(whole)[:count] == TILE
        touched = np.zeros(count + 1, np.int64)
        np.add.at(touched, self.start // TILE, 1)
        np.add.at(touched, (self.end - 1) // TILE + 1, -1)
        for column in np.flatnonzero(np.cumsum(touched)[:count]).tolist():
            if full[column]:
                yield column, None
            else:
                near = (self.start < (column + 1) * TILE) & (self.end > column * TILE)
                yield column, Spans(self.row[near], self.start[near], self.end[near])


_NONE = np.zeros(0, np.int64)
EMPTY = Spans(_NONE, _NONE, _NONE)


class Shape(Protocol):
    """What can be painted."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in level-0 pixels; nothing outside is painted."""

    @property
    def vertices(self) -> int:
        """How many points it consists of."""

    def spans(self, y: int, rows: int, step: int = 1, within: tuple[int, int] | None = None) -> Spans:
        """Spans of the level-0 rows ``y, y + step, ...``; complete within the columns [within[0], within[1])."""


class Stroke:
    """All points within `radius` of a polyline: the union of the capsules around its segments.

    points : float64 (N, 2), x and y, N >= 1; one point makes a disc. radius : level-0 pixels.
    """

    def __init__(self, points: np.ndarray, radius: float) -> None:
        self.points = np.asarray(points, np.float64).reshape(-1, 2)
        self.radius = float(radius)
        self.vertices = len(self.points)
        low, high = self.points.min(axis=0) - self.radius, self.points.max(axis=0) + self.radius
        self.bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        a = self.points[:-1] if len(self.points) > 1 else self.points
        b = self.points[1:] if len(self.points) > 1 else self.points
        down = a[:, 1] <= b[:, 1]  # from the upper end to the lower one: a segment looks the same drawn either way
        self._a, self._b = np.where(down[:, None], a, b), np.where(down[:, None], b, a)

    def spans(self, y: int, rows: int, step: int = 1, within: tuple[int, int] | None = None) -> Spans:
        reach = self.radius + _SLACK
        first = np.ceil((self._a[:, 1] - reach - 0.5 - y) / step)
        last = np.floor((self._b[:, 1] + reach - 0.5 - y) / step)
        first, last = np.clip(first, 0, rows), np.clip(last, -1, rows - 1)
        use = last >= first
        if within is not None:
            use &= np.minimum(self._a[:, 0], self._b[:, 0]) - reach <= within[1]
            use &= np.maximum(self._a[:, 0], self._b[:, 0]) + reach >= within[0]
        which = np.flatnonzero(use)
        count = (last[which] - first[which]).astype(np.int64) + 1
        if not len(which):
            return EMPTY
        if count.sum() > _MOST and rows > 1:
            return _halves(self, y, rows, step, within)
        index, row = ragged(first[which].astype(np.int64), count)
        index = which[index]
        start, end = self._columns(self._a[index], self._b[index], y + row * step + 0.5)
        keep = end > start
        return union(row[keep], start[keep], end[keep])

    def _columns(self, a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and one past the last pixel of each segment's capsule on the row whose centre is at y = `centre`."""
        ax, (dx, dy) = a[:, 0], (b - a).T
        qa, qb = centre - a[:, 1], centre - b[:, 1]
        length2, radius2 = dx * dx + dy * dy, self.radius * self.radius
        wide = self.radius + _SLACK
        # x relative to a: the two round ends, then the rectangle between them as two strips cut by the row
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.sqrt((wide - np.abs(qa)) * (wide + np.abs(qa)))  # nan: the row misses this end
            left, right = -half, half
            half = np.sqrt((wide - np.abs(qb)) * (wide + np.abs(qb)))
            left, right = np.fmin(left, dx - half), np.fmax(right, dx + half)
            middle, half = qa * dx / dy, wide * np.sqrt(length2) / dy
            level = dy == 0
            low = np.where(level, np.where(np.abs(qa) <= wide, -np.inf, np.inf), middle - half)
            high = np.where(level, np.inf, middle + half)
            one, two = -qa * dy / dx, (length2 - qa * dy) / dx
            upright = dx == 0
            low = np.maximum(
                low, np.where(upright, np.where((qa >= 0) & (qb <= 0), -np.inf, np.inf), np.fmin(one, two))
            )
            high = np.minimum(high, np.where(upright, np.inf, np.fmax(one, two)))
        low, high = np.where(length2 > 0, low, np.inf), np.where(length2 > 0, high, -np.inf)
        crossed = low <= high
        left = np.fmin(left, np.where(crossed, low, np.nan))
        right = np.fmax(right, np.where(crossed, high, np.nan))
        missed = np.isnan(left)
        start = np.ceil(np.where(missed, 0.0, left) + ax - 0.5)
        end = np.floor(np.where(missed, -2.0, right) + ax - 0.5)

        def inside(column: np.ndarray) -> np.ndarray:
            px = column + 0.5 - ax
            along, cross, qx = px * dx + qa * dy, px * dy - qa * dx, px - dx
            near_a, near_b = px * px + qa * qa <= radius2, qx * qx + qb * qb <= radius2
            between = cross * cross <= radius2 * length2
            return np.where(along <= 0, near_a, np.where(along >= length2, near_b, between))

        start = start + ~inside(start)
        end = end - ~inside(end)
        end = np.where(missed, start - 1, end)
        return start.astype(np.int64), end.astype(np.int64) + 1


class Polygons:
    """The union of polygons, each a list of rings under its own fill rule.

    items : list of (rings, rule); a ring is float64 (N, 2), closed or not; rule is "evenodd" or "nonzero".
    """

    def __init__(self, items: Sequence[tuple[Sequence[np.ndarray], str]]) -> None:
        self.items = [([np.asarray(r, np.float64).reshape(-1, 2) for r in rings], rule) for rings, rule in items]
        rings = [ring for rings, _ in self.items for ring in rings if len(ring)]
        if not rings:
            rings = [np.zeros((1, 2))]
        points = np.concatenate(rings)
        low, high = points.min(axis=0), points.max(axis=0)
        self.bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        self.vertices = len(points)
        self._edges: tuple[np.ndarray, ...] | None = None

    def _sides(self) -> tuple[np.ndarray, ...]:
        """Every side from its upper to its lower end: x, y, dx, y of the end, direction, polygon; level ones left out."""
        if self._edges is None:
            tails, heads, owners = [np.zeros((0, 2))], [np.zeros((0, 2))], [_NONE]
            for number, (rings, _) in enumerate(self.items):
                for ring in rings:
                    if len(ring) >= 3:
                        tails.append(ring)
                        heads.append(np.roll(ring, -1, axis=0))
                        owners.append(np.full(len(ring), number, np.int64))
            a, b, owner = np.concatenate(tails), np.concatenate(heads), np.concatenate(owners)
            keep = a[:, 1] != b[:, 1]
            a, b, owner = a[keep], b[keep], owner[keep]
            down = (a[:, 1] < b[:, 1])[:, None]
            top, low = np.where(down, a, b), np.where(down, b, a)
            way = np.where(down[:, 0], 1, -1)
            self._edges = (top[:, 0], top[:, 1], low[:, 0] - top[:, 0], low[:, 1], way, owner)
        return self._edges

    def spans(self, y: int, rows: int, step: int = 1, within: tuple[int, int] | None = None) -> Spans:
        x0, y0, dx, y1, way, owner = self._sides()
        first = np.clip(np.ceil((y0 - 0.5 - y) / step), 0, rows)
        count = np.clip(np.ceil((y1 - 0.5 - y) / step), 0, rows) - first
        which = np.flatnonzero(count > 0)
        if not len(which):
            return EMPTY
        counts = count[which].astype(np.int64)
        if counts.sum() > _MOST and rows > 1:
            return _halves(self, y, rows, step, within)
        index, row = ragged(first[which].astype(np.int64), counts)
        index = which[index]
        top = y0[index]
        # product before quotient: exact where the crossing is a pixel centre
        crossing = x0[index] + (y + row * step + 0.5 - top) * dx[index] / (y1[index] - top)
        column = np.ceil(crossing - 0.5).astype(np.int64)
        if within is not None:
            column = np.clip(column, within[0], within[1])
        line = owner[index] * rows + row
        order = np.lexsort((column, line))
        line, column, index = line[order], column[order], index[order]
        # rings are closed, so each line starts and ends outside and one running sum serves all lines
        winding = np.cumsum(way[index])
        odd = (np.arange(1, len(column) + 1) & 1).astype(bool)
        nonzero = np.array([rule == "nonzero" for _, rule in self.items])[line // rows]
        inside = np.where(nonzero, winding != 0, odd)[:-1]
        keep = inside & (line[1:] == line[:-1]) & (column[1:] > column[:-1])
        return union(line[:-1][keep] % rows, column[:-1][keep], column[1:][keep])


def ragged(first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, value): for each i the values first[i], first[i] + 1, ..., count[i] of them."""
    index = np.repeat(np.arange(len(count)), count)
    offset = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    return index, first[index] + offset


def union(row: np.ndarray, start: np.ndarray, end: np.ndarray) -> Spans:
    """Sort runs and join those that overlap or touch."""
    if not len(row):
        return EMPTY
    low = int(start.min())
    pitch = int(end.max()) - low + 2  # rows laid one after another with a gap
    start, end = row * pitch + (start - low), row * pitch + (end - low)
    order = np.argsort(start)
    start, reach = start[order], np.maximum.accumulate(end[order])
    first = np.flatnonzero(np.concatenate(([True], start[1:] > reach[:-1])))
    start, end = start[first], reach[np.concatenate((first[1:] - 1, [len(reach) - 1]))]
    row = start // pitch
    return Spans(row, start - row * pitch + low, end - row * pitch + low)


def _halves(shape: Shape, y: int, rows: int, step: int, within: tuple[int, int] | None) -> Spans:
    """The same spans from two windows of half the height, for shapes that would need too much memory at once."""
    half = rows // 2
    upper = shape.spans(y, half, step, within)
    lower = shape.spans(y + half * step, rows - half, step, within)
    pairs = ((upper.row, lower.row + half), (upper.start, lower.start), (upper.end, lower.end))
    return Spans(*(np.concatenate(pair) for pair in pairs))


def raster(shape: Shape, x: int, y: int, width: int, height: int, step: int = 1) -> np.ndarray:
    """Bool (height, width): pixel (r, c) tells whether the centre of level-0 pixel (x + c*step, y + r*step) is inside."""
    left, top, right, bottom = shape.bounds
    if right < x or left > x + width * step or bottom < y or top > y + height * step:
        return np.zeros((height, width), bool)
    return shape.spans(y, height, step, (x, x + width * step)).mask(height, x, width, step)


def raster_stroke(points: np.ndarray, radius: float, x: int, y: int, w: int, h: int, step: int = 1) -> np.ndarray:
    """Bool mask (h, w) of a brush stroke; see `raster` for the window and `Stroke` for the shape."""
    return raster(Stroke(points, radius), x, y, w, h, step)


def raster_polygon(rings: Iterable[np.ndarray], rule: str, x: int, y: int, w: int, h: int, step: int = 1) -> np.ndarray:
    """Bool mask (h, w) of one polygon; rule "evenodd" or "nonzero"; see `raster` for the window."""
    return raster(Polygons([(list(rings), rule)]), x, y, w, h, step)
