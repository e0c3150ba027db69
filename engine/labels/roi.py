"""Region: the union of a slide's regions of interest; pixels outside it do not count anywhere.

A pixel is inside when its centre is, by the rule of `raster.py`: the same for labels, heat maps and evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import shapely

from ..tiles import TILE
from .raster import Polygons, raster

if TYPE_CHECKING:
    from .marks import Mark

Rings = list[np.ndarray]
_FINE = 16  # sub-pixels along the side of a coarse pixel at which shares are measured


class Region:
    """Where a slide counts.

    polygons : each a list of float64 (N, 2) rings in level-0 pixels: outer ring, then holes; their union counts.
    """

    def __init__(self, polygons: Sequence[Rings]) -> None:
        self.polygons = [[np.asarray(ring, np.float64).reshape(-1, 2) for ring in rings] for rings in polygons]
        self._shape = Polygons([(rings, "evenodd") for rings in self.polygons])

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

    def mask(self, x: int, y: int, width: int, height: int, step: int = 1) -> np.ndarray:
        """Bool [height, width]: whether the level-0 pixel (x + c * step, y + r * step) is inside."""
        return raster(self._shape, x, y, width, height, step)

    def shares(self, base: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return which share of each coarse pixel is inside: float32 [height, width].

        A coarse pixel (c, r) covers `base` x `base` level-0 pixels (a power of two) from (left + c, top + r) * base. From
        base 32 on every second of them is looked at, and so on.
        """
        step = max(1, base // _FINE)
        per = base // step
        found = np.zeros((height, width), np.float32)
        side = max(1, TILE // per)
        for y in range(0, height, side):
            for x in range(0, width, side):
                h, w = min(side, height - y), min(side, width - x)
                mask = self.mask((left + x) * base, (top + y) * base, w * per, h * per, step)
                if mask.any():
                    found[y : y + h, x : x + w] = mask.reshape(h, per, w, per).mean((1, 3))
        return found

    def touches(self, x: float, y: float, width: float, height: float) -> bool:
        """Whether any of a level-0 rectangle is inside."""
        return bool(self._geometry.intersects(shapely.box(x, y, x + width, y + height)))

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
