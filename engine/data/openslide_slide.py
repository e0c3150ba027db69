"""Slides of all vendors whose files are no plain tiled TIFF, through OpenSlide."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import SlideError
from .openslide_guard import LARGEST_TILE, refusal
from .slide import Level, Slide, level_factors, mpp_of_resolution

TILE = 512


class OpenSlideSlide(Slide):
    """One OpenSlide handle (thread-safe by itself); transparent pixels are laid on white.

    An OpenSlide handle is dead after its first error, so the handle is renewed then: one damaged place does not cost
    the rest of the slide.
    """

    reader = "OpenSlide"

    def __init__(self, path: Path, file: Path | None = None) -> None:
        """`file`: what OpenSlide opens where it is not `path` itself, such as a file in a folder of DICOM."""
        import openslide

        super().__init__(path)
        self._opened = str(file or path)
        self._renewing = threading.Lock()
        self._handle: openslide.OpenSlide | None = openslide.OpenSlide(self._opened)
        properties = self._handle.properties
        _check_tiles(self.path, properties, len(self._handle.level_dimensions))
        self.vendor = properties.get("openslide.vendor", "unknown")
        width, height = self._handle.dimensions
        for level_width, level_height in self._handle.level_dimensions:
            factors = level_factors(width, height, level_width, level_height)
            self.levels.append(Level(level_width, level_height, *factors, TILE, TILE))
        self._factors = self._handle.level_downsamples
        self._bounds = _bounds(properties, width, height)
        self._set_scale(properties)

    @classmethod
    def try_open(cls, path: Path, reasons: list[str], file: Path | None = None) -> OpenSlideSlide | None:
        """The slide, or None with the reason added to `reasons`."""
        try:
            import openslide
        except (ImportError, OSError) as error:
            reasons.append(f"OpenSlide is not installed properly: {error}")
            return None
        if reason := refusal(file or path):
            reasons.append(reason)
            return None
        try:
            return cls(path, file)
        except openslide.OpenSlideUnsupportedFormatError:
            reasons.append("OpenSlide does not know the format")
        except openslide.OpenSlideError as error:
            reasons.append(f"OpenSlide: {(str(error).splitlines() or [''])[0][:200]}")
        return None

    def _set_scale(self, properties: Mapping[str, str]) -> None:
        self.magnification = _number(properties.get("openslide.objective-power"))
        x, y = _number(properties.get("openslide.mpp-x")), _number(properties.get("openslide.mpp-y"))
        mpp = (x + y) / 2 if x and y else x or y
        if mpp is None:
            return
        if self.vendor == "generic-tiff":
            self._set_mpp(mpp_of_resolution(10_000.0 / mpp, 3), "file (resolution tag)")
        else:
            self._set_mpp(mpp, "file (Aperio MPP)" if self.vendor == "aperio" else f"file ({self.vendor})")

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        import openslide

        handle = self._handle
        if handle is None:
            raise SlideError(f"{self.path.name} is closed.")
        # OpenSlide divides by its own factor of the level: with it, rounding never adds up towards the far edge.
        corner = (round(x * self._factors[level]), round(y * self._factors[level]))
        try:
            rgba = np.asarray(handle.read_region(corner, level, (width, height)))
        except openslide.OpenSlideError as error:
            self._renew(handle)
            raise SlideError(
                f"{self.path.name}: the tile at x {corner[0]}, y {corner[1]} (level {level}, {width} x {height} px) cannot be "
                f"read: {(str(error).splitlines() or [''])[0][:200]}. Copy the slide again if this happens often."
            ) from error
        return on_white(rgba)

    def _renew(self, dead: object) -> None:
        import openslide

        with self._renewing:
            if self._handle is dead:
                try:
                    self._handle = openslide.OpenSlide(self._opened)
                except openslide.OpenSlideError:
                    self._handle = None  # the file itself is gone; further reads say so

    def close(self) -> None:
        # Threads that are reading hold the handle; it is freed when the last of them lets go.
        self._handle = None


def on_white(rgba: np.ndarray) -> np.ndarray:
    """Lay uint8 [h, w, 4] (alpha not multiplied in) on white: uint8 [h, w, 3]."""
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha[..., None].astype(np.uint16)
    return ((rgba[..., :3] * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def _check_tiles(path: Path, properties: Mapping[str, str], levels: int) -> None:
    """Refuse a file that declares tiles which no scanner writes."""
    for level in range(levels):
        size = [_number(properties.get(f"openslide.level[{level}].tile-{side}")) for side in ("width", "height")]
        if size[0] and size[1] and size[0] * size[1] > LARGEST_TILE:
            raise SlideError(
                f"{path.name} declares tiles of {size[0]:.0f} x {size[1]:.0f} pixels (level {level}), "
                "so it is damaged; copy it again."
            )


def _bounds(properties: Mapping[str, str], width: int, height: int) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) of the scanned part, cut at the slide; None where the file names none that makes sense."""
    try:
        x, y, across, down = (int(properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return None
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + across, width), min(y + down, height)
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value and value > 0 else None
