"""Connected regions of label pixels: found over tiles, grown, shrunk, with their holes; never dense, whatever their size.

Pixels belong together when they share an edge, and a region is one of a single label value (0, unlabelled, too). All
functions are slow where regions are large and belong into a thread; `cancelled` is asked often and ends them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ..errors import LabelError
from ..tiles import TILE, TilePyramid
from .runs import Runs

MOST_RUNS = 8_000_000  # about 200 MB
_REACH = 1024  # level-0 pixels that one pass grows
_BLOCK = 2048
_NUMBERED = 64  # tiles whose numbered parts are kept: 1 MB each
_SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # (row, column) of the neighbours
_OPEN = "The unlabelled place reaches the edge of the slide: there is no closed outline around it to fill."
Cancelled = Callable[[], bool]
Bits = np.ndarray | None  # which pixels along a tile's side; None = all


class Stopped(LabelError):
    """The user gave up."""

    def __init__(self) -> None:
        super().__init__("Stopped; nothing was changed.")


def never() -> bool:
    """Nobody gives up."""
    return False


def connected(labels: TilePyramid, x: int, y: int, cancelled: Cancelled = never, closed: bool = False) -> Runs:
    """Return the connected region of one label value around a level-0 pixel.

    Parameters
    ----------
    closed : refuse a region that touches the edge of the slide.

    Raises
    ------
    LabelError : the pixel is not on the slide, the region is too ragged to be held, or (see `closed`) not enclosed.
    """
    if not (0 <= x < labels.width and 0 <= y < labels.height):
        raise LabelError("That place is not on the slide.")
    return _Flood(labels, x, y, cancelled, closed).run()


class _Flood:
    """One flood over tiles: in each, the parts that neighbours lead into are taken, and lead on from there."""

    def __init__(self, labels: TilePyramid, x: int, y: int, cancelled: Cancelled, closed: bool) -> None:
        self.labels, self.cancelled, self.closed = labels, cancelled, closed
        self.rows, self.columns = -(-labels.height // TILE), -(-labels.width // TILE)
        self.whole: set[tuple[int, int]] = set()  # tiles of one value: taken as they are
        self.taken: dict[tuple[int, int], np.ndarray] = {}  # bool per numbered part of a tile
        self.numbered: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self.found: list[Runs] = []
        self.count = 0
        self.todo: deque[tuple[int, int, tuple[int, int], Bits]] = deque()
        row, column = y // TILE, x // TILE
        tile = labels.tile(0, row, column)
        self.value = 0 if tile is None else int(tile[y % TILE, x % TILE])
        value = labels.uniform(0, row, column)
        if value is not None:
            self._take_whole(row, column)
        else:
            self._take(row, column, self._numbers(row, column)[y % TILE, x % TILE].reshape(1))

    def run(self) -> Runs:
        while self.todo:
            if self.cancelled():
                raise Stopped
            row, column, side, bits = self.todo.popleft()
            if (row, column) in self.whole:
                continue
            value = self.labels.uniform(0, row, column)
            if value is not None:
                if value == self.value:
                    self._take_whole(row, column)
                continue
            edge = _side(self._numbers(row, column), (-side[0], -side[1]))
            self._take(row, column, np.unique(edge if bits is None else edge[bits[: len(edge)]]))
        return Runs.joined([*self.found, *self._rectangles()])

    def _size(self, row: int, column: int) -> tuple[int, int]:
        """Rows and columns of a tile that lie on the slide."""
        return min(TILE, self.labels.height - row * TILE), min(TILE, self.labels.width - column * TILE)

    def _numbers(self, row: int, column: int) -> np.ndarray:
        """The tile's pixels of the value, numbered by connected part: int32, 0 = other."""
        known = self.numbered.get((row, column))
        if known is None:
            tile = self.labels.tile(0, row, column)
            height, width = self._size(row, column)
            pixels = np.zeros((height, width), np.uint8) if tile is None else tile[:height, :width]
            inside = pixels == self.value
            known = cv2.connectedComponents(inside.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
            self.numbered[row, column] = known
            while len(self.numbered) > _NUMBERED:
                self.numbered.popitem(last=False)
        else:
            self.numbered.move_to_end((row, column))
        return known

    def _take_whole(self, row: int, column: int) -> None:
        self.whole.add((row, column))
        for side in _SIDES:
            self._go_on(row, column, side, None)

    def _take(self, row: int, column: int, parts: np.ndarray) -> None:
        """Take parts of a tile that were not taken yet, and go on where they reach its sides."""
        numbers = self._numbers(row, column)
        taken = self.taken.get((row, column))
        if taken is None:
            taken = self.taken[row, column] = np.zeros(int(numbers.max()) + 1, bool)
        new = np.zeros_like(taken)
        new[parts] = True
        new[0] = False
        new &= ~taken
        if not new.any():
            return
        taken |= new
        mask = new[numbers]
        runs = Runs.of_mask(mask, column * TILE, row * TILE)
        self.found.append(runs)
        self.count += len(runs)
        if self.count > MOST_RUNS:
            raise LabelError("This region is too ragged to be worked on as a whole.")
        for side in _SIDES:
            bits = _side(mask, side)
            if bits.any():
                self._go_on(row, column, side, bits)

    def _go_on(self, row: int, column: int, side: tuple[int, int], bits: Bits) -> None:
        there = row + side[0], column + side[1]
        height, width = self._size(row, column)
        cut = (side == (1, 0) and height < TILE) or (side == (0, 1) and width < TILE)
        if cut or not (0 <= there[0] < self.rows and 0 <= there[1] < self.columns):
            if self.closed:
                raise LabelError(_OPEN)
            return
        self.todo.append((*there, side, bits))

    def _rectangles(self) -> list[Runs]:
        """The whole tiles, those side by side as one."""
        found = []
        by_row: dict[int, list[int]] = {}
        for row, column in self.whole:
            by_row.setdefault(row, []).append(column)
        for row, columns in by_row.items():
            places = np.sort(columns)
            for group in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                height = self._size(row, 0)[0]
                left, right = int(group[0]) * TILE, min((int(group[-1]) + 1) * TILE, self.labels.width)
                lines = np.arange(height) + row * TILE
                found.append(Runs(lines, np.full(height, left), np.full(height, right)))
        return found


def _side(tile: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """The pixels along one side of a tile."""
    if side[0]:
        return tile[0 if side[0] < 0 else -1]
    return tile[:, 0 if side[1] < 0 else -1]


def grown(region: Runs, radius: float, width: int, height: int, cancelled: Cancelled = never) -> Runs:
    """Return all pixels of a slide of that size whose centre lies within `radius` of the centre of one of the region.

    Above 1,024 pixels it grows in passes, each of which may end up to a pixel early where the outline is slanted.
    """
    while radius > _REACH:
        region = grown(region, _REACH, width, height, cancelled)
        radius -= _REACH
    reach = int(np.floor(radius)) + 1
    left, top, right, bottom = region.box
    box = max(0, left - reach), max(0, top - reach), min(width, right + reach), min(height, bottom + reach)
    parts = [region]
    for x, y, wide, tall in _blocks(box, cancelled):
        mask = region.mask(x - reach, y - reach, wide + 2 * reach, tall + 2 * reach)
        inner = mask[reach : reach + tall, reach : reach + wide]
        if inner.all() or not mask.any():
            continue
        away = _distance(~mask)[reach : reach + tall, reach : reach + wide]
        parts.append(Runs.of_mask((away <= radius) & ~inner, x, y))
    return Runs.joined(parts)


def shrunk(region: Runs, radius: float, width: int, height: int, cancelled: Cancelled = never) -> Runs:
    """Return the pixels of a region whose centre is farther than `radius` from that of every pixel not of the region.

    The edge of the slide is no border: the tissue goes on there.
    """
    while radius > _REACH:
        region = shrunk(region, _REACH, width, height, cancelled)
        radius -= _REACH
    reach = int(np.floor(radius)) + 1
    parts = []
    for x, y, wide, tall in _blocks(region.box, cancelled):
        mask = region.mask(x - reach, y - reach, wide + 2 * reach, tall + 2 * reach)
        inner = mask[reach : reach + tall, reach : reach + wide].copy()
        if not inner.any():
            continue
        mask[: max(0, reach - y)] = True
        mask[max(0, height - (y - reach)) :] = True
        mask[:, : max(0, reach - x)] = True
        mask[:, max(0, width - (x - reach)) :] = True
        if not mask.all():
            inner &= _distance(mask)[reach : reach + tall, reach : reach + wide] > radius
        parts.append(Runs.of_mask(inner, x, y))
    return Runs.joined(parts)


def _blocks(box: tuple[int, int, int, int], cancelled: Cancelled) -> Iterator[tuple[int, int, int, int]]:
    """Yield (x, y, width, height) of the pieces of a box that are worked on one after another."""
    left, top, right, bottom = box
    for y in range(top, bottom, _BLOCK):
        for x in range(left, right, _BLOCK):
            if cancelled():
                raise Stopped
            yield x, y, min(_BLOCK, right - x), min(_BLOCK, bottom - y)


def _distance(away: np.ndarray) -> np.ndarray:
    """Distance of each true pixel to the nearest false one, float32, exact."""
    return cv2.distanceTransform(away.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
