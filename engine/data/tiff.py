"""Writing tiled, pyramidal TIFFs: slides in the style of a scanner, and heat maps.

Rows of tiles are streamed: while level 0 is written, the coarser levels are averaged from it and wait, encoded, in a
temporary file, so memory holds about one row of tiles per level however large the slide is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ..errors import OpsinError
from ..files import replacing

if TYPE_CHECKING:
    from ..results import Heatmap

Strips = Callable[[int, int], np.ndarray]
"""(first row, number of rows) -> uint8 [rows, width, 3] or [rows, width]; called from the top down, once per row."""

THUMBNAIL = 1024
_CODECS = {"jpeg": "jpeg", "deflate": "adobe_deflate", "zstd": "zstd", "none": None}
_THREADS = 2


class _Encode(Protocol):
    def __call__(self, tile: np.ndarray) -> bytes: ...


class _Level:
    """One level that is being written: rows come in, whole rows of tiles come out."""

    def __init__(self, width: int, height: int, channels: int, tile: int) -> None:
        self.width, self.height, self.tile = width, height, tile
        self.columns, self.rows = -(-width // tile), -(-height // tile)
        self._waiting = np.empty((0, width, channels), np.uint8)
        self._seen = 0

    def add(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Take uint8 [n, width, channels]; yield uint8 [<= tile, width, channels] for each row of tiles now complete."""
        rows = rows[: self.height - self._seen]
        self._seen += len(rows)
        self._waiting = np.concatenate([self._waiting, rows]) if len(self._waiting) else rows
        while len(self._waiting) >= self.tile or (self._seen == self.height and len(self._waiting)):
            yield self._waiting[: self.tile]
            self._waiting = self._waiting[self.tile :]

    def tiles(self, band: np.ndarray) -> list[np.ndarray]:
        """Cut a row of tiles; the last ones are filled up by repeating the edge, which costs the fewest bytes."""
        down, across = self.tile - band.shape[0], self.columns * self.tile - self.width
        if down or across:
            band = np.pad(band, ((0, down), (0, across), (0, 0)), mode="edge")
        return [band[:, i * self.tile : (i + 1) * self.tile] for i in range(self.columns)]


class _Spool:
    """Encoded tiles of one level in a temporary file until it is their turn."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed in `close`)
        self._counts: list[int] = []

    def add(self, tiles: list[bytes]) -> None:
        for tile in tiles:
            self._file.write(tile)
            self._counts.append(len(tile))

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        for count in self._counts:
            yield self._file.read(count)

    def close(self) -> None:
        self._file.close()


def write_pyramid(
    path: Path,
    source: Strips | np.ndarray,
    width: int,
    height: int,
    *,
    mpp: float | None,
    magnification: float | None = None,
    tile: int = 256,
    factors: tuple[int, ...] = (1, 4, 16),
    compression: Literal["jpeg", "deflate", "zstd", "none"] = "jpeg",
    quality: int = 85,
    style: Literal["aperio", "generic"] = "aperio",
    note: str = "",
) -> None:
    """Write a tiled pyramid, whole or not at all.

    Parameters
    ----------
    source : uint8 [height, width, 3] (or [height, width] for grey), or a function that gives its rows, see `Strips`.
    mpp : µm per level-0 pixel; None = not written.
    tile : side of the square tiles, a multiple of 16.
    factors : level-0 pixels per pixel of each level; 1 first, each a multiple of the one before. A level is
        ``size // factor`` pixels large and holds the mean of ``factor x factor`` pixels; levels that would be empty are
        left out.
    style : "aperio" is what OpenSlide and tifffile take for a slide of an Aperio scanner (a thumbnail in page 1, levels
        not marked as reduced, the scale in the description); "generic" is a plain pyramid with the scale in the
        resolution tags (pixels per cm).
    note : what else the description of a plain pyramid says.
    """
    import tifffile

    if not factors or factors[0] != 1 or any(b % a or b <= a for a, b in pairwise(factors)):
        raise ValueError(f"factors must start with 1 and each be a multiple of the one before, not {factors}")
    strips = source if callable(source) else lambda y, rows: source[y : y + rows]
    first = _colour(strips(0, min(tile, height)))
    channels = first.shape[2]
    factors = tuple(f for f in factors if width // f and height // f)
    levels = [_Level(width // f, height // f, channels, tile) for f in factors]
    encode = _encoder(compression, quality, channels)
    shrink = max(1, -(-max(levels[-1].width, levels[-1].height) // THUMBNAIL))
    thumbnail: list[np.ndarray] = []
    raw = width * height * channels * (1.4 if len(factors) > 1 else 1.0)
    options = _page_options(compression, channels, tile)
    with replacing(path) as temporary:
        spools = [_Spool(temporary.parent) for _ in levels[1:]]
        try:
            with (
                ThreadPoolExecutor(_THREADS) as pool,
                tifffile.TiffWriter(temporary, bigtiff=raw / (3 if compression == "jpeg" else 1) > 2**31) as tiff,
            ):
                reducers = [_Reducer(b // a) for a, b in pairwise(factors)]
                small = _Reducer(shrink)

                def below(number: int, rows: np.ndarray) -> None:
                    """Hand rows of level `number` on to the next coarser one, or to the thumbnail."""
                    if number == len(levels) - 1:
                        thumbnail.append(small.add(rows))
                        return
                    reduced = reducers[number].add(rows)
                    if not len(reduced):
                        return
                    level = levels[number + 1]
                    reduced = reduced[:, : level.width]
                    for band in level.add(reduced):
                        spools[number].add(list(pool.map(encode, level.tiles(band))))
                        below(number + 1, band)

                def finest() -> Iterator[bytes]:
                    for y in range(0, height, tile):
                        rows = first if y == 0 else _colour(strips(y, min(tile, height - y)))
                        for band in levels[0].add(rows):
                            # before the tiles are handed out: nobody comes back for more after the last one
                            below(0, band)
                            yield from pool.map(encode, levels[0].tiles(band))

                tags = _Tags(style, mpp, magnification, quality, tile, levels[0], note)
                tiff.write(finest(), shape=_shape(levels[0], channels), **options, **tags.level(0, levels[0], 1))
                if style == "aperio":
                    picture = np.concatenate([part for part in thumbnail if len(part)])
                    tiff.write(
                        picture if channels == 3 else picture[..., 0],
                        photometric="rgb" if channels == 3 else "minisblack",
                        compression="jpeg",
                        compressionargs={"level": quality},
                        metadata=None,
                        **tags.thumbnail(picture),
                    )
                for number, (level, spool) in enumerate(zip(levels[1:], spools, strict=True), 1):
                    tiff.write(
                        iter(spool),
                        shape=_shape(level, channels),
                        **options,
                        **tags.level(number, level, factors[number]),
                    )
        finally:
            for spool in spools:
                spool.close()


def write_heatmap(heatmap: Heatmap, path: Path) -> None:
    """Write a heat map as a pyramidal TIFF: grey, 8 bit, 255 = probability 1, 0 = probability 0 or not computed.

    Tiles of 512, deflate, levels by factors of 2, resolution tags in pixels per cm where the slide's scale is known.
    """
    from ..tiles import TilePyramid

    if heatmap.path is None:
        raise OpsinError("This heat map is not on disk yet, so it cannot be exported: predict the slide again.")
    # 0 = not computed, v >= 1 stands for (v - 1) / 254.
    table = np.concatenate([[0], np.round(np.arange(255) * (255 / 254))]).astype(np.uint8)
    pyramid = TilePyramid.open(heatmap.path, readonly=True)
    try:
        width, height = pyramid.level_size(0)
        mpp = pyramid.meta.get("mpp")
        factors = tuple(1 << level for level in range(pyramid.levels))
        write_pyramid(
            path,
            lambda y, rows: table[pyramid.region(0, 0, y, width, rows)],
            width,
            height,
            mpp=float(mpp) * pyramid.base if mpp else None,
            tile=512,
            factors=factors,
            compression="deflate",
            style="generic",
            note=f"heat map, 255 = probability 1, 1 px = {pyramid.base} level-0 px of a slide of "
            f"{pyramid.width} x {pyramid.height}",
        )
    finally:
        pyramid.close()


# -- parts ---------------------------------------------------------------------------------------


class _Reducer:
    """Means of factor x factor pixels of rows that come in pieces; what does not fill a square is dropped."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._left: np.ndarray | None = None

    def add(self, rows: np.ndarray) -> np.ndarray:
        import cv2

        factor = self._factor
        if factor == 1:
            return rows
        if self._left is not None and len(self._left):
            rows = np.concatenate([self._left, rows])
        height, width = rows.shape[0] // factor, rows.shape[1] // factor
        self._left = rows[height * factor :].copy()
        if not height or not width:
            return np.empty((0, width, rows.shape[2]), np.uint8)
        whole = rows[: height * factor, : width * factor]
        reduced = cv2.resize(np.ascontiguousarray(whole), (width, height), interpolation=cv2.INTER_AREA)
        return reduced.reshape(height, width, -1)


class _Tags:
    """What each page says about itself, in one of the two styles."""

    def __init__(
        self,
        style: str,
        mpp: float | None,
        magnification: float | None,
        quality: int,
        tile: int,
        base: _Level,
        note: str = "",
    ) -> None:
        self._note = f"|{note}" if note else ""
        self._aperio = style == "aperio"
        self._mpp, self._base = mpp, base
        self._scale = "".join(
            f"|{name} = {value:g}" for name, value in (("AppMag", magnification), ("MPP", mpp)) if value
        )
        self._code = f"({tile}x{tile}) JPEG/RGB Q={quality}"

    def level(self, number: int, level: _Level, factor: int) -> dict[str, Any]:
        size = f"{self._base.width}x{self._base.height}"
        if self._aperio:
            head = "Aperio Image Library (made by Opsin)\r\n"
            text = f"{head}{size} [0,0 {size}] {self._code}"
            if number:
                text = f"{head}{size} [0,0 {size}] {self._code} -> {level.width}x{level.height} {self._code[10:]}"
            return {"description": text + self._scale, "metadata": None}
        tags: dict[str, Any] = {"metadata": None, "subfiletype": 1 if number else 0}
        if self._mpp:
            pixels = 10_000.0 / (self._mpp * factor)
            tags |= {"resolution": (pixels, pixels), "resolutionunit": "CENTIMETER"}
        if not number and (self._scale or self._note):
            tags["description"] = "Opsin" + self._scale + self._note
        return tags

    def thumbnail(self, picture: np.ndarray) -> dict[str, Any]:
        size = f"{self._base.width}x{self._base.height}"
        text = f"Aperio Image Library (made by Opsin)\r\n{size} -> {picture.shape[1]}x{picture.shape[0]} - "
        return {"description": text + self._scale}


def _colour(rows: np.ndarray) -> np.ndarray:
    if rows.dtype != np.uint8 or rows.ndim not in (2, 3):
        raise ValueError(f"rows must be uint8 [rows, width] or [rows, width, 3], not {rows.dtype} {rows.shape}")
    return rows if rows.ndim == 3 else rows[..., None]


def _shape(level: _Level, channels: int) -> tuple[int, ...]:
    return (level.height, level.width, channels) if channels > 1 else (level.height, level.width)


def _page_options(compression: str, channels: int, tile: int) -> dict[str, Any]:
    jpeg = compression == "jpeg" and channels == 3
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": (tile, tile),
        "compression": _CODECS[compression],
        "photometric": "ycbcr" if jpeg else "rgb" if channels == 3 else "minisblack",
    }
    return {**options, "subsampling": (2, 2)} if jpeg else options


def _encoder(compression: str, quality: int, channels: int) -> _Encode:
    import imagecodecs

    def jpeg(tile: np.ndarray) -> bytes:
        if channels == 1:
            return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(tile[..., 0]), level=quality))
        return bytes(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(tile), level=quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
            )
        )

    def plain(tile: np.ndarray) -> bytes:
        raw = np.ascontiguousarray(tile).tobytes()
        if compression == "deflate":
            return bytes(imagecodecs.zlib_encode(raw, level=6))
        return bytes(imagecodecs.zstd_encode(raw, level=3)) if compression == "zstd" else raw

    return jpeg if compression == "jpeg" else plain
