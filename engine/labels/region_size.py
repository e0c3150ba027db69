"""How large a labelled region is: area to the pixel, perimeter of its outline without the stairs of the pixels."""

from __future__ import annotations

from typing import cast

import numpy as np
import shapely

from ..tiles import TILE, TilePyramid
from .regions import Cancelled, connected, never
from .runs import Runs
from .trace import trace

STAIRS = 1.0  # level-0 pixels by which an outline may be straightened: all that pixels make of a straight line


def region_size(labels: TilePyramid, x: int, y: int, cancelled: Cancelled = never) -> tuple[int, float]:
    """Return area (level-0 pixels) and perimeter (pixel lengths, holes included) of the connected region at a pixel.

    The perimeter is that of the traced outline straightened within one pixel: exact for rectangles along the axes, for
    other outlines within about 2 % where they are large against a pixel.

    Raises
    ------
    LabelError : as `regions.connected`.
    """
    region = connected(labels, x, y, cancelled)
    lookup = np.zeros(256, bool)
    lookup[1] = True
    rings = [ring for rings in trace(cast("TilePyramid", _Tiles(region)), lookup) for ring in rings]
    lines = [shapely.LinearRing(ring) for ring in rings]
    return region.area, float(np.sum(shapely.length(shapely.simplify(lines, STAIRS))))


class _Tiles:
    """Runs of pixels as the tiles that tracing reads: 1 inside."""

    def __init__(self, region: Runs) -> None:
        self.region = region

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        left, top, right, bottom = self.region.box
        rows, columns = range(top // TILE, (bottom - 1) // TILE + 1), range(left // TILE, (right - 1) // TILE + 1)
        return [(row, column) for row in rows for column in columns]

    def uniform(self, level: int, row: int, column: int) -> int | None:
        tile = self.tile(level, row, column)
        return int(tile[0, 0]) if (tile == tile[0, 0]).all() else None

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        return self.region.mask(column * TILE, row * TILE, TILE, TILE).astype(np.uint8)
