"""Colours of probabilities, dark to light: the same on the slide and in reports."""

from __future__ import annotations

import numpy as np

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
