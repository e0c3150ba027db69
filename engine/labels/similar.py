"""The wand: which pixels around a place look like it, and the smooth outline of those."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_NOISE = 1.2  # standard deviation of the blur before colours are compared, pixels: single grains do not count
_EDGE = 1.5  # the same of the blur that smooths the outline
# Pixels that the border of a tissue crosses look like neither side: the outline goes through the middle of them.
_LEVEL = 0.3
_SPECK = 24  # pixels up to which a hole in the selection is none


def similar(
    pixels: np.ndarray, seeds: Sequence[tuple[float, float]], tolerance: float, reach: float = np.inf
) -> np.ndarray:
    """Return which pixels hang together with a seed and look like it.

    Parameters
    ----------
    pixels : uint8 [h, w, 3] RGB.
    seeds : (x, y) in pixels of the array; those outside do not count.
    tolerance : largest colour difference (CIE 1976, black to white is 100) to the mean of the 3 x 3 pixels of the seed.
    reach : pixels; what is farther from a seed is not selected for it.

    Returns
    -------
    bool [h, w], the union over all seeds.
    """
    height, width = pixels.shape[:2]
    lab = cv2.cvtColor(np.ascontiguousarray(pixels, np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), _NOISE)
    selected = np.zeros((height, width), bool)
    for at_x, at_y in seeds:
        x, y = int(at_x), int(at_y)
        if not (0 <= x < width and 0 <= y < height) or selected[y, x]:
            continue
        color = lab[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(-1, 3).mean(0)
        near = ((lab - color) ** 2).sum(2) <= tolerance * tolerance
        if np.isfinite(reach):
            rows, columns = np.ogrid[:height, :width]
            near &= (columns - x) ** 2 + (rows - y) ** 2 <= reach * reach
        near[y, x] = True
        numbers = cv2.connectedComponents(near.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]
        selected |= numbers == numbers[y, x]
    if not selected.any():
        return selected
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    closed = cv2.morphologyEx(np.pad(selected, 2).view(np.uint8), cv2.MORPH_CLOSE, disc)[2:-2, 2:-2].astype(bool)
    numbers, stats = cv2.connectedComponentsWithStats((~closed).view(np.uint8), connectivity=4)[1:3]
    small = stats[:, cv2.CC_STAT_AREA] <= _SPECK
    small[0] = False
    return closed | small[numbers]


def smooth_outline(mask: np.ndarray) -> list[np.ndarray]:
    """Return the rings around the true pixels of bool [h, w], for the fill rule "evenodd".

    Each is float64 (N, 2), (x, y) in pixels of the array whose pixel (i, j) covers [i, i+1) x [j, j+1); smoothed, so that
    enlarging it shows no steps.
    """
    from skimage.measure import approximate_polygon, find_contours

    margin = 4
    soft = cv2.GaussianBlur(np.pad(mask, margin).astype(np.float32), (0, 0), _EDGE)
    rings = []
    for contour in find_contours(soft, _LEVEL):
        ring = approximate_polygon(contour[:-1, ::-1] - margin + 0.5, 0.1)
        if len(ring) >= 3:
            rings.append(np.clip(ring, 0, [mask.shape[1], mask.shape[0]]))
    return rings
