"""Which pages of a TIFF are the levels of its slide, where their tiles lie, and at what scale it was scanned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np

from .slides import Level
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


def ome_levels(tiff: Any) -> list[list[Any]] | None:
    """Pages of each level (one per channel) of the largest image of an OME-TIFF; None if it is not tiled."""
    series = max(tiff.series, key=lambda s: _axis(s, "X") * _axis(s, "Y"))
    levels: list[Any] = []
    for level in series.levels:
        key = level.keyframe
        if not key.is_tiled:
            if not levels:
                raise NotOurs("it is not tiled")
            break
        lead = level.axes[: len(level.axes) - len(key.axes)]
        shape = level.shape[: len(lead)]
        grid = np.arange(len(level.pages))
        if int(np.prod(shape, dtype=int)) != len(level.pages):
            return None
        grid = grid.reshape(shape)
        # the first plane in depth and time, every channel
        chosen = grid[tuple(slice(None) if axis == "C" else 0 for axis in lead)]
        levels.append([_whole_page(level.pages[int(i)], key) for i in np.ravel(chosen)])
    return levels


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


def ome_scale(xml: str, width: int, height: int) -> tuple[float | None, float | None]:
    """µm per pixel and magnification of one image of OME-XML, None = unknown.

    Parameters
    ----------
    width, height : size of the image that is read; a file may hold others (macro, label) with another scale. Where several
        have this size the first one counts, as in `ome_levels`.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, None
    images = [(image, _child(image, "Pixels")) for image in root if _tag(image) == "Image"]
    for image, pixels in images:
        if pixels is not None and (pixels.get("SizeX"), pixels.get("SizeY")) == (str(width), str(height)):
            return _pixel_size(pixels), _magnification(root, image)
    if len(images) == 1 and images[0][1] is not None:  # some writers give the size of another level
        return _pixel_size(images[0][1]), _magnification(root, images[0][0])
    return None, None


def _pixel_size(pixels: ElementTree.Element) -> float | None:
    micrometres = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "Å": 1e-4}
    sizes = [
        size * micrometres[unit]
        for axis in "XY"
        if (size := positive_number(pixels.get(f"PhysicalSize{axis}"))) is not None
        and (unit := pixels.get(f"PhysicalSize{axis}Unit", "µm")) in micrometres
    ]
    return sum(sizes) / len(sizes) if sizes else None


def _magnification(root: ElementTree.Element, image: ElementTree.Element) -> float | None:
    """Magnification of the objective that the image names; where it names none, of the only one there is."""
    objectives = [element for element in root.iter() if _tag(element) == "Objective"]
    settings = _child(image, "ObjectiveSettings")
    if settings is not None:
        objectives = [element for element in objectives if element.get("ID") == settings.get("ID")]
    found = {positive_number(element.get("NominalMagnification")) for element in objectives} - {None}
    return found.pop() if len(found) == 1 else None


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def positive_number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value and math.isfinite(value) and value > 0 else None
