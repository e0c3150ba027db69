"""Pixels as runs: the compact form of a region of any size, and set operations on it.

A region of five gigapixels has some 100,000 runs; nothing here ever makes it dense. `Runs` is a `raster.Shape`: it can be
painted and journalled like a stroke, and the pixels it paints are exactly its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .raster import EMPTY, Spans, ragged, union

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Runs:
    """Level-0 pixels, as runs of columns.

    row, start, end : int64 (N,); run i is the pixels [start, end) of its row. Sorted by row, then start; runs of one row
        neither overlap nor touch.
    """

    def __init__(self, row: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
        self.row, self.start, self.end = (np.asarray(part, np.int64) for part in (row, start, end))
        if len(self.row):
            left, right = float(self.start.min()), float(self.end.max())
            self.bounds = (left, float(self.row[0]), right - 0.5, float(self.row[-1]) + 0.5)
        else:
            self.bounds = (0.0, 0.0, 0.0, 0.0)
        self.vertices = 2 * len(self.row)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int((self.end - self.start).sum())

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom): columns [left, right), rows [top, bottom)."""
        if not len(self.row):
            return 0, 0, 0, 0
        return int(self.start.min()), int(self.row[0]), int(self.end.max()), int(self.row[-1]) + 1

    def contains(self, x: int, y: int) -> bool:
        """Whether the pixel in column x and row y belongs to it."""
        first, last = np.searchsorted(self.row, [y, y + 1])
        return bool(((self.start[first:last] <= x) & (self.end[first:last] > x)).any())

    def spans(self, y: int, rows: int, step: int = 1, within: tuple[int, int] | None = None) -> Spans:
        """See `raster.Shape`."""
        first, last = np.searchsorted(self.row, [y, y + rows * step])
        if first == last:
            return EMPTY
        row, start, end = self.row[first:last] - y, self.start[first:last], self.end[first:last]
        keep = np.ones(len(row), bool)
        if step > 1:
            keep &= row % step == 0
            row = row // step
        if within is not None:
            keep &= (end > within[0]) & (start < within[1])
        return Spans(row[keep], start[keep], end[keep])

    def mask(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Bool (height, width): the pixels from column x and row y on."""
        return self.spans(y, height, 1, (x, x + width)).mask(height, x, width)

    def __or__(self, other: Runs) -> Runs:
        return _combined(self, other, np.logical_or)

    def __and__(self, other: Runs) -> Runs:
        return _combined(self, other, np.logical_and)

    def __sub__(self, other: Runs) -> Runs:
        return _combined(self, other, lambda mine, its: mine & ~its)

    def holes(self) -> Runs:
        """The pixels that it encloses: they cannot reach the outside, not even diagonally."""
        if not len(self):
            return self
        left, top, right, bottom = self.box
        rows = np.arange(top - 1, bottom + 1)
        around = Runs(rows, np.full(len(rows), left - 1), np.full(len(rows), right + 1))
        beside = around - self
        group = beside.groups(diagonal=True)
        inside = group != group[0]
        return Runs(beside.row[inside], beside.start[inside], beside.end[inside])

    def groups(self, diagonal: bool = False) -> np.ndarray:
        """Number each run by its connected part: int32 (N,); pixels touch by an edge, or `diagonal`ly too."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        count = len(self.row)
        if not count:
            return np.zeros(0, np.int32)
        low = int(self.start.min())
        pitch = int(self.end.max()) - low + 2
        below = (self.row + 1) * pitch - low
        first = np.searchsorted(
            self.row * pitch + self.end - low, below + self.start, side="left" if diagonal else "right"
        )
        last = np.searchsorted(
            self.row * pitch + self.start - low, below + self.end, side="right" if diagonal else "left"
        )
        one, other = ragged(first, np.maximum(last - first, 0))
        graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
        return connected_components(graph, directed=False)[1]

    def pack(self) -> bytes:
        """Return it as bytes: three columns of little-endian int32, each as differences."""
        columns = (np.diff(self.row, prepend=0), np.diff(self.start, prepend=0), self.end - self.start)
        return np.concatenate(columns).astype("<i4").tobytes()

    @classmethod
    def unpack(cls, data: bytes) -> Runs:
        """The reverse of `pack`; `ValueError` when the bytes are none of its."""
        row, start, length = np.frombuffer(data, "<i4").reshape(3, -1).astype(np.int64)
        start = np.cumsum(start)
        return cls(np.cumsum(row), start, start + length)

    @classmethod
    def of_mask(cls, mask: np.ndarray, x: int = 0, y: int = 0) -> Runs:
        """The true pixels of bool (h, w), whose first pixel is column x of row y."""
        height, width = mask.shape
        edges = np.zeros((height, width + 2), np.int8)
        edges[:, 1:-1] = mask
        change = np.diff(edges, axis=1)
        row, start = np.nonzero(change > 0)
        end = np.nonzero(change < 0)[1]
        return cls(row + y, start + x, end + x)

    @classmethod
    def joined(cls, parts: Sequence[Runs]) -> Runs:
        """All pixels of many."""
        if not parts:
            return cls(*(np.zeros(0, np.int64),) * 3)
        joined = union(
            np.concatenate([p.row for p in parts]),
            np.concatenate([p.start for p in parts]),
            np.concatenate([p.end for p in parts]),
        )
        return cls(joined.row, joined.start, joined.end)


def _combined(one: Runs, other: Runs, rule: Rule) -> Runs:
    """The pixels for which `rule` (in the first, in the other) holds; it must not hold outside of both."""
    if not len(one) and not len(other):
        return one
    low = int(min(part.start.min() for part in (one, other) if len(part)))
    pitch = int(max(part.end.max() for part in (one, other) if len(part))) - low + 1
    # rows laid one after another; where a run begins or ends, and in which of the two
    places = np.concatenate([part.row * pitch + side - low for part in (one, other) for side in (part.start, part.end)])
    sizes = [len(one), len(one), len(other), len(other)]
    mine = np.repeat(np.array([1, -1, 0, 0], np.int8), sizes)
    its = np.repeat(np.array([0, 0, 1, -1], np.int8), sizes)
    order = np.argsort(places, kind="stable")
    places = places[order]
    last = np.flatnonzero(np.concatenate((places[1:] != places[:-1], [True])))
    on = rule(np.cumsum(mine[order], dtype=np.int64)[last] > 0, np.cumsum(its[order], dtype=np.int64)[last] > 0)
    places = places[last]
    begins = np.flatnonzero(on & ~np.concatenate(([False], on[:-1])))
    ends = np.flatnonzero(~on & np.concatenate(([False], on[:-1])))
    row = places[begins] // pitch
    return Runs(row, places[begins] - row * pitch + low, places[ends] - row * pitch + low)
