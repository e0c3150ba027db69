"""The TIFF tag Orientation (1 to 8): where the first stored row and column belong in the picture as it is meant."""

from __future__ import annotations

import numpy as np

# (rows and columns change places, then mirror along x, then along y)
_STEPS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def steps(orientation: int) -> tuple[bool, bool, bool]:
    """(whether the axes swap, then mirror along x, then along y); of an unknown number as of 1."""
    return _STEPS.get(orientation, _STEPS[1])


def stored_rectangle(
    orientation: int, size: tuple[int, int], x: int, y: int, width: int, height: int
) -> tuple[int, int, int, int]:
    """Where a rectangle of the upright picture lies in the stored one.

    Parameters
    ----------
    size : (width, height) of the upright picture.
    x, y, width, height : rectangle in it.

    Returns
    -------
    (x, y, width, height) in the picture as stored.
    """
    swap, mirror_x, mirror_y = steps(orientation)
    if mirror_x:
        x = size[0] - x - width
    if mirror_y:
        y = size[1] - y - height
    return (y, x, height, width) if swap else (x, y, width, height)


def upright(orientation: int, pixels: np.ndarray) -> np.ndarray:
    """Turn stored pixels [h, w, ...] upright: [h, w, ...] or, where the axes swap, [w, h, ...]."""
    swap, mirror_x, mirror_y = steps(orientation)
    if swap:
        pixels = pixels.swapaxes(0, 1)
    if mirror_x:
        pixels = pixels[:, ::-1]
    if mirror_y:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
