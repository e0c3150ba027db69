"""A map of probabilities and the labels by hand under it, side by side as arrays: what lists of places are made from.

Also the connected region of a map around a point, and its outline, for corrections of a whole region at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .labels.store import LabelStore
from .labels.trace import trace
from .tiles import TILE, TilePyramid

Rect = tuple[float, float, float, float]
UNDECIDED, LEFT_OUT = -1, -2
"""States of a pixel by hand beside 0 (negative) and 1 (positive): nobody said anything; not to be trained on."""
SIDE = 2048
"""Pixels, at most, of a side of a `Look`: 4 million in all."""
FIRST = 512
"""Map pixels of the first window in which a region is looked for."""


@dataclass(frozen=True)
class Look:
    """A part of a map.

    Attributes
    ----------
    p : float32 [h, w], probability; NaN where nothing was computed.
    hand : int8 [h, w], what was painted at the middle of each pixel: 1, 0, `UNDECIDED` or `LEFT_OUT`.
    x, y : level-0 place of the upper left corner. step : level-0 pixels per pixel.
    """

    p: np.ndarray
    hand: np.ndarray
    x: int
    y: int
    step: int

    def rect(self, rows: slice, columns: slice) -> Rect:
        """Return (x, y, width, height) in level-0 pixels of a part of the arrays."""
        return (
            float(self.x + columns.start * self.step),
            float(self.y + rows.start * self.step),
            float((columns.stop - columns.start) * self.step),
            float((rows.stop - rows.start) * self.step),
        )


def look(
    pyramid: TilePyramid, labels: LabelStore | None, states: np.ndarray, rect: Rect | None = None, side: int = SIDE
) -> Look:
    """Read a part of a heat map and what was painted there, as fine as `side` pixels allow.

    Parameters
    ----------
    states : int8 [256], label value -> 1, 0, `UNDECIDED` or `LEFT_OUT` (`methods.hybrid_wsi.data.class_states`).
    rect : (x, y, width, height) in level-0 pixels; None: all of the slide.
    """
    x, y, width, height = rect or (0.0, 0.0, float(pyramid.width), float(pyramid.height))
    level = 0
    while max(width, height) / (pyramid.base << level) > side and level < pyramid.levels - 1:
        level += 1
    step = pyramid.base << level
    across, down = pyramid.level_size(level)
    left, top = min(max(0, int(x // step)), across - 1), min(max(0, int(y // step)), down - 1)
    right, bottom = (
        min(across, max(left + 1, -int(-(x + width) // step))),
        min(down, max(top + 1, -int(-(y + height) // step))),
    )
    size = right - left, bottom - top
    values = pyramid.region(level, left, top, *size)
    p = np.where(values > 0, (values.astype(np.float32) - 1) / 254, np.float32(np.nan)).astype(np.float32)
    hand = np.full(p.shape, UNDECIDED, np.int8)
    if labels is not None:
        # level k holds every 2**k-th pixel; of the level that is twice as fine, the odd ones are the middles
        fine = min(labels.levels - 1, max(0, step.bit_length() - 2))
        times = step >> fine
        found = labels.region(fine, left * times, top * times, size[0] * times, size[1] * times)
        hand = states[found[times // 2 :: times, times // 2 :: times]]
        roi = labels.roi()
        if roi is not None:  # outside nothing counts
            middle = step // 2
            inside = roi.mask(left * step + middle, top * step + middle, *size, step)
            hand = np.where(inside, hand, LEFT_OUT).astype(np.int8)
    return Look(p, hand, left * step, top * step, step)


# ---- regions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Region:
    """A connected part of a map.

    Attributes
    ----------
    rings : of each polygon its rings, float64 [N, 2] of (x, y) in level-0 pixels, the outer one first, not closed.
    area : level-0 pixels. p : mean probability.
    """

    polygons: list[list[np.ndarray]]
    area: float
    p: float

    @property
    def rect(self) -> Rect:
        """(x, y, width, height) around it."""
        points = np.concatenate([rings[0] for rings in self.polygons])
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        return float(x0), float(y0), float(x1 - x0), float(y1 - y0)


def region_at(
    pyramid: TilePyramid,
    labels: LabelStore | None,
    states: np.ndarray,
    x: float,
    y: float,
    threshold: float,
    side: int = SIDE,
) -> Region | None:
    """Return the region of a map around a level-0 point, as it is drawn from `threshold` on; None where none is.

    Places that were painted by hand do not belong to it. The outline follows the pixels of the map; a region that is more than
    `side` of them wide is outlined at a coarser level of the map.
    """
    span = FIRST * pyramid.base
    while True:
        seen = look(pyramid, labels, states, (x - span / 2, y - span / 2, span, span), side)
        row, column = int((y - seen.y) // seen.step), int((x - seen.x) // seen.step)
        height, width = seen.p.shape
        if not (0 <= row < height and 0 <= column < width):
            return None
        # as it is drawn: values from threshold * 255 on (`widgets/slide/colormaps.py`)
        drawn = (np.nan_to_num(seen.p, nan=-1.0) * 254 + 1 >= max(1.0, threshold * 255)) & (seen.hand == UNDECIDED)
        drawn &= ~np.isnan(seen.p)
        if not drawn[row, column]:
            return None
        numbers, _ = ndimage.label(drawn)
        found = numbers == numbers[row, column]
        whole = (
            (seen.x <= 0 or not found[:, 0].any())
            and (seen.y <= 0 or not found[0].any())
            and (seen.x + width * seen.step >= pyramid.width or not found[:, -1].any())
            and (seen.y + height * seen.step >= pyramid.height or not found[-1].any())
        )
        if whole:
            polygons = outlines(found, seen, (pyramid.width, pyramid.height))
            return Region(polygons, float(found.sum()) * seen.step**2, float(seen.p[found].mean()))
        span *= 2


def outlines(mask: np.ndarray, seen: Look, limit: tuple[int, int]) -> list[list[np.ndarray]]:
    """Return the polygons (rings, outer first, level-0 pixels) around the true pixels of a mask over a `Look`.

    Parameters
    ----------
    limit : width and height of the slide, which no ring leaves.
    """
    corner = np.array([seen.x, seen.y], float)
    regions = trace(_Mask(mask), np.arange(256) > 0)  # type: ignore[arg-type]  # all that tracing asks of a pyramid
    return [[np.minimum(ring * seen.step + corner, limit) for ring in rings] for rings in regions]


class _Mask:
    """A mask in the form in which `trace` reads a pyramid: tiles of 512 x 512."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def keys(self, level: int) -> list[tuple[int, int]]:
        rows, columns = (-(-side // TILE) for side in self.mask.shape)
        places = [(row, column) for row in range(rows) for column in range(columns)]
        return [place for place in places if self._part(*place).any()]

    def uniform(self, level: int, row: int, column: int) -> int | None:
        return None if row >= 0 and column >= 0 and self._part(row, column).any() else 0

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        found = np.zeros((TILE, TILE), np.uint8)
        part = self._part(row, column)
        found[: part.shape[0], : part.shape[1]] = part
        return found

    def _part(self, row: int, column: int) -> np.ndarray:
        part: np.ndarray = self.mask[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        return part


def class_of(classes: Sequence[object], role: str, preferred: int = 0) -> int | None:
    """Return the label value that stands for a role: the `preferred` one where it has it, else the first unlocked class.

    Parameters
    ----------
    classes : of `labels.classes.LabelClass`. role : "positive" or "negative".
    """
    values = [c.value for c in classes if c.role == role and not c.locked]  # type: ignore[attr-defined]
    return preferred if preferred in values else values[0] if values else None
