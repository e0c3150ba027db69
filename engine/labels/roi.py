"""Region: the union of a slide's regions of interest; pixels outside it do not count anywhere.

A pixel is inside when its centre is, by the rule of `raster.py`: the same for labels, heat maps and evaluation.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import shapely

from ..tiles import TILE, TilePyramid
from .raster import Polygons, raster
from .shapes import areal_parts, polygon_rings

if TYPE_CHECKING:
    from .marks import Mark
    from .store import LabelStore

Rings = list[np.ndarray]
_FINE = 4  # sub-pixels along the side of a coarse pixel at which shares are measured
_KEPT = 64  # maps of shares kept for who asks again: a heat map is written while it grows


class Region:
    """Where a slide counts.

    polygons : each a list of float64 (N, 2) rings in level-0 pixels: outer ring, then holes; their union counts.
    """

    def __init__(self, polygons: Sequence[Rings]) -> None:
        self.polygons = [[np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings] for rings in polygons]
        self._shape = Polygons([(rings, "evenodd") for rings in self.polygons])
        self._shares: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom), level-0 pixels."""
        return self._shape.bounds

    @cached_property
    def _geometry(self) -> shapely.Geometry:
        parts = [
            shapely.make_valid(shapely.Polygon(rings[0], rings[1:]), method="structure") for rings in self.polygons
        ]
        union = shapely.union_all(parts)
        shapely.prepare(union)
        return union

    def outline(self) -> list[np.ndarray]:
        """Return the rings, float64 (N, 2), around all that is inside; by the even-odd rule they enclose it."""
        polygons = areal_parts(self._geometry)
        return [ring for polygon in polygons for ring in polygon_rings(polygon)]

    def mask(self, x: int, y: int, width: int, height: int, step: int = 1) -> np.ndarray:
        """Bool [height, width]: whether the level-0 pixel (x + c * step, y + r * step) is inside."""
        return raster(self._shape, x, y, width, height, step)

    def shares(self, base: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return which share of each coarse pixel is inside: read-only float32 [height, width].

        A coarse pixel (c, r) covers `base` x `base` level-0 pixels (a power of two) from (left + c, top + r) * base. From
        base 8 on every second of them is looked at, and so on.
        """
        key = (base, left, top, width, height)
        if key in self._shares:
            self._shares.move_to_end(key)
            return self._shares[key]
        rect = (left * base, top * base, width * base, height * base)
        if not self.touches(*rect) or self.covers(*rect):
            found = np.full((height, width), self.covers(*rect), np.float32)
        else:
            found = self._measured(base, left, top, width, height)
        found.flags.writeable = False
        self._shares[key] = found
        while len(self._shares) > _KEPT:
            self._shares.popitem(last=False)
        return found

    def _measured(self, base: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        step = max(1, base // _FINE)
        per = base // step
        found = np.zeros((height, width), np.float32)
        side = max(1, 2 * TILE // per)
        for y in range(0, height, side):
            for x in range(0, width, side):
                h, w = min(side, height - y), min(side, width - x)
                mask = self.mask((left + x) * base, (top + y) * base, w * per, h * per, step)
                if mask.any():
                    found[y : y + h, x : x + w] = mask.reshape(h, per, w, per).mean((1, 3))
        return found

    def samples(self, x: int, y: int, width: int, height: int, columns: int, rows: int) -> np.ndarray:
        """Bool [rows, columns]: which fields of a rectangle that is cut into rows and columns hold a pixel that is inside."""
        rect = (x, y, width, height)
        if self.covers(*rect):
            return np.ones((rows, columns), bool)
        mask = self.mask(x, y, width, height)
        down, across = (np.arange(n) * side // n for n, side in ((rows, height), (columns, width)))
        return np.logical_or.reduceat(np.logical_or.reduceat(mask, down, axis=0), across, axis=1)

    def touches(self, x: float, y: float, width: float, height: float) -> bool:
        """Whether any of a level-0 rectangle is inside; a shared edge alone is not."""
        rectangle = shapely.box(x, y, x + width, y + height)
        return bool(self._geometry.intersects(rectangle)) and not self._geometry.touches(rectangle)

    def holds(self, x: int, y: int, width: int, height: int) -> bool:
        """Whether any pixel of a level-0 rectangle is inside."""
        rect = (x, y, width, height)
        return self.touches(*rect) and (self.covers(*rect) or bool(self.mask(*rect).any()))

    def covers(self, x: float, y: float, width: float, height: float) -> bool:
        """Whether all of a level-0 rectangle is inside."""
        return bool(self._geometry.covers(shapely.box(x, y, x + width, y + height)))

    def digest(self) -> str:
        """A hash of the region: the same for the same polygons."""
        digest = hashlib.sha256()
        for rings in sorted(self.polygons, key=lambda rings: rings[0].tobytes()):
            for ring in rings:
                digest.update(f"/{len(ring)}:".encode() + ring.tobytes())
        return digest.hexdigest()


def region_of(marks: Sequence[Mark]) -> Region | None:
    """Return the union of marks of the kind "roi"; None when there are none."""
    polygons = [mark.rings for mark in marks if mark.kind == "roi"]
    return Region(polygons) if polygons else None


class Clipped:
    """A label store as it looks to those for whom only what lies inside its region counts: all else is unlabelled.

    Offers what reading takes: `tile`, `uniform`, `keys`, `region`, `level_size` and the facts of the pyramid.
    """

    def __init__(self, store: TilePyramid, region: Region) -> None:
        self.source, self.inside = store, region
        self.path, self.width, self.height, self.base, self.levels = (
            store.path, store.width, store.height, store.base, store.levels,
        )  # fmt: skip

    def level_size(self, level: int) -> tuple[int, int]:
        return self.source.level_size(level)

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        span = TILE * (self.base << level)
        return [
            (row, column)
            for row, column in self.source.keys(level)
            if self.inside.touches(column * span, row * span, span, span)
        ]

    def uniform(self, level: int, row: int, column: int) -> int | None:
        span = TILE * (self.base << level)
        rect = (column * span, row * span, span, span)
        if not self.inside.touches(*rect):
            return 0
        value = self.source.uniform(level, row, column)
        return value if not value or self.inside.covers(*rect) else None

    def tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        pixels = self.source.tile(level, row, column)
        if pixels is None:
            return None
        step = self.base << level
        pixels = np.where(self.inside.mask(column * TILE * step, row * TILE * step, TILE, TILE, step), pixels, 0)
        pixels.flags.writeable = False
        return pixels if pixels.any() else None

    def region(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        pixels = self.source.region(level, x, y, width, height)
        step = self.base << level
        return np.where(self.inside.mask(x * step, y * step, width, height, step), pixels, 0).astype(np.uint8)


def inside(store: LabelStore) -> TilePyramid:
    """Return the labels of a store as far as they count: inside its regions of interest, or all where it has none."""
    region = store.roi()
    return store if region is None else cast("TilePyramid", Clipped(store, region))


def counted_areas(store: LabelStore) -> dict[int, int]:
    """Return the level-0 pixels of each label that count: as `LabelStore.areas`, without what lies outside the region."""
    region = store.roi()
    if region is None:
        return store.areas()
    store.flush()
    clipped = Clipped(store, region)
    total = np.zeros(256, np.int64)
    for row, column in clipped.keys(0):
        value = clipped.uniform(0, row, column)
        tile = clipped.tile(0, row, column) if value is None else None
        if tile is not None:
            total += np.bincount(tile.ravel(), minlength=256)
        elif value:
            w, h = min(TILE, store.width - column * TILE), min(TILE, store.height - row * TILE)
            total[value] += w * h
    return {int(label): int(total[label]) for label in np.flatnonzero(total) if label}
