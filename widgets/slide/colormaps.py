"""Tables from byte values to premultiplied ARGB (uint32, as in QImage.Format_ARGB32_Premultiplied)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from qtpy.QtGui import QImage

from ...engine.colormaps import COLORMAPS as COLORMAPS
from ...engine.colormaps import colormap
from ...engine.labels.classes import LabelClass


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


def value_table(colors: Sequence[str], opacity: float) -> np.ndarray:
    """uint32 [256]: the colours ("#rrggbb") of the values from 1 on; all others are clear."""
    rgb, alpha = np.zeros((256, 3), np.uint8), np.zeros(256)
    for value, color in enumerate(colors, start=1):
        rgb[value] = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        alpha[value] = round(255 * opacity)
    return premultiplied(rgb, alpha)
