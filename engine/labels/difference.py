"""How the labels of two readers of one slide differ: numbers, places, and a picture of it; never dense, whatever the slide's size.

What lies outside a reader's regions of interest does not count; where both readers drew some, what lies in both counts.
Everything is found tile by tile at full resolution, in memory that depends on the width of the slide alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from ..errors import LabelError
from ..metrics.kappa import cohen_kappa
from ..tiles import TILE, TilePyramid, full
from .roi import Region
from .store import LabelStore

SAME, ONLY_FIRST, ONLY_SECOND, OTHER_CLASS = range(4)
MOST = 2000  # regions that are listed, the largest; of the others the number and area are known
_AREA, _LEFT, _TOP, _RIGHT, _BOTTOM, _X, _Y, _KINDS = range(8)  # of a part: what `_part` makes, three kinds at the end


@dataclass(frozen=True)
class Differing:
    """A connected region (by edges) in which the readers differ.

    Attributes
    ----------
    area : level-0 pixels. box : (left, top, right, bottom), level-0 pixels, right and bottom not included.
    x, y : a pixel of it. only_first, only_second, other_class : pixels of each kind; they sum up to `area`.
    """

    area: int
    box: tuple[int, int, int, int]
    x: int
    y: int
    only_first: int
    only_second: int
    other_class: int


@dataclass(frozen=True)
class Comparison:
    """What two readers' labels have in common.

    Attributes
    ----------
    table : int64 [256, 256], level-0 pixels by label of the first and of the second; [0, 0] is not counted.
    regions : where they differ, the largest first, at most `MOST`. more, more_area : number and pixels of the rest.
    """

    table: np.ndarray
    regions: tuple[Differing, ...]
    more: int
    more_area: int

    @property
    def labelled(self) -> int:
        """Pixels that either reader has labelled."""
        return int(self.table.sum())

    @property
    def differing(self) -> int:
        """Pixels on which the readers differ."""
        return int(self.table.sum() - np.trace(self.table))

    @property
    def values(self) -> list[int]:
        """The labels that occur."""
        used = self.table.sum(0) + self.table.sum(1)
        return [int(value) for value in np.flatnonzero(used) if value]

    def areas(self, value: int) -> tuple[int, int, int]:
        """Return the pixels of a label: of the first reader, of the second, of both."""
        return int(self.table[value].sum()), int(self.table[:, value].sum()), int(self.table[value, value])

    def dice(self, value: int) -> float | None:
        """Return Dice's coefficient of a label, 2 x both / (first + second); None where nobody has it."""
        first, second, both = self.areas(value)
        return 2 * both / (first + second) if first + second else None

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa over the pixels that either reader has labelled; "unlabelled" is a class of its own there."""
        return cohen_kappa(self.table)


def counted_regions(*stores: LabelStore) -> list[Region]:
    """Return the regions of interest that count: a pixel has to lie in all of them."""
    return [region for region in (store.roi() for store in stores) if region is not None]


class Difference:
    """Two label stores as one pyramid of `SAME`, `ONLY_FIRST`, `ONLY_SECOND`, `OTHER_CLASS`: to be drawn and searched.

    Parameters
    ----------
    regions : what counts, see `counted_regions`.
    plain : every difference is 1, so that a region of several kinds hangs together.
    """

    def __init__(
        self, first: TilePyramid, second: TilePyramid, regions: Sequence[Region] = (), plain: bool = False
    ) -> None:
        if (first.width, first.height) != (second.width, second.height):
            raise LabelError("The labels of the two readers are of slides of different sizes.")
        self.first, self.second, self.regions, self.plain = first, second, tuple(regions), plain
        self.path, self.width, self.height, self.base, self.levels = (
            first.path, first.width, first.height, first.base, first.levels,
        )  # fmt: skip

    def as_pyramid(self) -> TilePyramid:
        """Return this as what reading functions take."""
        return cast("TilePyramid", self)

    def level_size(self, level: int) -> tuple[int, int]:
        return self.first.level_size(level)

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        return sorted({*self.first.keys(level), *self.second.keys(level)})

    def refresh(self, rect: tuple[float, float, float, float] | None = None) -> None:
        """Nothing is kept here; the stores keep themselves up to date."""

    def _place(self, level: int, row: int, column: int) -> tuple[int, int, int]:
        step = self.base << level
        return column * TILE * step, row * TILE * step, step

    def uniform(self, level: int, row: int, column: int) -> int | None:
        one, other = self.first.uniform(level, row, column), self.second.uniform(level, row, column)
        if one is None or other is None:
            return None
        if one == other:
            return SAME
        x, y, step = self._place(level, row, column)
        rect = (x, y, TILE * step, TILE * step)
        if not all(region.touches(*rect) for region in self.regions):
            return SAME
        if not all(region.covers(*rect) for region in self.regions):
            return None
        return 1 if self.plain else ONLY_FIRST if other == 0 else ONLY_SECOND if one == 0 else OTHER_CLASS

    def tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Return uint8 [512, 512] of the kinds, None where nothing differs."""
        one, other = self.first.tile(level, row, column), self.second.tile(level, row, column)
        if one is other or (one is None and other is None):
            return None
        one, other = (full(0) if tile is None else tile for tile in (one, other))
        kinds = self.kinds(one, other)
        mask = self.counted(level, row, column)
        if mask is not None:
            kinds *= mask
        if not kinds.any():
            return None
        kinds.flags.writeable = False
        return kinds

    def region(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return uint8 [height, width] of the kinds of some pixels of a level, which lie on the slide."""
        kinds = self.kinds(
            self.first.region(level, x, y, width, height), self.second.region(level, x, y, width, height)
        )
        step = self.base << level
        for region in self.regions:
            kinds *= region.mask(x * step, y * step, width, height, step)
        return kinds

    def kinds(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return how each pixel of two tiles differs, whether or not it counts."""
        differs = one != other
        if self.plain:
            return differs.astype(np.uint8)
        return np.where(other == 0, ONLY_FIRST, np.where(one == 0, ONLY_SECOND, OTHER_CLASS)).astype(np.uint8) * differs

    def counted(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Return which pixels of a tile count: bool [512, 512], None for all."""
        x, y, step = self._place(level, row, column)
        mask = None
        for region in self.regions:
            if not region.covers(x, y, TILE * step, TILE * step):
                own = region.mask(x, y, TILE, TILE, step)
                mask = own if mask is None else mask & own
        return mask


def compare(difference: Difference) -> Iterator[float | Comparison]:
    """Compare two readers' labels: yields how far it is (0 … 1), often, and at last the `Comparison`.

    A generator for a background thread; whoever does not ask on has given up.
    """
    first, second = difference.first, difference.second
    table = np.zeros(256 * 256, np.int64)
    parts = _Parts()
    keys = difference.keys()
    row_before = -1
    for number, (row, column) in enumerate(keys):
        if row != row_before:
            parts.begin_row(row)
            row_before = row
        if number % 16 == 0:
            yield number / len(keys)
        height, width = min(TILE, first.height - row * TILE), min(TILE, first.width - column * TILE)
        values = first.uniform(0, row, column), second.uniform(0, row, column)
        if values[0] is not None and values[0] == values[1] and not difference.regions:
            table[values[0] * 257] += height * width
            continue
        one, other = (full(0) if t is None else t for t in (first.tile(0, row, column), second.tile(0, row, column)))
        pairs = one[:height, :width].astype(np.int32) * 256 + other[:height, :width]
        kinds = difference.kinds(one, other)[:height, :width]
        mask = difference.counted(0, row, column)
        if mask is not None:
            pairs, kinds = pairs * mask[:height, :width], kinds * mask[:height, :width]
        table += np.bincount(pairs.ravel(), minlength=len(table))
        if kinds.any():
            parts.add(row, column, kinds)
    parts.end()
    table[0] = 0
    found = sorted(parts.largest, key=lambda part: (-part[_AREA], part[_TOP], part[_LEFT]))
    yield Comparison(table.reshape(256, 256), tuple(_differing(p) for p in found), parts.more, parts.more_area)


def main_classes(difference: Difference, region: Differing) -> tuple[int, int]:
    """Return the labels that a region mostly has, of the first and of the second reader; 0 for unlabelled.

    Large regions are looked at in coarser levels, of which the box around the region has at most about 512 x 512 pixels.
    """
    pyramid = difference.as_pyramid()
    left, top, right, bottom = region.box
    level = 0
    while level < difference.levels - 1 and max(right - left, bottom - top) > TILE * difference.base << level:
        level += 1
    step = difference.base << level
    across, down = difference.level_size(level)
    x, y = min(left // step, across - 1), min(top // step, down - 1)
    width, height = max(1, min(-(-right // step), across) - x), max(1, min(-(-bottom // step), down) - y)
    differs = (pyramid.region(level, x, y, width, height) > 0).astype(np.uint8)
    numbers = cv2.connectedComponents(differs, connectivity=4)[1]
    number = numbers[min(region.y // step - y, height - 1), min(region.x // step - x, width - 1)]
    if not number:  # too small to be seen in that level
        level, x, y, width, height = 0, region.x, region.y, 1, 1
        inside = np.ones((1, 1), bool)
    else:
        inside = numbers == number
    one = difference.first.region(level, x, y, width, height)[inside]
    other = difference.second.region(level, x, y, width, height)[inside]
    pair = int(np.bincount(one.astype(np.int64) * 256 + other).argmax())
    return pair // 256, pair % 256


def _differing(part: tuple[int, ...]) -> Differing:
    left, top, right, bottom = part[_LEFT : _BOTTOM + 1]
    return Differing(part[_AREA], (left, top, right, bottom), part[_X], part[_Y], *part[_KINDS:])


class _Parts:
    """Joins the parts of regions that tiles are cut into. Tiles come row by row; only what reaches the row is kept open."""

    def __init__(self) -> None:
        self.largest: list[tuple[int, ...]] = []  # a heap, the smallest first
        self.more = self.more_area = 0
        self._open: dict[int, tuple[int, ...]] = {}  # by root
        self._parent: dict[int, int] = {}
        self._next = 1
        self._row = -2
        self._above: dict[int, np.ndarray] = {}  # column -> ids along the lower side of the tile in the row above
        self._below: dict[int, np.ndarray] = {}
        self._left: tuple[int, np.ndarray] = (-2, np.zeros(0, np.int64))  # column, ids along its right side

    def begin_row(self, row: int) -> None:
        """All tiles of the rows before were added."""
        self._above, self._below = (self._below if row == self._row + 1 else {}), {}
        self._row, self._left = row, (-2, np.zeros(0, np.int64))
        still = {self._root(int(id)) for ids in self._above.values() for id in np.unique(ids[ids > 0])}
        self._above = {column: self._roots(ids) for column, ids in self._above.items()}
        for root, part in self._open.items():
            if root not in still:
                self._finish(part)
        self._open = {root: self._open[root] for root in still}
        self._parent = {root: root for root in still}

    def end(self) -> None:
        """All tiles were added."""
        for part in self._open.values():
            self._finish(part)
        self._open.clear()

    def add(self, row: int, column: int, kinds: np.ndarray) -> None:
        """Add a tile, uint8 [h, w]."""
        count, numbers, stats, _ = cv2.connectedComponentsWithStats(
            (kinds > 0).view(np.uint8), connectivity=4, ltype=cv2.CV_32S
        )
        height, width = kinds.shape
        flat = numbers.ravel()
        place = np.zeros(count, np.int64)
        place[flat[::-1]] = np.arange(len(flat))[::-1]  # the last write is that of the first pixel
        by_kind = np.bincount(flat * 4 + kinds.ravel(), minlength=4 * count).reshape(count, 4)[:, 1:]
        x, y = column * TILE, row * TILE
        boxes = stats[:, [cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].astype(np.int64)
        boxes[:, 2:] += boxes[:, :2]
        reaches = (boxes[:, 0] == 0) | (boxes[:, 1] == 0) | (boxes[:, 2] == width) | (boxes[:, 3] == height)
        columns = (stats[:, cv2.CC_STAT_AREA, None], boxes + (x, y, x, y))
        parts = np.hstack((*columns, place[:, None] % width + x, place[:, None] // width + y, by_kind))
        ids = np.zeros(count, np.int64)
        for number in range(1, count):
            part = tuple(parts[number].tolist())
            if not reaches[number]:
                self._finish(part)
                continue
            ids[number] = id = self._next
            self._next += 1
            self._parent[id] = id
            self._open[id] = part
        sides = ids[numbers[0]], ids[numbers[:, 0]], ids[numbers[-1]], ids[numbers[:, -1]]
        if column in self._above:
            self._join(self._above[column][:width], sides[0])
        if self._left[0] == column - 1:
            self._join(self._left[1], sides[1])
        self._below[column] = sides[2]
        self._left = (column, sides[3])

    def _join(self, one: np.ndarray, other: np.ndarray) -> None:
        both = (one > 0) & (other > 0)
        for a, b in np.unique(np.stack((one[both], other[both])), axis=1).T.tolist():
            first, second = self._root(a), self._root(b)
            if first != second:
                self._parent[second] = first
                self._open[first] = _merged(self._open[first], self._open.pop(second))

    def _root(self, id: int) -> int:
        while self._parent[id] != id:
            self._parent[id] = self._parent[self._parent[id]]
            id = self._parent[id]
        return id

    def _roots(self, ids: np.ndarray) -> np.ndarray:
        values, places = np.unique(ids, return_inverse=True)
        return np.array([self._root(int(v)) if v else 0 for v in values], np.int64)[places]

    def _finish(self, part: tuple[int, ...]) -> None:
        dropped = part
        if len(self.largest) < MOST:
            heapq.heappush(self.largest, part)
            return
        dropped = heapq.heappushpop(self.largest, part)
        self.more += 1
        self.more_area += dropped[_AREA]


def _merged(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    box = (
        min(one[_LEFT], other[_LEFT]), min(one[_TOP], other[_TOP]),
        max(one[_RIGHT], other[_RIGHT]), max(one[_BOTTOM], other[_BOTTOM]),
    )  # fmt: skip
    kinds = (a + b for a, b in zip(one[_KINDS:], other[_KINDS:], strict=True))
    return (one[_AREA] + other[_AREA], *box, one[_X], one[_Y], *kinds)
