"""Our own reader of tiled TIFFs: .svs (JPEG, JPEG 2000), generic pyramids, OME-TIFF with levels as pages or SubIFDs.

tifffile reads the structure once, at opening; from then on a tile is one `pread` and one decode, without a lock and without
the GIL, so any number of threads may read at once. JPEG tiles come out bit-identical to OpenSlide's.

* A tile without bytes is white. Tiles are cut at the slide's edge (files pad them).
* The Orientation tag is ignored, at all levels alike: coordinates are those of the file as it is stored.
* Grey becomes three equal channels. 16-bit and multichannel (fluorescence) slides are scaled linearly to 8 bit, each
  channel by its smallest and largest value in the coarsest level, and channels are added in fixed colours. Of a stack in
  depth or time the first plane is shown.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SlideError
from .slides import Level, Slide, mpp_of_resolution
from .tiff_codecs import RGB, YCBCR, palette
from .tiff_levels import NotOurs, Plane, ome_levels, ome_scale, page_levels, planes_of, positive_number

# Vendors whose TIFFs need more than their tiles (overlaps, several areas, depths): OpenSlide knows them.
_FOR_OPENSLIDE = ("ndpi", "scn", "bif", "philips")
_CHANNEL_COLOURS = np.array(
    [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], np.float32
)  # blue first: the nuclear stain is mostly channel 0
# Tiles of the coarsest level that the range of 16-bit slides is taken from.
_SAMPLED_TILES = 64


class TiledTiffSlide(Slide):
    """A tiled TIFF, read tile by tile. Raises `NotOurs` at opening where another reader must try."""

    reader = "Opsin tile reader"

    def __init__(self, path: Path) -> None:
        import tifffile

        super().__init__(path)
        try:
            with tifffile.TiffFile(path) as tiff:
                self._read_structure(tiff)
        except NotOurs:
            raise
        except Exception as error:  # tifffile raises nearly everything on damaged files
            raise NotOurs(f"its structure is damaged: {_first_line(error)}") from error
        self._file: _File | None = _File(path)
        self._check_length()
        self._black: np.ndarray | None = None
        self._gain: np.ndarray | None = None
        self._probe()
        if not self._eight_bit:
            self._black, self._gain = self._scaling()

    # -- structure -------------------------------------------------------------------------------------------------

    def _read_structure(self, tiff: Any) -> None:
        for flag in _FOR_OPENSLIDE:
            if getattr(tiff, f"is_{flag}"):
                raise NotOurs(f"{flag} slides are read through OpenSlide")
        if not len(tiff.pages):
            raise NotOurs("it holds no image")
        pages = ome_levels(tiff) if tiff.is_ome else None
        if pages is None:
            pages = [[page] for page in page_levels(tiff)]
        first = pages[0][0]
        software = str(first.software or "") + str(first.description or "")[:200]
        if "MedScan" in software or "Trestle" in software:
            raise NotOurs("Trestle slides are read through OpenSlide")
        self._planes: list[list[Plane]] = []
        for level_pages in pages:
            key = level_pages[0]
            level = Level(
                key.imagewidth,
                key.imagelength,
                first.imagewidth / key.imagewidth,
                first.imagelength / key.imagelength,
                key.tilewidth,
                key.tilelength,
            )
            self.levels.append(level)
            self._planes.append([plane for page in level_pages for plane in planes_of(page, level)])
        separate_rgb = first.planarconfig == 2 and first.photometric == RGB and first.samplesperpixel >= 3
        self._colour = len(self._planes[0]) == 1 or separate_rgb  # else: channels
        self._joint = first.photometric in (RGB, YCBCR)
        self._inverted = first.photometric == 0
        self._palette = palette(first)
        self._alpha = first.samplesperpixel == 4 and first.photometric == RGB and bool(first.extrasamples)
        self._eight_bit = first.dtype == np.uint8 and self._colour and first.samplesperpixel in (1, 3, 4)
        self._set_scale(tiff, first)

    def _set_scale(self, tiff: Any, first: Any) -> None:
        description = str(first.description or "")
        values = dict(re.findall(r"\|\s*([\w ]+?)\s*=\s*([^|;\r\n]*)", description))
        self.vendor = "aperio" if description.startswith("Aperio") else "ome-tiff" if tiff.is_ome else "generic-tiff"
        self.magnification = positive_number(values.get("AppMag"))
        if tiff.is_ome:
            mpp, self.magnification = ome_scale(tiff.ome_metadata or "", first.imagewidth, first.imagelength)
            self._set_mpp(mpp, "file (OME)")
        if self.vendor == "aperio":
            self._set_mpp(positive_number(values.get("MPP")), "file (Aperio MPP)")
        if self.mpp is None and "XResolution" in first.tags and "ResolutionUnit" in first.tags:
            unit = int(first.tags["ResolutionUnit"].value)
            along = [
                mpp_of_resolution(numerator / denominator, unit) if denominator else None
                for numerator, denominator in (
                    first.tags[name].value for name in ("XResolution", "YResolution") if name in first.tags
                )
            ]
            known = [value for value in along if value]
            self._set_mpp(sum(known) / len(known) if known else None, "file (resolution tag)")

    def _check_length(self) -> None:
        size = self.path.stat().st_size
        for planes in self._planes:
            for plane in planes:
                end = int((plane.offsets + plane.counts)[plane.counts > 0].max(initial=0))
                if end > size:
                    raise SlideError(
                        f"{self.path.name} is truncated: it ends at byte {size:,} but holds tiles up to byte {end:,}. Copy it "
                        "again from where it came from."
                    )

    def _probe(self) -> None:
        """Leave the file to another reader where not one of the first tiles can be decoded."""
        failures = []
        for plane in self._planes[-1][:1]:
            present = np.flatnonzero(plane.counts)[:3]
            for index in present:
                try:
                    plane.decode(self._bytes(plane, int(index)), int(index))
                    return
                except Exception as error:
                    failures.append(_first_line(error))
        if failures:
            raise NotOurs(f"its tiles cannot be decoded: {failures[0]}")

    # -- tiles -----------------------------------------------------------------------------------------------------

    def _bytes(self, plane: Plane, index: int) -> bytes:
        file = self._file
        if file is None:
            raise SlideError(f"{self.path.name} is closed.")
        count = int(plane.counts[index])
        data = file.read(int(plane.offsets[index]), count)
        if len(data) != count:
            raise ValueError(f"the file ends {count - len(data)} bytes too early")
        return data

    def _raw(self, level: int, plane: Plane, index: int) -> np.ndarray | None:
        """Decoded tile [h, w, samples] of one plane, None where the file has none."""
        if plane.counts[index] == 0:
            return None
        try:
            return plane.decode(self._bytes(plane, index), index)
        except SlideError:
            raise
        except Exception as error:  # each codec has its own kind of error
            row, column = divmod(index, self.levels[level].columns)
            raise SlideError(
                f"{self.path.name}: the tile in row {row}, column {column} of level {level} cannot be read "
                f"({_first_line(error)}). Copy the slide again if this happens often."
            ) from error

    def tile(self, level: int, row: int, column: int) -> np.ndarray:
        size = self.levels[level]
        if not (0 <= row < size.rows and 0 <= column < size.columns):
            raise IndexError(f"level {level} has {size.rows} x {size.columns} tiles, not ({row}, {column})")
        rgb = self._rgb(level, row * size.columns + column)
        height = min(size.tile_height, size.height - row * size.tile_height)
        width = min(size.tile_width, size.width - column * size.tile_width)
        return rgb[:height, :width]

    def _rgb(self, level: int, index: int) -> np.ndarray:
        """A whole tile as uint8 RGB."""
        planes = self._planes[level]
        size = self.levels[level]
        parts = [self._raw(level, plane, index) for plane in planes]
        if all(part is None for part in parts):
            return np.full((size.tile_height, size.tile_width, 3), 255, np.uint8)
        if not self._eight_bit:
            return self._as_eight_bit(parts, size)
        if len(parts) > 1:  # separate planes of red, green, blue
            whole = [np.full((size.tile_height, size.tile_width, 1), 255, np.uint8) if p is None else p for p in parts]
            return np.concatenate(whole[:3], axis=2)
        part = parts[0]
        assert part is not None
        if part.shape[2] == 3:
            return part
        if part.shape[2] == 4:
            if self._alpha:
                from .openslide_slide import on_white

                return on_white(part)
            return np.ascontiguousarray(part[..., :3])
        if self._palette is not None:
            return self._palette[part[..., 0]]
        return np.repeat(255 - part if self._inverted else part, 3, axis=2)

    def _as_eight_bit(self, parts: list[np.ndarray | None], size: Level) -> np.ndarray:
        """Scale by black point and gain of each channel, then add the channels in their colours."""
        assert self._black is not None and self._gain is not None
        shape = (size.tile_height, size.tile_width)
        if self._colour and self._joint:
            whole = [np.full((*shape, 1), 0, np.float32) if p is None else p for p in parts]
            values = np.concatenate(whole, axis=2)[..., :3].astype(np.float32)
            return np.clip((values - self._black) * self._gain + 0.5, 0, 255).astype(np.uint8)
        channels = _channels(parts)
        out = np.zeros((*shape, 3), np.float32)
        for number, channel in enumerate(channels):
            if channel is None:
                continue
            grey = np.clip((channel.astype(np.float32) - self._black[number]) * self._gain[number], 0, 255)
            grey = 255 - grey if self._inverted else grey
            colour = np.ones(3, np.float32) if len(channels) == 1 else _CHANNEL_COLOURS[number % 6]
            out += grey[..., None] * colour
        return np.clip(out + 0.5, 0, 255).astype(np.uint8)

    def _scaling(self) -> tuple[np.ndarray, np.ndarray]:
        """Black point and gain per channel from (at most 64 evenly spread tiles of) the coarsest level."""
        level = len(self.levels) - 1
        size = self.levels[level]
        tiles = size.rows * size.columns
        low = high = None
        for index in np.unique(np.linspace(0, tiles - 1, min(tiles, _SAMPLED_TILES)).astype(int)):
            height = min(size.tile_height, size.height - int(index) // size.columns * size.tile_height)
            width = min(size.tile_width, size.width - int(index) % size.columns * size.tile_width)
            parts = [self._raw(level, plane, int(index)) for plane in self._planes[level]]
            channels = _channels(parts)
            if any(channel is None for channel in channels):
                continue
            values = np.stack([c[:height, :width].astype(np.float64) for c in channels if c is not None])
            values = np.nan_to_num(values.reshape(len(channels), -1))
            low = values.min(1) if low is None else np.minimum(low, values.min(1))
            high = values.max(1) if high is None else np.maximum(high, values.max(1))
        if low is None or high is None:
            low, high = np.zeros(1), np.ones(1)
        if self._colour and self._joint:  # one scale for all three, or the colours would shift
            low, high = np.zeros(3), np.full(3, high.max())
        span = np.maximum(high - low, 1e-9)
        return low.astype(np.float32), (255.0 / span).astype(np.float32)

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        size = self.levels[level]
        th, tw = size.tile_height, size.tile_width
        first_row, last_row = y // th, (y + height - 1) // th
        first_column, last_column = x // tw, (x + width - 1) // tw
        out = np.empty((height, width, 3), np.uint8)
        for row in range(first_row, last_row + 1):
            top, bottom = max(y, row * th), min(y + height, (row + 1) * th)
            for column in range(first_column, last_column + 1):
                left, right = max(x, column * tw), min(x + width, (column + 1) * tw)
                tile = self._rgb(level, row * size.columns + column)
                out[top - y : bottom - y, left - x : right - x] = tile[
                    top - row * th : bottom - row * th, left - column * tw : right - column * tw
                ]
        return out

    def close(self) -> None:
        # A thread in the middle of a read holds the file; it is closed when the last of them lets go. Closing it here
        # could hand its number to another file, and that thread would read the wrong one.
        self._file = None


class _File:
    """Positioned reads without a shared position: `pread`, and a lock where the system has none (Windows)."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._stream.fileno(), count, offset)
        with self._lock:
            self._stream.seek(offset)
            return self._stream.read(count)

    def __del__(self) -> None:
        stream = getattr(self, "_stream", None)
        if stream is not None:
            stream.close()


def _channels(parts: list[np.ndarray | None]) -> list[np.ndarray | None]:
    """Planes and interleaved samples as one list of [h, w]."""
    if len(parts) == 1 and parts[0] is not None:
        return [parts[0][..., k] for k in range(parts[0].shape[2])]
    return [None if part is None else part[..., 0] for part in parts]


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
