"""Plain pictures (PNG, JPEG, BMP, untiled TIFF) as slides: decoded once, kept in memory as a pyramid.

The size is checked before anything is decoded. The orientation that a camera noted (EXIF) is honoured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import SlideError
from .slide import Level, Slide, mpp_of_resolution

TILE = 512
# Share of the free memory that one picture may take, pyramid and decoding included.
MEMORY_SHARE = 0.25
# Bytes per pixel at the peak: decoded by Pillow (up to 4), as RGB (3) and its pyramid (1).
_PEAK_BYTES = 8
# Nothing but an empty picture packs more pixels into a byte; where the file is small and declares many, it is damaged.
_DENSEST = 5_000
_MANY_PIXELS = 1 << 24
# A picture's resolution coarser than this (µm per pixel) is a print setting, not a microscope's.
_COARSEST_MPP = 20.0


class TooLarge(SlideError):
    """A picture without tiles does not fit into the memory; `picture_pyramid` can make a pyramid of it."""


class PictureSlide(Slide):
    """A picture in memory, halved until its longest side is at most 512 pixels."""

    vendor = "picture"
    reader = "Pillow"

    def __init__(self, path: Path, pixels: np.ndarray) -> None:
        """`pixels`: uint8 [height, width, 3]."""
        import cv2

        super().__init__(path)
        self._arrays: list[np.ndarray] = [pixels]
        while max(self._arrays[-1].shape[:2]) > TILE:
            height, width = self._arrays[-1].shape[:2]
            half = (max(1, width // 2), max(1, height // 2))
            self._arrays.append(cv2.resize(self._arrays[-1], half, interpolation=cv2.INTER_AREA))
        height, width = pixels.shape[:2]
        for array in self._arrays:
            array.setflags(write=False)
            h, w = array.shape[:2]
            self.levels.append(Level(w, h, width / w, height / h, TILE, TILE))

    @classmethod
    def try_open(cls, path: Path, reasons: list[str]) -> PictureSlide | None:
        """The picture, or None with the reason added to `reasons`."""
        from PIL import Image, UnidentifiedImageError

        # Pillow's own limit is a fixed number of pixels; ours below knows the memory of this computer.
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(path) as image:
                check_memory(path, image.width, image.height)
                parts = [box for _, box, *_ in getattr(image, "tile", ()) if box] if image.format == "TIFF" else []
                if sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in parts) < image.width * image.height * bool(parts):
                    raise ValueError("it lists pixels for a part of it alone")  # Pillow would leave the rest black
                resolution = _resolution(image)
                pixels = _rgb(image)
        except UnidentifiedImageError:
            reasons.append("no picture either")
            return None
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
            reasons.append(
                f"as a picture it is damaged: {str(error).splitlines()[0][:120] if str(error) else 'unknown'}"
            )
            return None
        slide = cls(path, pixels)
        slide._set_mpp(resolution, "file (resolution tag)")
        return slide

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        if not self._arrays:
            raise SlideError(f"{self.path.name} is closed.")
        return self._arrays[level][y : y + height, x : x + width].copy()

    def close(self) -> None:
        self._arrays = []


def check_memory(path: Path, width: int, height: int, per_pixel: float = _PEAK_BYTES) -> None:
    """Refuse a picture that would take more than a quarter of the free memory (`per_pixel`: bytes at the peak), or that
    declares a size which its few bytes cannot hold."""
    import psutil

    size = path.stat().st_size
    if width * height > max(_MANY_PIXELS, _DENSEST * size):
        raise SlideError(
            f"{path.name} declares {width:,} x {height:,} pixels in {size:,} bytes, so it is damaged; copy it again."
        )
    free = psutil.virtual_memory().available
    needed = width * height * per_pixel
    if needed > MEMORY_SHARE * free:
        raise TooLarge(
            f"{path.name} has {width:,} x {height:,} pixels and no tiles, so it would need {needed / 1e9:.1f} GB of the "
            f"{free / 1e9:.1f} GB of free memory: make a pyramidal tiled TIFF of it (opsin convert {path.name} {path.stem}.tif "
            "does, and so do QuPath and libvips)."
        )


def _rgb(image: object) -> np.ndarray:
    """uint8 [h, w, 3]: upright, transparent parts on white, 16 bit scaled by the brightest pixel."""
    from PIL import Image, ImageOps

    assert isinstance(image, Image.Image)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image, np.float32)
        low, high = float(values.min()), float(values.max())
        grey = ((values - low) * (255.0 / max(high - low, 1e-9)) + 0.5).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        from .openslide_slide import on_white

        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image.convert("RGB"))


def _resolution(image: object) -> float | None:
    """µm per pixel from the resolution that the file carries, if a microscope may have written it."""
    dpi = getattr(image, "info", {}).get("dpi")
    try:
        mpp = mpp_of_resolution((float(dpi[0]) + float(dpi[1])) / 2, 2) if dpi else None
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return mpp if mpp and mpp <= _COARSEST_MPP else None
