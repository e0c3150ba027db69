"""Tables from byte values to premultiplied ARGB (uint32, as in QImage.Format_ARGB32_Premultiplied)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from qtpy.QtGui import QImage

from ...engine.labels.classes import LabelClass

# Nine points each of the perceptually uniform maps of matplotlib (CC0, Smith and van der Walt, 2015), linear between.
ANCHORS: dict[str, tuple[str, ...]] = {
    "inferno": ("000004", "210c4a", "56106e", "89226a", "bb3754", "e35933", "f98c0a", "f9c932", "fcffa4"),
    "magma": ("000004", "1d1147", "51127c", "822681", "b73779", "e75263", "fc8961", "fec488", "fcfdbf"),
    "viridis": ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"),
    # Two of our own for pictures over stained tissue: neither pink and violet as the stain, nor a colour of the first
    # three classes, and not to be taken for each other.
    "ice": ("06142e", "0b2350", "103a7a", "1553a0", "176fbe", "158dd2", "17ade4", "3bcdf2", "7cecff"),
    "magenta": ("20001f", "3f013b", "600257", "820573", "a60d8c", "c71fa3", "e23cb6", "f562c6", "ff8fd8"),
}
COLORMAPS = tuple(ANCHORS)


def colormap(name: str) -> np.ndarray:
    """RGB of a colour map: uint8 [256, 3], dark to light."""
    points = np.array([[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in ANCHORS[name]], float)
    at = np.linspace(0, 255, len(points))
    return np.stack([np.interp(np.arange(256), at, points[:, i]) for i in range(3)], 1).round().astype(np.uint8)


def premultiplied(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 [n, 3] and alpha 0..255 [n] to uint32 [n] ARGB, colours times alpha."""
    alpha = alpha.astype(np.uint32)
    red, green, blue = ((rgb[:, i].astype(np.uint32) * alpha + 127) // 255 for i in range(3))
    return (alpha << 24) | (red << 16) | (green << 8) | blue


def heat_table(name: str, threshold: float, opacity: float) -> np.ndarray:
    """uint32 [256] for a heat map of probability * 255; below the threshold (and where nothing was computed) clear."""
    alpha = np.full(256, round(255 * opacity))
    alpha[np.arange(256) < threshold * 255] = 0
    alpha[0] = 0
    return premultiplied(colormap(name), alpha)


def heat_bar(name: str, threshold: float, first: float = 0.0) -> QImage:
    """The colours from probability `first` to 1 in one row, opaque; clear below the threshold."""
    table = heat_table(name, threshold, 1.0)
    row = np.ascontiguousarray(table[min(254, max(1, round(255 * first))) :], np.uint32)
    return QImage(row.tobytes(), len(row), 1, 4 * len(row), QImage.Format.Format_ARGB32_Premultiplied).copy()


def label_table(classes: Iterable[LabelClass], opacity: float, default: str = "#7f7f7f") -> np.ndarray:
    """uint32 [256] for labels; a value without a class is grey, so that nothing in the store can hide."""
    rgb = np.tile(np.array([[int(default[i : i + 2], 16) for i in (1, 3, 5)]], np.uint8), (256, 1))
    alpha = np.full(256, round(127 * opacity))
    alpha[0] = 0
    for c in classes:
        rgb[c.value] = [int(c.color[i : i + 2], 16) for i in (1, 3, 5)]
        alpha[c.value] = round(255 * c.opacity * opacity) if c.visible else 0
    return premultiplied(rgb, alpha)
