"""Where the tissue is, and which tiles to look at.

Coordinates are level-0 pixels, (x, y) = (column, row); arrays are [row, column].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ...errors import SlideError

if TYPE_CHECKING:
    from ...data.slides import Slide
    from ...labels.roi import Region

BACKGROUND = 204  # grey above which there is no tissue; published as "otsu", but the threshold is fixed
THUMBNAIL_DOWNSAMPLE = 16.0  # published for tiles of 1024 px: a tile is 64 px of the thumbnail
UNREAD_BLOCK = 32  # px of the mask: what is given up together where the slide cannot be read; half a tile
LARGEST_THUMBNAIL = 64_000_000  # px; keeps the mask of any slide below 64 MB


@dataclass(frozen=True)
class Scale:
    """How tiles lie on a slide.

    Attributes
    ----------
    tile : side of a tile as the network sees it, px.
    size : side of a tile on the slide, level-0 px.
    warning : a sentence for the user, or None.
    """

    tile: int
    size: int
    warning: str | None = None

    @property
    def downsample(self) -> float:
        """Level-0 px per px of the network's input."""
        return self.size / self.tile


def scale_of(slide: Slide, mpp: float, tile: int) -> Scale:
    """Return the size of a tile of `tile` px at `mpp` µm/px on `slide`; 0 means level 0 as it is."""
    if not mpp:
        return Scale(tile, tile)
    if not slide.mpp:
        return Scale(
            tile,
            tile,
            f"{slide.path.name} does not say its µm per pixel, so it is read at level 0 as it is; set its resolution if "
            f"that is not about {mpp:g} µm/px.",
        )
    return Scale(tile, max(1, round(tile * mpp / slide.mpp)))


def grey(rgb: np.ndarray) -> np.ndarray:
    """Return OpenCV's 8-bit grey of uint8 [h, w, 3]: (9798 R + 19235 G + 3735 B + 16384) >> 15."""
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    return ((red * 9798 + green * 19235 + blue * 3735 + 16384) >> 15).astype(np.uint8)


def _closed(dark: np.ndarray, black: np.ndarray) -> np.ndarray:
    # OpenCV's default border neither adds in the dilation nor erodes in the erosion
    closed = cv2.morphologyEx(dark.view(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).view(bool)
    closed[black] = False
    return closed


def tissue_mask(thumbnail: np.ndarray) -> np.ndarray:
    """Return the published tissue mask, bool [h, w], of a thumbnail, uint8 [h, w, 3].

    Tissue where grey <= 204, closed with a 5x5 rectangle, cleared where red is 0 (black or transparent padding).
    """
    return _closed(grey(thumbnail) <= BACKGROUND, thumbnail[..., 0] == 0)


def slide_tissue(slide: Slide, size: int = 1024, problem: Callable[[str], None] | None = None) -> np.ndarray:
    """Return the tissue mask of a slide for tiles of `size` level-0 px.

    It is made from the level nearest to downsample 16 (for 1024 px tiles; a tile is always about 64 px of the mask), or,
    where no level is within a factor of 2 of that, from the nearest finer one, reduced. The slide is read in strips.

    Where the slide cannot be read nobody knows whether there is tissue: it counts as tissue, so that its tiles are tried, and
    `problem` gets a sentence. `SlideError` when nothing can be read.
    """
    largest = math.sqrt(slide.width * slide.height / LARGEST_THUMBNAIL)
    wanted = max(1.0, largest, THUMBNAIL_DOWNSAMPLE * size / 1024)
    nearest = min(range(len(slide.levels)), key=lambda i: abs(math.log(slide.levels[i].downsample_x / wanted)))
    level = slide.levels[nearest]
    whole = 0.5 <= level.downsample_x / wanted <= 2 and level.width * level.height <= 2 * LARGEST_THUMBNAIL
    if whole:
        width, height = level.width, level.height
    else:
        width, height = max(1, round(slide.width / wanted)), max(1, round(slide.height / wanted))
    dark, black = np.empty((height, width), bool), np.empty((height, width), bool)
    strip = max(1, min(height, 8_000_000 // width))

    def look(left: int, top: int, columns: int, rows: int) -> None:
        if whole:
            rgb = slide.read(nearest, left, top, columns, rows)
        else:
            rgb = slide.read_scaled(left * wanted, top * wanted, columns, rows, wanted)
        at = slice(top, top + rows), slice(left, left + columns)
        dark[at], black[at] = grey(rgb) <= BACKGROUND, rgb[..., 0] == 0

    failed: list[SlideError] = []
    tried = 0
    for top in range(0, height, strip):
        rows = min(strip, height - top)
        tried += 1
        try:
            look(0, top, width, rows)
            continue
        except SlideError:
            tried -= 1
        for y in range(top, top + rows, UNREAD_BLOCK):
            for x in range(0, width, UNREAD_BLOCK):
                columns, lines = min(UNREAD_BLOCK, width - x), min(UNREAD_BLOCK, top + rows - y)
                tried += 1
                try:
                    look(x, y, columns, lines)
                except SlideError as error:
                    failed.append(error)
                    dark[y : y + lines, x : x + columns], black[y : y + lines, x : x + columns] = True, False
    if failed and len(failed) == tried:
        raise failed[0]
    if failed and problem is not None:
        problem(f"Where there is tissue is not known everywhere, unread places count as tissue. {failed[0]}")
    return _closed(dark, black)


def _positions(mask_side: int, side: int, size: int, overlap: float, edges: bool) -> list[tuple[int, int, int]]:
    """Return (level-0 corner, first and last+1 mask pixel) along one axis."""
    ratio = mask_side / side
    span = max(1, round(size * ratio))
    # the second bound is for overlaps near 0, where a rounded span would leave gaps
    step = max(1, min(math.floor(span * (1 - overlap) + 1e-9), math.floor(size * ratio + 1e-9)))
    places = [(int(p / ratio), p, p + span) for p in range(0, mask_side - span, step)]
    if edges:
        last = max(0, side - size)
        if not places or places[-1][0] < last:
            first = min(math.floor(last * ratio), mask_side - 1)
            places.append((last, first, mask_side))
    return places


def grid(
    mask: np.ndarray,
    width: int,
    height: int,
    size: int,
    overlap: float = 1 / 6,
    edges: bool = True,
    region: Region | None = None,
) -> list[tuple[int, int, int]]:
    """Return the tiles (x, y, size) that hold tissue, column by column as published.

    Parameters
    ----------
    mask : bool tissue mask of the whole slide at any scale; each axis is placed by its own ratio.
    width, height, size : of the slide and of a tile, level-0 px.
    overlap : share of a tile that overlaps with the next.
    edges : add the last column and row, flush with the slide's edge, which the published loop leaves out; a slide
        smaller than a tile gets one tile at 0, which reaches beyond it.
    region : where the slide counts; tiles that hold nothing of it are left out. None: everywhere.
    """
    columns = _positions(mask.shape[1], width, size, overlap, edges)
    rows = _positions(mask.shape[0], height, size, overlap, edges)
    tiles = [(x, y, size) for x, x0, x1 in columns for y, y0, y1 in rows if mask[y0:y1, x0:x1].any()]
    return tiles if region is None else [tile for tile in tiles if region.holds(*tile, size)]
