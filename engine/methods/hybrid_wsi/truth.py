"""Heat maps against outlines: pixels (Dice, IoU) and lesions (FROC), and the small map that stage 2 and both read."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...labels.store import LabelStore
from ...metrics.froc import SlideDetections, lesions, matched
from ...metrics.segmentation import Overlap
from ...tiles import TILE, TilePyramid
from .data import EXCLUDED, rasterise

if TYPE_CHECKING:
    from ...labels.classes import LabelClass
    from .data import SlideSample

SMALL = 32  # level-0 px per pixel of the small map, as published
FAINT = (0.4, 0.3, 0.2)  # probabilities below the threshold at which FROC still finds regions
FINE = 4  # labels are compared with a heat map at up to 2**FINE times its resolution


def label_file(sample: SlideSample, folder: Path, classes: list[LabelClass]) -> Path | None:
    """Return the slide's label store; outlines of a foreign folder are rasterised into `folder`. None without outlines."""
    if sample.outlines is not None:
        path = folder / f"{sample.id}.labels"
        rasterise(sample, path, classes)
        return path
    return sample.labels if sample.labels is not None and sample.labels.exists() else None


def small_map(heat: TilePyramid) -> tuple[np.ndarray, int]:
    """Return (uint8 [h, w] with 255 = probability 1 and 0 where nothing was computed, level-0 px per pixel).

    The level of the heat map at 1/32 of level 0, or its finest one where that is coarser.
    """
    level = min(heat.levels - 1, max(0, (SMALL // heat.base).bit_length() - 1))
    values, step = heat.region(level, 0, 0, *heat.level_size(level)), heat.base << level
    while step < SMALL:  # the pyramid of a small slide ends earlier
        values, step = _halved(values), step * 2
    return np.rint(np.maximum(values.astype(np.float32) - 1, 0) * (255 / 254)).astype(np.uint8), step


def _halved(values: np.ndarray) -> np.ndarray:
    """Return the next level of a heat map: a pixel is the rounded mean of those of its four that were computed."""
    height, width = values.shape
    padded = np.pad(values, ((0, height % 2), (0, width % 2))).astype(np.float32)
    four = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
    mean = four.sum(1) / np.maximum((four > 0).sum(1), 1)
    return np.rint(mean).astype(np.uint8).reshape(padded.shape[0] // 2, padded.shape[1] // 2)


def add_pixels(
    heat: TilePyramid, labels: Path | None, states: np.ndarray, outlined: bool, threshold: float, overlap: Overlap
) -> None:
    """Add the pixels of one slide to `overlap`, at the resolution of its heat map; where an outline crosses one, by its share.

    What is excluded does not count, nor what lies outside the slide's regions of interest, nor what nobody outlined unless the
    slide is `outlined` completely. Places where nothing
    was computed (no tissue) count as called negative.
    """
    least = int(np.ceil(threshold * 254)) + 1
    width, height = heat.level_size(0)
    with ExitStack() as stack:
        store = stack.enter_context(closing(LabelStore.open(labels, readonly=True))) if labels else None
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                at = left, top, min(TILE, width - left), min(TILE, height - top)
                nothing = np.zeros((3, at[3], at[2]), np.float32)
                positive, negative, excluded = label_shares(store, states, heat.base, *at) if store else nothing
                counts = positive + negative
                if outlined:
                    counts = inside(heat, *at) - excluded
                overlap.add(heat.region(0, *at) >= least, positive, counts)


def label_shares(
    store: LabelStore, states: np.ndarray, base: int, left: int, top: int, width: int, height: int
) -> np.ndarray:
    """Return which shares of the pixels of a heat map are labelled positive, negative and excluded: float32 [3, height, width].

    What lies outside the slide's regions of interest is excluded.
    Such a pixel covers `base` x `base` level-0 px, a power of two. All of these are looked at, from base 32 on every second,
    and so on: single ones, at a corner or in the middle, would shift the outlines by up to half a pixel.
    """
    level = min(store.levels - 1, max(0, base.bit_length() - 1 - FINE))
    side = base >> level
    per = max(1, TILE // side)  # pixels of the heat map that a tile of labels covers
    found = np.zeros((3, height, width), np.float32)
    region = store.roi()
    for y in range(0, height, per):
        for x in range(0, width, per):
            h, w = min(per, height - y), min(per, width - x)
            values = store.region(level, (left + x) * side, (top + y) * side, w * side, h * side)
            alike = values.min() == values.max()
            state = states[values[0, 0] if alike else values]
            if region is not None:
                mask = region.mask((left + x) * base, (top + y) * base, w * side, h * side, 1 << level)
                state, alike = np.where(mask, state, EXCLUDED), False
            for place, wanted in enumerate((1, 0, EXCLUDED)):
                share = state == wanted if alike else (state == wanted).reshape(h, side, w, side).mean((1, 3))
                found[place, y : y + h, x : x + w] = share
    return found


def inside(heat: TilePyramid, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Return which shares of the pixels of a heat map lie within the slide: float32 [height, width], below 1 at its far edges."""
    rows, columns = (
        np.clip(whole / heat.base - np.arange(first, first + count, dtype=np.float32), 0, 1)
        for whole, first, count in ((heat.height, top, height), (heat.width, left, width))
    )
    return np.outer(rows, columns).astype(np.float32)


def detections(
    heat: TilePyramid, labels: Path | None, states: np.ndarray, mpp: float, threshold: float
) -> SlideDetections:
    """Return the detections of a slide for FROC: the peak of each connected region at or above `threshold`.

    FROC ranks detections, so less certain ones count too: regions at or above each of `FAINT` give their peak where they hold
    none yet. The lesions are those of the labels at the resolution of the small map. What lies outside the slide's regions of
    interest counts for neither.
    """
    small, step = small_map(heat)
    if labels is not None:
        with closing(LabelStore.open(labels, readonly=True)) as store:
            region = store.roi()
        if region is not None:
            small = np.where(region.shares(step, 0, 0, *small.shape[::-1]) > 0, small, 0)
    peaks: list[tuple[int, int]] = []
    for least in (threshold, *(p for p in FAINT if p < threshold)):
        found, count = ndimage.label(small >= least * 255, np.ones((3, 3)))
        fresh = sorted(set(range(1, count + 1)).difference(int(found[peak]) for peak in peaks))
        peaks += ndimage.maximum_position(small, found, fresh) if fresh else []
    points = np.array([(column, row) for row, column in peaks], int).reshape(-1, 2)
    confidence = np.array([small[y, x] / 255 for x, y in points])
    if labels is None:
        return SlideDetections(confidence, np.zeros(len(points), int), 0)
    with closing(LabelStore.open(labels, readonly=True)) as store:
        height, width = small.shape
        mask = label_shares(store, states, step, 0, 0, width, height)[0] >= 0.5
    return matched(points, confidence, *lesions(mask, mpp * step))
