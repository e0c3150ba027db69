"""Merges the maps of overlapping tiles into one heat map, in chunks, so that memory stays bounded on any slide.

Overlaps are averaged with a linear window (method card, section 5). A chunk is one tile of the pyramid: a sum and a weight for
each of its pixels, kept until all tiles that reach into it have come.

The outermost values of a tile rest on the network's padding and may be high on empty glass. Where a neighbour overlaps they
weigh next to nothing; beside glass there is no neighbour, and they would stand alone, as straight lines along the tile. So
what lies in the outer half of the overlap, has no neighbour and is not tissue counts as not computed (0). Tissue keeps its
value everywhere, and so does glass that is well inside a tile. Tile maxima and what training learns from are not touched.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from ...labels.roi import Region
from ...tiles import TILE, TilePyramid

WRITE_SECONDS = 0.3
LEAST_WEIGHT = 0.5  # of a place without tissue: below, only a tile's border speaks of it
OPEN_CHUNKS = 128  # kept in memory, 2 MiB each; those that wait longer for their last tile go to a temporary file

Tile = tuple[int, int, int]
Key = tuple[int, int]


@lru_cache(maxsize=256)
def resampling(offset: int, size: int, count: int, base: int) -> csr_array | None:
    """Return the matrix that turns `count` map samples of a tile into pixels of the heat map, along one axis.

    Each heat-map pixel is the mean of the samples it covers, weighted by how much of each it covers: exact for whole and
    fractional scales and places. None when samples and pixels are the same.

    Parameters
    ----------
    offset : level-0 px from the edge of the first heat-map pixel to the tile's edge, 0 <= offset < base.
    size : side of the tile, level-0 px.
    count : samples along that side.
    base : level-0 px per heat-map pixel.
    """
    pixels = math.ceil((offset + size) / base)
    if offset == 0 and count * base == size:
        return None
    left = np.arange(pixels)[:, None] * base - offset
    samples = np.arange(count)[None] * size / count
    covered = np.minimum(left + base, samples + size / count) - np.maximum(left, samples)
    covered = np.where(covered > 1e-6, covered, 0)
    return csr_array((covered / covered.sum(1, keepdims=True)).astype(np.float32))


@lru_cache(maxsize=256)
def ramp(offset: int, size: int, pixels: int, base: int, over: float) -> np.ndarray:
    """Return the weight of a tile's heat-map pixels along one axis, float32: rises linearly over `over` level-0 px from its edge.

    The other parameters are those of `resampling`; `pixels` are fewer than the tile covers where it reaches beyond the slide.
    """
    centre = (np.arange(pixels) + 0.5) * base - offset
    weight = np.clip(np.minimum(centre, size - centre) / over, 1e-3, 1.0).astype(np.float32)
    weight.setflags(write=False)
    return weight


class Merger:
    """Takes tile maps as they come and writes the heat map.

    Parameters
    ----------
    pyramid : uint8, 0 = not computed, v >= 1 means probability (v - 1) / 254.
    tiles : all tiles (x, y, size; level-0 px) that will be given to `add`.
    overlap : share of a tile over which its weight rises from its edge.
    tissue : bool mask [h, w] of the whole slide at any scale; None: all of it counts as tissue.
    region : where the slide counts; pixels of the heat map that lie outside get no value. None: everywhere.
    """

    def __init__(
        self,
        pyramid: TilePyramid,
        tiles: Sequence[Tile],
        overlap: float,
        tissue: np.ndarray | None = None,
        region: Region | None = None,
    ) -> None:
        self.pyramid, self.overlap, self.tissue, self.region = pyramid, overlap, tissue, region
        self._sums: OrderedDict[Key, np.ndarray] = OrderedDict()
        self._parked: set[Key] = set()
        self._left: dict[Key, int] = {}
        self._dirty: set[Key] = set()
        self._written = time.monotonic()
        self._disk: tempfile.TemporaryDirectory[str] | None = None
        for tile in tiles:
            for key in self._chunks(tile):
                self._left[key] = self._left.get(key, 0) + 1

    def __enter__(self) -> Merger:
        return self

    def __exit__(self, *_: object) -> None:
        if self._disk is not None:
            self._disk.cleanup()

    def add(self, tile: Tile, p: np.ndarray | None) -> None:
        """Take the map of a tile, float32 [h, w] in [0, 1]; None when it could not be read."""
        if p is not None:
            self._add(tile, p)
        for key in self._chunks(tile):
            self._left[key] -= 1

    def write(self, force: bool = False) -> list[tuple[int, int, int, int]]:
        """Write what is new, at most every `WRITE_SECONDS`; return the changed rectangles in level-0 px."""
        if not self._dirty or (not force and time.monotonic() - self._written < WRITE_SECONDS):
            return []
        changed = sorted(self._dirty)
        with self.pyramid.transaction():
            for row, column in changed:
                total, weight = self._chunk((row, column))
                p = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
                seen = weight > 0
                if self.tissue is not None:
                    seen &= (weight >= LEAST_WEIGHT) | self._tissue(row, column)
                if self.region is not None:
                    seen &= self.region.shares(self.pyramid.base, column * TILE, row * TILE, TILE, TILE) > 0
                self.pyramid.write(row, column, np.where(seen, np.rint(p * 254) + 1, 0).astype(np.uint8))
        for key in changed:
            if self._left[key] <= 0:
                self._sums.pop(key, None)
                self._parked.discard(key)
        self._dirty.clear()
        self._written = time.monotonic()
        span = TILE * self.pyramid.base
        return [(column * span, row * span, span, span) for row, column in changed]

    # ---- chunks -----------------------------------------------------------------------------------------------------

    def _rect(self, tile: Tile) -> tuple[int, int, int, int]:
        """First and one past the last heat-map pixel of a tile, inside the slide: x0, y0, x1, y1."""
        x, y, size = tile
        base = self.pyramid.base
        width, height = self.pyramid.level_size(0)
        return x // base, y // base, min(width, -(-(x + size) // base)), min(height, -(-(y + size) // base))

    def _chunks(self, tile: Tile) -> list[Key]:
        x0, y0, x1, y1 = self._rect(tile)
        rows, columns = range(y0 // TILE, (y1 - 1) // TILE + 1), range(x0 // TILE, (x1 - 1) // TILE + 1)
        return [(row, column) for row in rows for column in columns]

    def _tissue(self, row: int, column: int) -> np.ndarray:
        """Return where the pixels of a chunk are tissue, bool [512, 512]; beyond the slide its edge goes on."""
        assert self.tissue is not None
        picked = []
        sides = ((row, self.pyramid.height), (column, self.pyramid.width))
        for (first, side), count in zip(sides, self.tissue.shape):
            middle = (first * TILE + np.arange(TILE) + 0.5) * self.pyramid.base
            picked.append(np.minimum((middle * count / side).astype(int), count - 1))
        return self.tissue[np.ix_(*picked)]

    def _chunk(self, key: Key) -> np.ndarray:
        """Return the sum and the weight of a chunk, float32 [2, 512, 512]; the longest untouched ones go to disk."""
        if key in self._sums:
            self._sums.move_to_end(key)
            return self._sums[key]
        if key in self._parked:
            self._sums[key] = np.load(self._file(key), allow_pickle=False)
            self._parked.discard(key)
        else:
            self._sums[key] = np.zeros((2, TILE, TILE), np.float32)
        while len(self._sums) > OPEN_CHUNKS:
            old, values = self._sums.popitem(last=False)
            np.save(self._file(old), values, allow_pickle=False)
            self._parked.add(old)
        return self._sums[key]

    def _file(self, key: Key) -> Path:
        if self._disk is None:
            self._disk = tempfile.TemporaryDirectory(prefix="opsin-heat-")
        return Path(self._disk.name) / f"{key[0]}_{key[1]}.npy"

    def _add(self, tile: Tile, p: np.ndarray) -> None:
        x, y, size = tile
        x0, y0, x1, y1 = self._rect(tile)
        base = self.pyramid.base
        rows, columns = (resampling(v % base, size, n, base) for v, n in zip((y, x), p.shape))
        values = p if rows is None else rows @ p
        values = values if columns is None else (columns @ values.T).T
        over = max(self.overlap * size, base)
        down = ramp(y % base, size, y1 - y0, base, over)[:, None]
        across = ramp(x % base, size, x1 - x0, base, over)[None]
        for key in self._chunks(tile):
            top, left = key[0] * TILE, key[1] * TILE
            a, b, c, d = max(y0, top), min(y1, top + TILE), max(x0, left), min(x1, left + TILE)
            weight = down[a - y0 : b - y0] * across[:, c - x0 : d - x0]
            total, weights = self._chunk(key)[:, a - top : b - top, c - left : d - left]
            total += weight * values[a - y0 : b - y0, c - x0 : d - x0]
            weights += weight
            self._dirty.add(key)
