"""TIFFs without tiles that Pillow does not show rightly: several channels (ImageJ, planes, pages), deep grey, deep RGB.

Decoded once and kept in memory as a pyramid, like plain pictures (`picture.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SlideError
from .channels import described
from .ome import ome_channels, ome_scale
from .orientation import upright
from .picture import check_memory
from .slide import Level, Slide, level_factors, mpp_of_resolution
from .tiff_codecs import RGB
from .tiff_levels import channel_axes, planes_note

TILE = 512
_MOST_CHANNELS = 64
# Bytes of memory per byte of pixels: as decoded, in order, and the pyramid.
_PEAK = 2.5
# µm per pixel; see picture.py.
_COARSEST_MPP = 20.0
# What OpenCV averages; other numbers are kept at level 0 alone.
_AVERAGED = (np.uint8, np.uint16, np.int16, np.float32, np.float64)


class ChannelPicture(Slide):
    """[C, height, width] in memory, halved until its longest side is at most 512 pixels."""

    vendor = "picture"
    reader = "tifffile"

    def __init__(self, path: Path, values: np.ndarray) -> None:
        """`values`: [C, height, width], upright."""
        super().__init__(path)
        self._arrays: list[np.ndarray] = [values]
        while max(self._arrays[-1].shape[1:]) > TILE and values.dtype in _AVERAGED:
            self._arrays.append(_halved(self._arrays[-1]))
        height, width = values.shape[1:]
        for array in self._arrays:
            h, w = array.shape[1:]
            self.levels.append(Level(w, h, *level_factors(width, height, w, h), TILE, TILE))

    @classmethod
    def try_open(cls, path: Path, reasons: list[str]) -> ChannelPicture | None:
        """The picture; None, with the reason added where it is damaged, for what Pillow reads as well."""
        import tifffile

        try:
            with tifffile.TiffFile(path) as tiff:
                series = max(tiff.series, key=lambda s: s.keyframe.imagewidth * s.keyframe.imagelength)
                key = series.keyframe
                if key.is_tiled or key.photometric == 3 or key.dtype is None or key.dtype.kind not in "uif":
                    return None
                plain = key.dtype == np.uint8 and (key.samplesperpixel > 1) == (key.photometric == RGB)
                lead = channel_axes(series.axes[: len(series.axes) - len(key.axes)], series.shape)
                shape = series.shape[: len(lead)]
                count = shape[lead.index("C")] if "C" in lead else 1
                if plain and count == 1:
                    return None
                slide = cls._read(path, tiff, series, lead, shape)
        except SlideError:
            raise
        except Exception as error:  # tifffile raises nearly everything on damaged files
            reasons.append(
                f"its pixels cannot be decoded: {str(error).splitlines()[0][:120] if str(error) else 'damage'}"
            )
            return None
        return slide

    @classmethod
    def _read(cls, path: Path, tiff: Any, series: Any, lead: str, shape: tuple[int, ...]) -> ChannelPicture:
        key = series.keyframe
        count = shape[lead.index("C")] if "C" in lead else 1
        channels = count * key.samplesperpixel
        if channels > _MOST_CHANNELS:
            raise SlideError(f"{path.name} has {channels} channels, more than the {_MOST_CHANNELS} that can be shown.")
        check_memory(path, key.imagewidth, key.imagelength, channels * key.dtype.itemsize * _PEAK)
        chosen = tuple(slice(None) if axis == "C" else 0 for axis in lead)
        if series.dataoffset is not None:  # one run of bytes: ImageJ lists the first plane alone
            kind = key.dtype.newbyteorder(tiff.byteorder)
            whole = np.memmap(path, kind, "r", series.dataoffset, tuple(series.shape))
            planes = np.asarray(whole[chosen], key.dtype)
        else:
            numbers = np.arange(len(series.pages)).reshape(shape)[chosen]
            planes = np.stack([series.pages[int(n)].asarray() for n in np.ravel(numbers)])
        planes = planes.reshape(count, *planes.shape[planes.ndim - len(key.axes) :])
        if "S" in key.axes:  # samples of one page
            planes = np.moveaxis(planes, 1 + key.axes.index("S"), 1)
        values = planes.reshape(channels, key.imagelength, key.imagewidth)
        rgb = key.photometric == RGB and count == 1 and key.samplesperpixel >= 3
        if rgb:
            values = (values[:3] * (255.0 / max(float(values[:3].max()), 1e-9)) + 0.5).astype(np.uint8)
        orientation = int(key.tags["Orientation"].value) if "Orientation" in key.tags else 1
        slide = cls(path, _turned(values, orientation))
        slide.note = planes_note(lead, shape)
        if not rgb:
            names, colors = (
                ome_channels(tiff.ome_metadata or "", key.imagewidth, key.imagelength) if tiff.is_ome else ([], [])
            )
            ranges = list((tiff.imagej_metadata or {}).get("Ranges") or []) if tiff.is_imagej else []
            windows = [(float(a), float(b)) for a, b in zip(ranges[::2], ranges[1::2])]
            values = slide._arrays[-1]
            slide._set_channels(described(values, channels, names, colors, windows), values.dtype)
        slide._set_scale(tiff, key)
        return slide

    def _set_scale(self, tiff: Any, key: Any) -> None:
        if tiff.is_ome:
            mpp, self.magnification = ome_scale(tiff.ome_metadata or "", key.imagewidth, key.imagelength)
            self._set_mpp(mpp, "file (OME)")
        elif tiff.is_imagej and "XResolution" in key.tags:
            facts = tiff.imagej_metadata or {}
            pixels, units = key.tags["XResolution"].value
            if str(facts.get("unit", "")) in ("um", "µm", "micron", "\\u00B5m", "microns") and pixels:
                self._set_mpp(units / pixels, "file (ImageJ)")
        elif "XResolution" in key.tags and "ResolutionUnit" in key.tags:
            pixels, units = key.tags["XResolution"].value
            mpp = mpp_of_resolution(pixels / units, int(key.tags["ResolutionUnit"].value)) if units else None
            self._set_mpp(mpp if mpp and mpp <= _COARSEST_MPP else None, "file (resolution tag)")

    def _native(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        if not self._arrays:
            raise SlideError(f"{self.path.name} is closed.")
        return self._arrays[level][:, y : y + height, x : x + width].copy()

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return np.ascontiguousarray(self._native(level, x, y, width, height).transpose(1, 2, 0))

    def close(self) -> None:
        self._arrays = []


def _halved(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2; an odd last row or column is left out, so that the factor is 2 to the last pixel."""
    import cv2

    height, width = (max(1, side // 2) for side in values.shape[1:])
    even = values[:, : max(1, height * 2), : max(1, width * 2)]
    return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA) for plane in even])


def _turned(values: np.ndarray, orientation: int) -> np.ndarray:
    return np.stack([upright(orientation, plane) for plane in values])
