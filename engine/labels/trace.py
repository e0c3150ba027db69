"""From pixels to outlines: traced along pixel edges, so that painting them again gives the same pixels.

A pyramid is traced tile by tile, uniform tiles by their borders alone, so nothing is ever held densely; the unit edges are
joined into rings afterwards. Pixels belong together when they share an edge (4-connected).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from ..tiles import TILE, TilePyramid
from .shapes import Outline

if TYPE_CHECKING:
    from ..results import Heatmap
    from .classes import LabelClass

Point = tuple[int, int]


def labels_to_outlines(store: TilePyramid, classes: Sequence[LabelClass]) -> list[Outline]:
    """Return one outline per connected region of each class, holes as inner rings; level-0 pixel corners."""
    found = []
    for item in classes:
        lookup = np.zeros(256, bool)
        lookup[item.value] = True
        for number, rings in enumerate(trace(store, lookup), 1):
            found.append(Outline(f"{item.name} {number}", rings, item.name, item.color))
    return found


def heatmap_polygons(heatmap: Heatmap, threshold: float | None = None) -> list[Outline]:
    """Return the outlines of all places at or above the threshold (default: the map's own)."""
    assert heatmap.path is not None
    least = int(np.ceil((heatmap.threshold if threshold is None else threshold) * 254)) + 1
    lookup = np.arange(256) >= least
    with TilePyramid.open(heatmap.path, readonly=True) as pyramid:
        base = pyramid.base
        limit = np.array([pyramid.width, pyramid.height])
        regions = trace(pyramid, lookup)
    return [
        Outline(f"Region {number}", [np.minimum(ring * base, limit) for ring in rings], "Tumor", "#C80000")
        for number, rings in enumerate(regions, 1)
    ]


def trace(pyramid: TilePyramid, lookup: np.ndarray) -> list[list[np.ndarray]]:
    """Return, for each 4-connected region of pixels whose value is true in `lookup` (bool [256]), its rings.

    Rings are float64 [N, 2] arrays of (x, y) pixel corners of pyramid level 0, the outer one first, not closed, without
    points on straight lines.
    """
    starts: dict[Point, list[Point]] = defaultdict(list)
    masks: dict[tuple[int, int], Any] = {}

    def mask(row: int, column: int) -> Any:
        if (row, column) not in masks:
            value = pyramid.uniform(0, row, column)
            if value is not None:
                masks[row, column] = bool(lookup[value])
            else:
                tile = pyramid.tile(0, row, column)
                masks[row, column] = False if tile is None else lookup[tile]
        return masks[row, column]

    last_row = -1
    for row, column in pyramid.keys(0):
        if row != last_row:
            # only the rows beside are looked at again
            for key in [k for k in masks if k[0] < row - 1]:
                del masks[key]
            last_row = row
        here = mask(row, column)
        if here is False:
            continue
        sides = [mask(row - 1, column), mask(row + 1, column), mask(row, column - 1), mask(row, column + 1)]
        if here is True and all(side is True for side in sides):
            continue
        block = np.zeros((TILE + 2, TILE + 2), bool)
        block[1:-1, 1:-1] = here
        for side, target, source in zip(
            sides, (np.s_[0, 1:-1], np.s_[-1, 1:-1], np.s_[1:-1, 0], np.s_[1:-1, -1]),
            (np.s_[-1], np.s_[0], np.s_[:, -1], np.s_[:, 0]),
        ):  # fmt: skip
            block[target] = side if isinstance(side, bool) else side[source]
        _edges(block, column * TILE, row * TILE, starts)
    return _polygons(_rings(starts))


def _edges(block: np.ndarray, x: int, y: int, starts: dict[Point, list[Point]]) -> None:
    """Add the directed border edges of a tile (with a border of its neighbours), the inside to their right."""
    inside = block[1:-1, 1:-1]
    cases = (
        (inside & ~block[:-2, 1:-1], (0, 0), (1, 0)),
        (inside & ~block[1:-1, 2:], (1, 0), (1, 1)),
        (inside & ~block[2:, 1:-1], (1, 1), (0, 1)),
        (inside & ~block[1:-1, :-2], (0, 1), (0, 0)),
    )
    for border, (ax, ay), (bx, by) in cases:
        rows, columns = np.nonzero(border)
        for r, c in zip((rows + y).tolist(), (columns + x).tolist()):
            starts[c + ax, r + ay].append((c + bx, r + by))


def _rings(starts: dict[Point, list[Point]]) -> list[np.ndarray]:
    """Join unit edges into rings; where two regions touch at a corner the ring turns right, so they stay apart."""
    rings = []
    while starts:
        first = next(iter(starts))
        point, previous = first, None
        ring: list[Point] = []
        while True:
            choices = starts[point]
            index = 0
            if len(choices) > 1 and previous is not None:
                dx, dy = point[0] - previous[0], point[1] - previous[1]
                right = (point[0] - dy, point[1] + dx)
                index = choices.index(right) if right in choices else 0
            following = choices.pop(index)
            if not choices:
                del starts[point]
            if previous is None or (following[0] - point[0], following[1] - point[1]) != (
                point[0] - previous[0],
                point[1] - previous[1],
            ):
                ring.append(point)
            previous, point = point, following
            if point == first and (len(starts.get(first, ())) == 0 or _closes(ring, previous, point, starts)):
                break
        if len(ring) > 4 and _straight(ring[-1], ring[0], ring[1]):
            ring = ring[1:]
        rings.append(np.array(ring, np.float64))
    return rings


def _closes(ring: list[Point], previous: Point, point: Point, starts: dict[Point, list[Point]]) -> bool:
    """True when a ring that came back to a corner where two regions touch is complete."""
    dx, dy = point[0] - previous[0], point[1] - previous[1]
    return (point[0] - dy, point[1] + dx) not in starts[point]


def _straight(a: Point, b: Point, c: Point) -> bool:
    return (a[0] == b[0] == c[0]) or (a[1] == b[1] == c[1])


def _polygons(rings: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Sort rings into outer ones and their holes."""
    areas = [_area(ring) for ring in rings]
    outer = [ring for ring, area in zip(rings, areas) if area > 0]
    holes = [ring for ring, area in zip(rings, areas) if area < 0]
    found = [[ring] for ring in outer]
    if not holes:
        return found
    shapes = [shapely.Polygon(ring) for ring in outer]
    tree = shapely.STRtree(shapes)
    for hole in holes:
        # a point just inside the region, beside the hole's first edge
        (ax, ay), (bx, by) = hole[0], hole[1]
        length = float(np.hypot(bx - ax, by - ay))
        beside = shapely.Point((ax + bx) / 2 - (by - ay) / length / 4, (ay + by) / 2 + (bx - ax) / length / 4)
        around = [i for i in tree.query(beside) if shapes[i].contains(beside)]
        found[min(around, key=lambda i: shapes[i].area)].append(hole)
    return found


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
