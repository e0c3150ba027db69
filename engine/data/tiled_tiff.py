"""Our own reader of tiled TIFFs: .svs (JPEG, JPEG 2000), generic pyramids, OME-TIFF with levels as pages or SubIFDs.

tifffile reads the structure once, at opening; from then on a tile is one `pread` and one decode, without a lock and without
the GIL, so any number of threads may read at once. JPEG tiles come out bit-identical to OpenSlide's.

* A tile without bytes is white. Tiles are cut at the slide's edge (files pad them).
* The Orientation tag of the first page is applied at all levels alike: coordinates are those of the upright picture.
* 8-bit grey becomes three equal channels. 16-bit RGB is scaled linearly to 8 bit, by the largest value in the coarsest level.
  All else is a slide with channels (`Slide.channels`). Of a stack in depth or time the first plane is shown.
"""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SlideError
from .channels import described
from .ome import ome_channels, ome_scale, positive_number
from .orientation import steps
from .slide import Level, Slide, level_factors, mpp_of_resolution
from .tiff_codecs import RGB, YCBCR, palette
from .tiff_levels import NotOurs, Plane, page_levels, planes_of, series_levels
from .tile_cache import TILES

# Vendors whose TIFFs need more than their tiles (overlaps, several areas, depths): OpenSlide knows them.
_FOR_OPENSLIDE = ("ndpi", "scn", "bif", "philips")
# Tiles of the coarsest level that the range of deep slides is taken from.
_SAMPLED_TILES = 64
# Pixels of them per channel.
_SAMPLED_PIXELS = 1 << 20


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
        self._number = TILES.new_slide()
        self._file: _File | None = _File(path)
        self._check_length()
        self._gain = 1.0
        self._probe()
        if self._many:
            self._describe_channels()
        elif not self._eight_bit:
            self._gain = 255.0 / max(float(self._sample().max(initial=0)), 1e-9)
        if steps(self._orientation)[0]:
            self.levels = [
                Level(s.height, s.width, s.downsample_y, s.downsample_x, s.tile_height, s.tile_width)
                for s in self._sizes
            ]

    # -- structure -------------------------------------------------------------------------------------------------

    def _read_structure(self, tiff: Any) -> None:
        for flag in _FOR_OPENSLIDE:
            if getattr(tiff, f"is_{flag}"):
                raise NotOurs(f"{flag} slides are read through OpenSlide")
        if not len(tiff.pages):
            raise NotOurs("it holds no image")
        found = series_levels(tiff) if _in_series(tiff) else None
        if found is None:
            found = [[page] for page in page_levels(tiff)], ""
        pages, self.note = found
        first = pages[0][0]
        software = str(first.software or "") + str(first.description or "")[:200]
        if "MedScan" in software or "Trestle" in software:
            raise NotOurs("Trestle slides are read through OpenSlide")
        self._planes: list[list[Plane]] = []
        self._sizes: list[Level] = []  # as stored
        for level_pages in pages:
            key = level_pages[0]
            factors = level_factors(first.imagewidth, first.imagelength, key.imagewidth, key.imagelength)
            level = Level(key.imagewidth, key.imagelength, *factors, key.tilewidth, key.tilelength)
            self._sizes.append(level)
            self._planes.append([plane for page in level_pages for plane in planes_of(page, level)])
        separate_rgb = first.planarconfig == 2 and first.photometric == RGB and first.samplesperpixel >= 3
        self._colour = len(self._planes[0]) == 1 or separate_rgb  # else: channels
        self._joint = first.photometric in (RGB, YCBCR)
        self._inverted = first.photometric == 0
        self._palette = palette(first)
        self._samples = int(first.samplesperpixel)
        self._alpha = first.samplesperpixel == 4 and first.photometric == RGB and bool(first.extrasamples)
        usual = first.samplesperpixel in (1, 3) or (first.samplesperpixel == 4 and first.photometric not in (0, 1))
        self._eight_bit = first.dtype == np.uint8 and self._colour and usual
        self._many = not self._eight_bit and not (self._colour and self._joint)
        if self._many and first.dtype.kind not in "uif":
            raise NotOurs(f"its pixels are {first.dtype}")
        self._number_type = np.dtype(first.dtype) if self._many else np.dtype(np.uint8)
        self.levels = self._sizes
        if "Orientation" in first.tags:
            self._orientation = int(first.tags["Orientation"].value)
        self._facts = (tiff.ome_metadata or "", first.imagewidth, first.imagelength) if tiff.is_ome else None
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
            row, column = divmod(index, self._sizes[level].columns)
            raise SlideError(
                f"{self.path.name}: the tile in row {row}, column {column} of level {level} cannot be read "
                f"({_first_line(error)}). Copy the slide again if this happens often."
            ) from error

    def _rgb(self, level: int, index: int) -> np.ndarray:
        """A whole tile as uint8 RGB."""
        planes = self._planes[level]
        size = self._sizes[level]
        parts = [self._raw(level, plane, index) for plane in planes]
        if all(part is None for part in parts):
            return np.full((size.tile_height, size.tile_width, 3), 255, np.uint8)
        if not self._eight_bit:
            whole = [np.zeros((size.tile_height, size.tile_width, 1), np.float32) if p is None else p for p in parts]
            values = np.concatenate(whole, axis=2)[..., :3].astype(np.float32)
            return np.clip(values * self._gain + 0.5, 0, 255).astype(np.uint8)
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

    def _values(self, level: int, index: int) -> np.ndarray:
        """A whole tile as [C, tile height, tile width] in the file's number type; 0 where the file has none."""
        size = self._sizes[level]
        parts = [self._raw(level, plane, index) for plane in self._planes[level]]
        if len(parts) == 1:
            part = parts[0]
            count = len(self.channels) or 1
            values = (
                np.zeros((count, size.tile_height, size.tile_width), self._number_type)
                if part is None
                else part.transpose(2, 0, 1)
            )
        else:
            empty = np.zeros((size.tile_height, size.tile_width), self._number_type)
            values = np.stack([empty if part is None else part[..., 0] for part in parts])
        return np.invert(values) if self._inverted and values.dtype.kind == "u" else values

    def _sample(self) -> np.ndarray:
        """[C, n] pixels of (at most 64 evenly spread tiles of) the coarsest level, tiles that are missing left out."""
        level = len(self._sizes) - 1
        size = self._sizes[level]
        tiles = size.rows * size.columns
        found = []
        for index in np.unique(np.linspace(0, tiles - 1, min(tiles, _SAMPLED_TILES)).astype(int)):
            if any(plane.counts[index] == 0 for plane in self._planes[level]):
                continue
            height = min(size.tile_height, size.height - int(index) // size.columns * size.tile_height)
            width = min(size.tile_width, size.width - int(index) % size.columns * size.tile_width)
            step = max(1, math.isqrt(height * width * min(tiles, _SAMPLED_TILES) // _SAMPLED_PIXELS))
            values = self._values(level, int(index))[:, :height:step, :width:step]
            found.append(values.reshape(len(values), -1))
        return np.concatenate(found, axis=1) if found else np.zeros((1, 0), self._number_type)

    def _describe_channels(self) -> None:
        values = self._sample()
        planes = self._planes[0]
        count = len(planes) if len(planes) > 1 else max(self._samples, len(values))
        names, colors = ome_channels(*self._facts) if self._facts else ([], [])
        self._set_channels(described(values if len(values) == count else None, count, names, colors), self._number_type)

    def _kept(self, level: int, index: int) -> np.ndarray:
        """`_values` or `_rgb` of a tile, from the cache where it is there."""
        if self._file is None:
            raise SlideError(f"{self.path.name} is closed.")
        key = (self._number, level, index)
        tile = TILES.get(key)
        if tile is None:
            tile = self._values(level, index) if self.channels else self._rgb(level, index)
            TILES.put(key, tile)
        return tile

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        out = np.empty((height, width, 3), np.uint8)
        for index, place, part in self._cut(level, x, y, width, height):
            out[place] = self._kept(level, index)[part]
        return out

    def _native(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        if not self.channels:
            return super()._native(level, x, y, width, height)
        out = np.empty((len(self.channels), height, width), self._number_type)
        for index, place, part in self._cut(level, x, y, width, height):
            out[:, place[0], place[1]] = self._kept(level, index)[:, part[0], part[1]]
        return out

    def _cut(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> Iterator[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
        """For each tile under a rectangle: its number, (rows, columns) of the rectangle and of the tile where both meet."""
        size = self._sizes[level]
        th, tw = size.tile_height, size.tile_width
        for row in range(y // th, (y + height - 1) // th + 1):
            top, bottom = max(y, row * th), min(y + height, (row + 1) * th)
            for column in range(x // tw, (x + width - 1) // tw + 1):
                left, right = max(x, column * tw), min(x + width, (column + 1) * tw)
                place = slice(top - y, bottom - y), slice(left - x, right - x)
                part = slice(top - row * th, bottom - row * th), slice(left - column * tw, right - column * tw)
                yield row * size.columns + column, place, part

    def close(self) -> None:
        # A thread in the middle of a read holds the file; it is closed when the last of them lets go. Closing it here
        # could hand its number to another file, and that thread would read the wrong one.
        self._file = None
        TILES.forget(self._number)


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


def _in_series(tiff: Any) -> bool:
    """Whether tifffile's own grouping of pages is to be trusted: where channels may be pages."""
    if tiff.is_ome or tiff.is_qpi:
        return True
    first = tiff.pages.first
    return bool(first.is_tiled and first.samplesperpixel == 1 and first.photometric in (0, 1) and first.pages is None)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__
