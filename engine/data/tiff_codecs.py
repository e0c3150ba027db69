"""How one tile of a TIFF becomes pixels: JPEG with its tables, Aperio's JPEG 2000, and whatever tifffile decodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

RGB, YCBCR = 2, 6
"""Values of the tag PhotometricInterpretation."""
_JPEG, _APERIO_JP2_YCBCR = 7, 33003
_OFFSETS = np.arange(256) - 128
# What each chroma value adds to red (Cr), green (Cb, Cr; in 1/65536, half included) and blue (Cb).
_CHROMA = (
    np.round(1.402 * _OFFSETS).astype(np.int32),
    np.round(-0.34414 * 65536 * _OFFSETS).astype(np.int32),
    (np.round(-0.71414 * 65536 * _OFFSETS) + 32768).astype(np.int32),
    np.round(1.772 * _OFFSETS).astype(np.int32),
)


def decoder(page: Any, first_tile: int) -> Callable[[bytes, int], np.ndarray]:
    """Function (bytes, tile) -> [tile height, tile width, samples] for the compression of `page`."""
    import imagecodecs

    height, width = page.tilelength, page.tilewidth
    if page.compression == _JPEG and page.dtype == np.uint8 and page.planarconfig == 1:
        tables, samples = page.jpegtables, page.samplesperpixel
        # The tag decides, not the JPEG's own markers: Aperio stores RGB without saying so inside the JPEG.
        space = {RGB: "RGB", YCBCR: "YCBCR"}.get(int(page.photometric)) if samples == 3 else None
        wanted = "RGB" if space else None

        def jpeg(data: bytes, index: int) -> np.ndarray:
            out = imagecodecs.jpeg8_decode(data, tables=tables, colorspace=space, outcolorspace=wanted)
            return _fitted(out if out.ndim == 3 else out[..., None], height, width)

        return jpeg
    if page.compression == _APERIO_JP2_YCBCR:

        def jpeg2000(data: bytes, index: int) -> np.ndarray:
            return _fitted(ycbcr_to_rgb(imagecodecs.jpeg2k_decode(data)), height, width)

        return jpeg2000
    page.init_decode() if hasattr(page, "init_decode") else page.decode  # not thread-safe the first time
    decode, tables = page.decode, page.jpegtables

    def any_codec(data: bytes, index: int) -> np.ndarray:
        out = decode(data, first_tile + index, jpegtables=tables, _fullsize=True)[0]
        return _fitted(np.asarray(out)[0], height, width)

    return any_codec


def _fitted(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """Some writers cut the tiles at the edge: pad them to full size."""
    if tile.shape[0] >= height and tile.shape[1] >= width:
        return tile[:height, :width]
    return np.pad(
        tile,
        ((0, max(0, height - tile.shape[0])), (0, max(0, width - tile.shape[1])), (0, 0)),
        constant_values=255,
    )


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """JPEG's conversion with OpenSlide's rounding, for Aperio's JPEG 2000 in YCbCr (compression 33003)."""
    red_cr, green_cb, green_cr, blue_cb = _CHROMA
    y, cb, cr = ycbcr[..., 0].astype(np.int32), ycbcr[..., 1], ycbcr[..., 2]
    red, blue = y + red_cr[cr], y + blue_cb[cb]
    green = y + ((green_cb[cb] + green_cr[cr]) >> 16)
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)


def palette(page: Any) -> np.ndarray | None:
    """uint8 [256, 3] of a page of colour numbers."""
    if page.photometric != 3 or page.colormap is None:
        return None
    return np.ascontiguousarray((np.asarray(page.colormap) >> 8).astype(np.uint8).T)
