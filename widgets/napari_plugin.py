"""Slides and label stores in any napari: the readers that `napari.yaml` names. No Qt, no dask.

A slide becomes one multiscale image layer, a label store one multiscale labels layer; one unit is one
full-resolution pixel, so that both lie on each other. Tiles are read when napari draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.data.slides import Slide, is_slide, open_slide
from ..engine.labels.store import LabelStore

Layer = tuple[Any, dict[str, Any], str]


class SlideLevel:
    """One level of a slide as napari wants an array: shape [height, width, 3], sliced by rows and columns."""

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, slide: Slide, level: int) -> None:
        self.slide, self.level = slide, level
        size = slide.levels[level]
        self.shape = (size.height, size.width, 3)
        self.size = size.height * size.width * 3

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, rest = _ranges(key, self.shape, self.ndim)
        pixels = self.slide.read(self.level, columns.start, rows.start, len(columns), len(rows))
        return pixels[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)


class LabelLevel:
    """One level of a label store as napari wants an array: shape [height, width], uint8."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(self, store: LabelStore, level: int) -> None:
        self.store, self.level = store, level
        width, height = store.level_size(level)
        self.shape = (height, width)
        self.size = height * width

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, rest = _ranges(key, self.shape, self.ndim)
        pixels = self.store.region(self.level, columns.start, rows.start, len(columns), len(rows))
        return pixels[rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)


def _ranges(key: Any, shape: tuple[int, ...], dimensions: int) -> tuple[range, range, Any]:
    """Return rows and columns that a key spans, without gaps, and the key into what was read of them."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (dimensions + 1 - len(parts))
    parts += [slice(None)] * (2 - len(parts))
    spans: list[range] = []
    rest: list[Any] = []
    for part, length in zip(parts[:2], shape[:2]):
        if isinstance(part, slice):
            start, stop, step = part.indices(length)
            spans.append(range(start, max(start, stop)))
            rest.append(slice(None, None, step))
        else:
            place = int(part) % length
            spans.append(range(place, place + 1))
            rest.append(0)
    return spans[0], spans[1], (*rest, *parts[2:])


def slide_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return the reader when `path` names a slide (npe2 reader contribution)."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_slides if paths and all(is_slide(p) for p in paths) else None


def read_slides(path: str | list[str]) -> list[Layer]:
    """Return a multiscale image layer for each slide."""
    layers: list[Layer] = []
    for name in [path] if isinstance(path, str) else path:
        slide = open_slide(name)
        data = [SlideLevel(slide, level) for level in range(len(slide.levels))]
        metadata = {"mpp": slide.mpp, "mpp source": slide.mpp_source, "path": str(name)}
        settings = {"name": Path(name).stem, "multiscale": True, "rgb": True, "metadata": metadata}
        layers.append((data, settings, "image"))
    return layers


def label_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return the reader when `path` names a label store (npe2 reader contribution)."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_labels if paths and all(str(p).endswith(".labels") for p in paths) else None


def read_labels(path: str | list[str]) -> list[Layer]:
    """Return a multiscale labels layer for each label store; read-only, painting is done in Opsin's slide view."""
    layers: list[Layer] = []
    for name in [path] if isinstance(path, str) else path:
        store = LabelStore.open(Path(name), readonly=True)
        data = [LabelLevel(store, level) for level in range(store.levels)]
        layers.append((data, {"name": f"{Path(name).stem} labels", "multiscale": True, "opacity": 0.5}, "labels"))
    return layers
