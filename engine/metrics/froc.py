"""Lesion-level detection as in CAMELYON16: sensitivity over false positives per slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

RATES = (0.25, 0.5, 1, 2, 4, 8)
ITC_UM = 275.0
DILATION_UM = 75.0


@dataclass(frozen=True)
class SlideDetections:
    """Of one slide: confidence and lesion hit (0: none, -1: an ITC) of each detection, and the number of lesions."""

    confidence: np.ndarray
    hit: np.ndarray
    lesions: int


def lesions(mask: np.ndarray, mpp: float) -> tuple[np.ndarray, set[int]]:
    """Return (label image, labels of ITC) of a truth mask at `mpp` µm/px.

    Dilated by 75 µm / 2, holes filled, 8-connected; a lesion whose major axis is below 275 µm is an ITC.
    """
    from skimage.measure import regionprops

    near = ndimage.distance_transform_edt(~mask) * mpp <= DILATION_UM / 2 if mask.any() else mask
    found, _ = ndimage.label(ndimage.binary_fill_holes(near), np.ones((3, 3)))
    small = {region.label for region in regionprops(found) if region.axis_major_length * mpp < ITC_UM}
    return found, small


def matched(points: np.ndarray, confidence: np.ndarray, found: np.ndarray, small: set[int]) -> SlideDetections:
    """Tell which lesion each detection (x, y in pixels of the label image) hits."""
    columns, rows = np.asarray(points, int).reshape(-1, 2).T
    hit = found[np.clip(rows, 0, found.shape[0] - 1), np.clip(columns, 0, found.shape[1] - 1)].copy()
    hit[np.isin(hit, list(small))] = -1
    return SlideDetections(np.asarray(confidence, float), hit, int(found.max()) - len(small))


def froc(slides: Sequence[SlideDetections]) -> float | None:
    """Return the mean sensitivity at 1/4, 1/2, 1, 2, 4 and 8 false positives per slide; None without lesions."""
    total = sum(s.lesions for s in slides)
    if not total:
        return None
    false = np.sort(np.concatenate([s.confidence[s.hit == 0] for s in slides]))[::-1]
    best = np.array([s.confidence[s.hit == lesion].max() for s in slides for lesion in np.unique(s.hit[s.hit > 0])])
    values = []
    for rate in RATES:
        allowed = int(rate * len(slides))
        threshold = false[allowed] if allowed < len(false) else -np.inf
        values.append((best > threshold).sum() / total)
    return float(np.mean(values))
