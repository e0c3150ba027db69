"""Which pages of a TIFF are the levels and channels of its slide, and where their tiles lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .slide import Level
from .tiff_codecs import decoder


class NotOurs(Exception):
    """The file is no tiled TIFF that this reader understands; the text says why."""


@dataclass(frozen=True)
class Plane:
    """One page, or one separate channel of it: where its tiles are and how one is decoded."""

    offsets: np.ndarray  # int64 [tiles], bytes from the start of the file
    counts: np.ndarray  # int64 [tiles], 0 = missing
    decode: Callable[[bytes, int], np.ndarray]  # (bytes, tile) -> [tile height, tile width, samples]


def page_levels(tiff: Any) -> list[Any]:
    """Tiled pages that form the pyramid of the first tiled page: same shape of picture, smaller and smaller.

    Untiled pages (thumbnail, label, macro) are passed over. Does not rely on flags: Aperio does not mark its levels.
    """
    pages = [page for page in (tiff.pages.get(i, aspage=True) for i in range(len(tiff.pages))) if page.is_tiled]
    if not pages:
        raise NotOurs("it is not tiled")
    first = pages[0]
    if first.imagedepth > 1 or first.is_volumetric:
        raise NotOurs("it is a volume")
    candidates = pages[1:]
    if first.pages is not None:
        candidates = [page for page in first.pages if page.is_tiled] + candidates
    levels = [first]
    for page in sorted(candidates, key=lambda page: -page.imagewidth):
        last = levels[-1]
        if page.imagewidth >= last.imagewidth or page.imagelength >= last.imagelength:
            continue
        if page.samplesperpixel != first.samplesperpixel or page.dtype != first.dtype:
            continue
        # Each axis may be rounded by up to a pixel per halving.
        x, y = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
        slack = 2.0 / min(page.imagewidth, page.imagelength) + 0.01
        if abs(x / y - 1) <= slack:
            levels.append(page)
    return levels


# More equal grey pages than this are planes in depth or time rather than channels.
_MOST_CHANNELS = 32


def series_levels(tiff: Any) -> tuple[list[list[Any]], str] | None:
    """Pages of each level (one per channel) of the largest image of an OME-TIFF, an ImageJ or QPTIFF file or a row of grey pages.

    Returns
    -------
    The pages, and a note on planes in depth and time that are not shown; None where the pages must be looked at one by one.
    """
    series = max(tiff.series, key=lambda s: _axis(s, "X") * _axis(s, "Y"))
    levels: list[Any] = []
    note = ""
    for level in series.levels:
        key = level.keyframe
        if not key.is_tiled:
            if not levels:
                raise NotOurs("it is not tiled")
            break
        lead = level.axes[: len(level.axes) - len(key.axes)]
        shape = level.shape[: len(lead)]
        if int(np.prod(shape, dtype=int)) != len(level.pages):
            return None
        lead = channel_axes(lead, shape)
        note = note or planes_note(lead, shape)
        grid = np.arange(len(level.pages)).reshape(shape)
        # the first plane in depth and time, every channel
        chosen = np.ravel(grid[tuple(slice(None) if axis == "C" else 0 for axis in lead)])
        if len(chosen) > _MOST_CHANNELS * 8:
            raise NotOurs(f"it has {len(chosen)} channels")
        levels.append([_whole_page(level.pages[int(i)], key) for i in chosen])
    return levels, note


def channel_axes(lead: str, shape: tuple[int, ...]) -> str:
    """Name the axes before rows and columns: an unnamed one is C where there is none yet and it is short."""
    for unnamed in "QI":
        if "C" not in lead and unnamed in lead and shape[lead.index(unnamed)] <= _MOST_CHANNELS:
            lead = lead.replace(unnamed, "C", 1)
    return lead


def planes_note(lead: str, shape: tuple[int, ...]) -> str:
    """One sentence about planes that are not shown, "" where all are."""
    words = {"Z": "in depth", "T": "in time"}
    left = [f"{count} {words.get(axis, 'pages')}" for axis, count in zip(lead, shape) if axis != "C" and count > 1]
    return f"Only the first plane of {' and '.join(left)} is shown." if left else ""


def _whole_page(page: Any, key: Any) -> Any:
    if page is None:
        raise NotOurs("a channel is missing")
    if page is not key and not hasattr(page, "tilewidth"):
        return _Frame(page, key)
    return page


class _Frame:
    """A page known by its offsets only; all else is as in the key page."""

    def __init__(self, frame: Any, key: Any) -> None:
        self._key = key
        self.dataoffsets, self.databytecounts = frame.dataoffsets, frame.databytecounts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


def _axis(series: Any, axis: str) -> int:
    return series.shape[series.axes.index(axis)] if axis in series.axes else 1


def planes_of(page: Any, level: Level) -> list[Plane]:
    """One plane for interleaved samples, one per sample where the page keeps them apart."""
    tiles = level.rows * level.columns
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    if offsets.size < tiles * planes or counts.size < tiles * planes:
        raise NotOurs(f"it lists {offsets.size} tiles where {tiles * planes} are needed")
    return [
        Plane(
            offsets[k * tiles : (k + 1) * tiles],
            counts[k * tiles : (k + 1) * tiles],
            decoder(page, k * tiles),
        )
        for k in range(planes)
    ]
