"""A pyramid of a plain picture that is too large to be kept in memory decoded: what `opsin convert big.png big.tif` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SlideError
from .fingerprints import TIFF_MAGIC
from .picture import _resolution, _rgb
from .tiff import write_pyramid
from .tiff_codecs import RGB

# Share of the free memory that a picture may take which can only be decoded whole.
_SHARE = 0.7
# Bytes per pixel while Pillow decodes and hands over: four, and three as RGB.
_WHOLE_BYTES = 7
_FEWEST = 512  # pixels of the longest side of the coarsest level


def picture_pyramid(source: Path, target: Path, mpp: float | None = None) -> tuple[int, int]:
    """Write a plain picture as a tiled pyramidal TIFF (JPEG of quality 90, tiles of 512, levels by factors of 2).

    A TIFF in strips is read strip by strip; other pictures are decoded whole, once.

    Parameters
    ----------
    mpp : µm per pixel; None = what the picture says.

    Returns
    -------
    Width and height in pixels.

    Raises
    ------
    SlideError : the picture is damaged, or too large for the free memory; nothing is written then.
    """
    from PIL import Image

    with source.open("rb") as file:
        magic = file.read(4)
    strips = _strips(source) if magic in TIFF_MAGIC else None
    if strips is not None:
        rows, width, height, own = strips
    else:
        Image.MAX_IMAGE_PIXELS = None
        try:
            with Image.open(source) as image:
                _check(source, image.width * image.height * _WHOLE_BYTES)
                own = _resolution(image)
                pixels = _rgb(image)
        except SlideError:
            raise
        except Exception as error:  # Pillow's plugins raise nearly everything on damaged files
            raise SlideError(f"{source.name} is no picture, or it is damaged: copy it again.") from error
        height, width = pixels.shape[:2]

        def rows(y: int, count: int) -> np.ndarray:
            return pixels[y : y + count]

    factors = [1]
    while max(width, height) // factors[-1] > _FEWEST:
        factors.append(factors[-1] * 2)
    try:
        write_pyramid(
            target, rows, width, height, mpp=mpp or own, tile=512, factors=tuple(factors), quality=90, style="generic"
        )
    except OSError:
        raise  # of the target: the disk is full or must not be written
    except Exception as error:  # each codec has its own kind of error
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise SlideError(f"{source.name} cannot be decoded ({reason}): copy it again.") from error
    return width, height


def _check(path: Path, needed: float) -> None:
    import psutil

    free = psutil.virtual_memory().available
    if needed > _SHARE * free:
        raise SlideError(
            f"{path.name} can only be decoded whole, which needs {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB of free memory: "
            "use a computer with more, or libvips (vips tiffsave --tile --pyramid)."
        )


def _strips(path: Path) -> tuple[Callable[[int, int], np.ndarray], int, int, float | None] | None:
    """(rows of the picture, width, height, µm per pixel) of an 8-bit TIFF in strips; None for another kind."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            page: Any = tiff.pages.first
            fits = page.dtype == np.uint8 and page.samplesperpixel in (1, 3) and page.planarconfig == 1
            plain = page.photometric in (1, RGB) and "Orientation" not in page.tags
            if page.is_tiled or not fits or not plain:
                return None
            offsets, counts = page.dataoffsets, page.databytecounts
            width, height, per_strip = page.imagewidth, page.imagelength, page.rowsperstrip
            _check(path, min(per_strip, height) * width * 8)
            decode = page.decode
    except SlideError:
        raise
    except Exception:  # Pillow says what is wrong with it
        return None
    kept: tuple[int, np.ndarray] = (-1, np.empty((0, width, 1), np.uint8))

    def strip(number: int) -> np.ndarray:
        nonlocal kept
        if kept[0] != number:
            with path.open("rb") as file:
                file.seek(offsets[number])
                data = file.read(counts[number])
            kept = (number, np.asarray(decode(data, number)[0])[0])
        return kept[1]

    def rows(y: int, count: int) -> np.ndarray:
        parts = []
        while count > 0:
            number, first = divmod(y, per_strip)
            part = strip(number)[first : first + count]
            if not len(part):
                raise ValueError(f"it ends at row {y}")
            parts.append(part)
            y, count = y + len(part), count - len(part)
        joined = np.concatenate(parts)
        return joined if joined.shape[2] == 3 else joined[..., 0]

    return rows, width, height, None
