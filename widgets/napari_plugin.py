"""Slides and label stores in any napari: the readers that `napari.yaml` names. No Qt, no dask.

A slide becomes one multiscale image layer, a label store one multiscale labels layer; one unit is one
full-resolution pixel, so that both lie on each other. Tiles are read when napari draws them.

`python -m opsin.widgets.napari_plugin SLIDE [LABELS]` opens them in a napari of its own: what "Open slide in napari" does.
It uses these readers whatever others are installed, so napari has nothing to ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.data.slides import Slide, is_slide, open_slide
from ..engine.errors import OpsinError
from ..engine.labels.classes import LabelClass
from ..engine.labels.store import LabelStore
from ..engine.workspace import Workspace

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


class Halved:
    """Every second row and column of a level. napari takes what has a single level for no pyramid: this is the second."""

    def __init__(self, level: SlideLevel | LabelLevel) -> None:
        self.level, self.dtype, self.ndim = level, level.dtype, level.ndim
        self.shape = (max(1, level.shape[0] // 2), max(1, level.shape[1] // 2), *level.shape[2:])
        self.size = math.prod(self.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, rest = _ranges(key, self.shape, self.ndim)
        fine = self.level[rows.start * 2 : rows.stop * 2 : 2, columns.start * 2 : columns.stop * 2 : 2]
        return fine[: len(rows), : len(columns)][rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)


def _pyramid(levels: list[Any]) -> list[Any]:
    return levels if len(levels) > 1 else [*levels, Halved(levels[0])]


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
            if not -length <= int(part) < length:
                raise IndexError(f"{part} is outside of 0 to {length - 1}")
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
        data = _pyramid([SlideLevel(slide, level) for level in range(len(slide.levels))])
        metadata = {"mpp": slide.mpp, "mpp source": slide.mpp_source, "path": str(name)}
        settings = {"name": Path(name).stem, "multiscale": True, "rgb": True, "metadata": metadata}
        layers.append((data, settings, "image"))
    return layers


def label_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return the reader when `path` names a label store (npe2 reader contribution)."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_labels if paths and all(str(p).endswith(".labels") for p in paths) else None


def read_labels(path: str | list[str]) -> list[Layer]:
    """Return a multiscale labels layer for each label store; read-only, painting is done in Opsin's slide view.

    A store that lies in a workspace gets the name of its slide and the names and colours of the workspace's classes.
    """
    layers: list[Layer] = []
    for name in [path] if isinstance(path, str) else path:
        store = LabelStore.open(Path(name), readonly=True)
        data = _pyramid([LabelLevel(store, level) for level in range(store.levels)])
        slide, classes = _known(Path(name))
        settings: dict[str, Any] = {"name": f"{slide} labels", "multiscale": True, "opacity": 0.5}
        if classes:
            ink = {c.value: c.color if c.visible else "transparent" for c in classes}
            settings["colormap"] = {None: "transparent", 0: "transparent", **ink}
            settings["features"] = {"index": [0, *ink], "class": ["unlabelled", *(c.name for c in classes)]}
        layers.append((data, settings, "labels"))
    return layers


def _known(path: Path) -> tuple[str, list[LabelClass]]:
    """Return the slide's name and the classes of the workspace that a label store lies in; none outside of one."""
    folder = path.absolute().parent.parent
    if not Workspace.is_workspace(folder):
        return path.stem, []
    try:
        with Workspace.open(folder) as workspace:
            names = {item.id: item.name for item in workspace.items()}
            return names.get(path.stem, path.stem), workspace.classes
    except OpsinError:
        return path.stem, []  # the labels can be looked at without it


def fill(viewer: Any, paths: list[str]) -> None:
    """Add these slides and label stores to a napari viewer (or its model) as layers, the labels above."""
    stores = [path for path in paths if path.endswith(".labels")]
    for data, settings, kind in read_slides([p for p in paths if p not in stores]) + read_labels(stores):
        add = viewer.add_image if kind == "image" else viewer.add_labels
        add(data, **settings)


if __name__ == "__main__":
    import sys

    import napari

    window = napari.Viewer(title=Path(sys.argv[1]).stem)
    fill(window, sys.argv[1:])
    napari.run()
