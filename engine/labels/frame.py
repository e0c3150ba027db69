"""What an export says of the slide it belongs to: its size and scale, and where (0, 0) of the coordinates lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .shapes import Origin, Outline, Outlines

SLIDE = "Full-resolution (level-0) pixels of the whole slide: (0, 0) is its upper left corner, x right, y down."
BOUNDS = (
    "Full-resolution (level-0) pixels: (0, 0) is the upper left corner of the bounds box that OpenSlide gives, x right, "
    "y down, as QuPath shows the slide."
)
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """Facts that go into an export. Nothing in it names a file, a folder or a patient unless `name` was asked for.

    Attributes
    ----------
    width, height : of the slide in level-0 pixels, 0 = not known.
    mpp : µm per level-0 pixel, None = not known.
    bounds : (x, y, width, height) of OpenSlide's bounds box in level-0 pixels, None when it is the whole slide.
    origin : "slide" or "bounds", the convention in which outlines are written.
    name : what the picture is called in formats that need a name; "" = the name of the file that is written.
    """

    width: int = 0
    height: int = 0
    mpp: float | None = None
    bounds: Box | None = None
    origin: Origin = "slide"
    name: str = ""

    @property
    def offset(self) -> tuple[int, int]:
        """What is taken from level-0 coordinates when they are written, and added when they are read."""
        return (self.bounds[0], self.bounds[1]) if self.origin == "bounds" and self.bounds else (0, 0)

    def plain(self) -> dict[str, Any]:
        """Return the facts as a file states them."""
        origin = "bounds" if any(self.offset) else "slide"
        facts: dict[str, Any] = {"origin": origin, "coordinates": BOUNDS if origin == "bounds" else SLIDE}
        if self.width and self.height:
            facts["size"] = [self.width, self.height]
        if self.mpp:
            facts["mpp"] = self.mpp
        if origin == "bounds" and self.bounds:
            facts["bounds"] = list(self.bounds)
        return facts


def bounds_of(slide: object) -> Box | None:
    """Return the bounds box of an open slide, None when it is the whole slide or the file names none."""
    box = getattr(slide, "bounds", None)
    if box is None:
        return None
    x, y, width, height = (int(value) for value in box)
    whole = (0, 0, getattr(slide, "width", 0), getattr(slide, "height", 0))
    return None if (x, y) == (0, 0) or (x, y, width, height) == whole else (x, y, width, height)


def guessed_origin(outlines: Sequence[Outline], bounds: Box, tissue: np.ndarray | None, scale: float) -> Origin:
    """Return "bounds" when read as full-slide coordinates all outlines would miss the tissue, and read the other way not.

    What the file itself says goes before any guess.

    Parameters
    ----------
    tissue : bool [rows, columns], a small picture of the whole slide that tells where tissue is; None: all of `bounds`.
    scale : level-0 pixels per pixel of `tissue`.
    """
    said = outlines.origin if isinstance(outlines, Outlines) else ""
    if said or not outlines:
        return said or "slide"
    boxes = np.array([outline.bounds for outline in outlines])
    points = np.concatenate([ring[:: max(1, len(ring) // 16)] for outline in outlines for ring in outline.rings])
    points = np.concatenate([points, boxes.reshape(-1, 2, 2).mean(axis=1)])

    def hits(dx: float, dy: float) -> bool:
        moved = points + (dx, dy)
        if tissue is None:
            x, y, width, height = bounds
            return bool(((moved >= (x, y)) & (moved < (x + width, y + height))).all(axis=1).any())
        columns, rows = np.floor(moved / scale).astype(np.int64).T
        inside = (rows >= 0) & (columns >= 0) & (rows < tissue.shape[0]) & (columns < tissue.shape[1])
        return bool(tissue[rows[inside], columns[inside]].any())

    return "bounds" if not hits(0, 0) and hits(bounds[0], bounds[1]) else "slide"
