"""From pixels to outlines: traced along pixel edges, so that painting them again gives the same pixels.

A pyramid is traced tile by tile, uniform tiles by their borders alone, so nothing is ever held densely. What is kept are
straight runs of pixel edges; they are joined across tiles, linked at their corners and followed into rings. Pixels belong
together when they share an edge (4-connected).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from ..tiles import TILE, TilePyramid
from .shapes import Outline

if TYPE_CHECKING:
    from ..results import Heatmap
    from .classes import LabelClass


def labels_to_outlines(store: TilePyramid, classes: Sequence[LabelClass]) -> list[Outline]:
    """Return one outline per connected region of each class, holes as inner rings; level-0 pixel corners."""
    found = []
    for item in classes:
        lookup = np.zeros(256, bool)
        lookup[item.value] = True
        for number, rings in enumerate(trace(store, lookup), 1):
            found.append(Outline(f"{item.name} {number}", rings, item.name, item.color, locked=item.locked))
    return found


def heatmap_polygons(heatmap: Heatmap, threshold: float | None = None) -> list[Outline]:
    """Return the outlines of all places at or above the threshold (default: the map's own)."""
    assert heatmap.path is not None
    level = heatmap.threshold if threshold is None else threshold
    # v >= 1 means probability (v - 1) / 254; the small number keeps k / 254 from being rounded up to k + 1
    least = max(1, int(np.ceil(level * 254 - 1e-9)) + 1)
    with TilePyramid.open(heatmap.path, readonly=True) as pyramid:
        base = pyramid.base
        limit = np.array([pyramid.width, pyramid.height])
        regions = trace(pyramid, np.arange(256) >= least)
    return [
        Outline(f"Region {number}", [np.minimum(ring * base, limit) for ring in rings], "Tumor", "#C80000")
        for number, rings in enumerate(regions, 1)
    ]


def trace(pyramid: TilePyramid, lookup: np.ndarray) -> list[list[np.ndarray]]:
    """Return, for each 4-connected region of pixels whose value is true in `lookup` (bool [256]), its rings.

    Rings are float64 [N, 2] arrays of (x, y) pixel corners of pyramid level 0, the outer one first (clockwise on the
    screen, holes the other way), not closed, without points on straight lines. No ring passes a point twice, so the
    polygons are valid for programs that ask for that (QuPath does).
    """
    lookup = lookup.copy()
    lookup[0] = False  # unlabelled, or not computed: endless
    across: list[np.ndarray] = []
    down: list[np.ndarray] = []
    for block, x, y in _blocks(pyramid, lookup):
        inside = block[1:-1, 1:-1]
        # directed so that the region lies to the right: along its upper border to the right, and so on around
        across += [_runs(inside & ~block[:-2, 1:-1], y, x, 1), _runs(inside & ~block[2:, 1:-1], y + 1, x, -1)]
        down += [_runs((inside & ~block[1:-1, 2:]).T, x + 1, y, 1), _runs((inside & ~block[1:-1, :-2]).T, x, y, -1)]
    if not any(map(len, across)):
        return []
    return _polygons(_rings(_joined(across), _joined(down)))


def _blocks(pyramid: TilePyramid, lookup: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield the tiles in which a border runs: bool [514, 514] with one pixel of the neighbours around, and the corner."""
    masks: dict[tuple[int, int], Any] = {}  # bool for a uniform tile, else bool [512, 512]

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
        yield block, column * TILE, row * TILE


def _runs(border: np.ndarray, line: int, start: int, direction: int) -> np.ndarray:
    """Return the runs of true pixels in the rows of `border` as int64 [N, 4]: direction, line, begin, end."""
    places = np.flatnonzero(np.ascontiguousarray(border))
    if not len(places):
        return np.empty((0, 4), np.int64)
    lines, across = np.divmod(places, border.shape[1])
    goes_on = (np.diff(across) == 1) & (np.diff(lines) == 0)
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    last = np.concatenate([first[1:], [len(places)]]) - 1
    direct = np.full_like(first, direction)
    return np.column_stack([direct, lines[first] + line, across[first] + start, across[last] + 1 + start])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Join runs that go on in the next tile."""
    runs = np.concatenate(parts)
    runs = runs[np.lexsort((runs[:, 2], runs[:, 1], runs[:, 0]))]
    goes_on = (runs[1:, :2] == runs[:-1, :2]).all(axis=1) & (runs[1:, 2] == runs[:-1, 3])
    first = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    last = np.concatenate([first[1:], [len(runs)]]) - 1
    return np.column_stack([runs[first, :3], runs[last, 3]])


def _rings(across: np.ndarray, down: np.ndarray) -> list[np.ndarray]:
    """Link runs at their corners and follow them into rings, float64 [N, 2].

    In a ring horizontal and vertical runs take turns. At a corner where two pixels of the region touch diagonally two runs
    arrive and two leave; they are paired so that each ring stays with its pixel.
    """
    x_from, x_to = _ends(across)
    y_from, y_to = _ends(down)
    y, x = across[:, 1], down[:, 1]
    width = int(x.max()) + 1
    arrive = np.lexsort((across[:, 0], y * width + x_to))
    leave = np.lexsort((down[:, 0], y_from * width + x))
    turn_down = np.empty_like(arrive)
    turn_down[arrive] = leave
    arrive = np.lexsort((-down[:, 0], y_to * width + x))
    leave = np.lexsort((across[:, 0], y * width + x_from))
    turn_across = np.empty_like(arrive)
    turn_across[arrive] = leave
    following = turn_across[turn_down].tolist()

    order: list[int] = []
    ends: list[int] = []
    seen = bytearray(len(following))
    for run in range(len(following)):
        if seen[run]:
            continue
        while not seen[run]:
            seen[run] = 1
            order.append(run)
            run = following[run]
        ends.append(2 * len(order))
    corners = np.empty((len(order), 2, 2))
    corners[:, 0, 0], corners[:, 1, 0] = x_from[order], x_to[order]
    corners[:, :, 1] = y[order, None]
    points = corners.reshape(-1, 2)
    _, which, counts = np.unique(points[:, 1] * width + points[:, 0], return_inverse=True, return_counts=True)
    touched = np.concatenate([[0], np.cumsum(counts[which] > 1)])
    rings = []
    for begin, end in zip([0, *ends], ends):
        ring = points[begin:end]
        rings += [ring] if touched[end] - touched[begin] < 2 else _simple(ring)
    return rings


def _ends(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs begin and end along their line, in their direction."""
    forward = runs[:, 0] > 0
    return np.where(forward, runs[:, 2], runs[:, 3]), np.where(forward, runs[:, 3], runs[:, 2])


def _simple(ring: np.ndarray) -> list[np.ndarray]:
    """Cut a ring that touches itself at a corner into rings that do not."""
    found = []
    path: list[tuple[float, float]] = []
    place: dict[tuple[float, float], int] = {}
    for point in map(tuple, ring.tolist()):
        if point in place:
            begin = place[point]
            found.append(np.array(path[begin:]))
            for passed in path[begin:]:
                del place[passed]
            del path[begin:]
        place[point] = len(path)
        path.append(point)
    found.append(np.array(path))
    return found


def _polygons(rings: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Give each hole to the region around it; outer rings first."""
    areas = np.array([_area(ring) for ring in rings])
    outer = np.flatnonzero(areas > 0)
    holes = np.flatnonzero(areas < 0)
    found = [[rings[i]] for i in outer]
    if len(holes):
        # the centre of a region's pixel beside the hole lies in that region: in the smallest outer ring around it
        tree = shapely.STRtree(shapely.points([_beside(rings[i]) for i in holes]))
        region, hole = tree.query([shapely.Polygon(rings[i]) for i in outer], predicate="contains")
        smallest = np.lexsort((areas[outer][region], hole))
        _, first = np.unique(hole[smallest], return_index=True)
        for k in smallest[first]:
            found[region[k]].append(rings[holes[hole[k]]])
    return found


def _beside(ring: np.ndarray) -> np.ndarray:
    """Centre of the pixel to the right of a ring's first edge, at its beginning."""
    dx, dy = np.sign(ring[1] - ring[0])
    return ring[0] + (np.array([dx, dy]) + np.array([-dy, dx])) / 2


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)
