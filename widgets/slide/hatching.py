"""Patterns of classes, so that labels are told apart without their colours too (colour-blind eyes, prints in grey)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...engine.tiles import TILE

PERIOD = 16  # pixels of a label tile after which a pattern repeats
_GROUND, _LINE = 0.45, 1.9  # times the opacity of the class


@lru_cache(maxsize=1)
def _places() -> np.ndarray:
    """Where each pixel of a tile stands in the pattern: int32 [512, 512]."""
    rows, columns = np.mgrid[:TILE, :TILE] % PERIOD
    return (rows * PERIOD + columns).astype(np.int32)


def grid(tile: np.ndarray) -> np.ndarray:
    """Return the place of each pixel of a tile of labels in what `hatched` returns: int32 [512, 512]."""
    return tile.astype(np.int32) * (PERIOD * PERIOD) + _places()


@lru_cache(maxsize=1)
def patterns() -> np.ndarray:
    """Bool [6, 16, 16]: lines up, lines down, level, upright, dots, squares."""
    rows, columns = np.mgrid[:PERIOD, :PERIOD]
    dots = np.hypot(rows % 8 - 3.5, columns % 8 - 3.5) < 2.2
    up, down = (rows + columns) % 8 < 2, (rows - columns) % 8 < 2
    level, upright = rows % 8 < 2, columns % 8 < 2
    return np.stack([up, down, level, upright, dots, level | upright])


def hatched(table: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Return the colour of every label at every place of the pattern.

    Parameters
    ----------
    table : uint32 [256], ARGB times alpha.
    labels : those that get a pattern, each the next one; the others stay plain.

    Returns
    -------
    uint32 [256 * 256], see `grid`.
    """
    result = np.repeat(table.astype(np.uint32)[:, None, None], PERIOD * PERIOD, 1).reshape(256, PERIOD, PERIOD)
    for place, label in enumerate(labels):
        pattern = patterns()[place % len(patterns())]
        result[label] = np.where(pattern, _times(int(table[label]), _LINE), _times(int(table[label]), _GROUND))
    return result.ravel()


def _times(color: int, factor: float) -> int:
    """The same colour with another opacity."""
    alpha = color >> 24
    if not alpha:
        return 0
    factor = min(factor, 255 / alpha)
    parts = (min(255, round((color >> shift & 255) * factor)) for shift in (24, 16, 8, 0))
    value = 0
    for part in parts:
        value = value << 8 | part
    return value
