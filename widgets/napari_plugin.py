"""Slides, label stores and heat maps in any napari: the readers that `napari.yaml` names. No Qt, no dask.

A slide becomes one multiscale image layer, a fluorescence slide one per channel, a label store one multiscale labels layer, a
heat map one image layer; one unit is one full-resolution pixel, so that all lie on each other. Tiles are read when napari
draws them.

`python -m opsin.widgets.napari_plugin SLIDE [LABELS] [HEAT…] [--look=JSON]` opens them in a napari of its own: what "Open
slide in napari" does. It uses these readers whatever others are installed, so napari has nothing to ask. The look is
{"channels": [[name, colour, low, high, visible], …]}: how the channels are shown in Opsin at that moment.
"""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.colormaps import colormap
from ..engine.data.channels import Channel, rgb_of
from ..engine.data.slides import Slide, is_slide, open_slide
from ..engine.errors import OpsinError
from ..engine.labels.classes import LabelClass
from ..engine.labels.store import LabelStore
from ..engine.tiles import TilePyramid
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


class Planes:
    """The channels of a slide for several layers: napari asks each of them for the same place."""

    KEPT = 8

    def __init__(self, slide: Slide) -> None:
        self.slide = slide
        self._lock = threading.Lock()
        self._read: OrderedDict[tuple[int, ...], np.ndarray] = OrderedDict()

    def region(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """All channels of a rectangle: [C, height, width]."""
        key = (level, x, y, width, height)
        with self._lock:
            if key not in self._read:
                self._read[key] = self.slide.read_channels(*key)
                while len(self._read) > self.KEPT:
                    self._read.popitem(last=False)
            return self._read[key]


class ChannelLevel:
    """One channel of one level of a slide: shape [height, width], in the file's number type."""

    ndim = 2

    def __init__(self, planes: Planes, level: int, channel: int) -> None:
        self.planes, self.level, self.channel = planes, level, channel
        size = planes.slide.levels[level]
        self.shape = (size.height, size.width)
        self.size = size.height * size.width
        self.dtype = planes.region(level, 0, 0, 1, 1).dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, columns, rest = _ranges(key, self.shape, self.ndim)
        pixels = self.planes.region(self.level, columns.start, rows.start, len(columns), len(rows))
        return pixels[self.channel][rest]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:, :], dtype)


class TileLevel:
    """One level of a label store or a heat map as napari wants an array: shape [height, width], uint8."""

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(self, store: TilePyramid, level: int) -> None:
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

    def __init__(self, level: SlideLevel | ChannelLevel | TileLevel) -> None:
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


def read_slides(path: str | list[str], look: dict[str, Any] | None = None) -> list[Layer]:
    """Return a multiscale image layer for each slide; of a fluorescence slide one for each channel, to be added up.

    Parameters
    ----------
    look : how the channels are shown, see the module; as the file says where it does not fit.
    """
    layers: list[Layer] = []
    for name in [path] if isinstance(path, str) else path:
        slide = open_slide(name)
        metadata = {"mpp": slide.mpp, "mpp source": slide.mpp_source, "path": str(name)}
        settings = {"name": Path(name).stem, "multiscale": True, "metadata": metadata}
        if not slide.channels:
            data = _pyramid([SlideLevel(slide, level) for level in range(len(slide.levels))])
            layers.append((data, {**settings, "rgb": True}, "image"))
            continue
        planes = Planes(slide)
        for number, channel in enumerate(_looked_at(slide.channels, look)):
            data = _pyramid([ChannelLevel(planes, level, number) for level in range(len(slide.levels))])
            shown = {
                "name": f"{Path(name).stem}: {channel.name}",
                "rgb": False,
                "colormap": _ramp(channel.name, np.array([(0, 0, 0), rgb_of(channel.color)])),
                "contrast_limits": (channel.low, channel.high),
                "blending": "additive",
                "visible": channel.visible,
            }
            layers.append((data, {**settings, **shown}, "image"))
    return layers


def _looked_at(own: Sequence[Channel], look: dict[str, Any] | None) -> Sequence[Channel]:
    rows = (look or {}).get("channels") or []
    return [Channel(*row) for row in rows] if len(rows) == len(own) else own


def _ramp(name: str, rgb: np.ndarray, alpha: np.ndarray | None = None) -> dict[str, Any]:
    """A colormap as napari takes it, from colours 0 to 255 [n, 3]."""
    colors = np.ones((len(rgb), 4))
    colors[:, :3] = rgb / 255
    if alpha is not None:
        colors[:, 3] = alpha
    return {"name": name, "colors": colors, "controls": np.linspace(0, 1, len(rgb))}


def heat_reader(path: str | list[str]) -> Callable[[Any], list[Layer]] | None:
    """Return the reader when `path` names a heat map (npe2 reader contribution)."""
    paths = [path] if isinstance(path, str) else list(path)
    return read_heat if paths and all(str(p).endswith(".heat") for p in paths) else None


def read_heat(path: str | list[str]) -> list[Layer]:
    """Return an image layer for each heat map: 0 where nothing was computed (clear), 1 to 255 for probability 0 to 1."""
    layers: list[Layer] = []
    for name in [path] if isinstance(path, str) else path:
        pyramid = TilePyramid.open(Path(name), readonly=True)
        data = _pyramid([TileLevel(pyramid, level) for level in range(pyramid.levels)])
        slide, _ = _known(Path(name).parent.parent / Path(name).name)  # heatmaps/<run>/<item>.heat
        table = colormap("ice")
        alpha = np.linspace(0, 1, len(table))  # what is improbable hides nothing
        settings = {
            "name": f"{slide} heat map" + (f" ({Path(name).parent.name})" if slide != Path(name).stem else ""),
            "multiscale": True,
            "rgb": False,
            "colormap": _ramp("heat map", table, alpha),
            "contrast_limits": (1, 255),
            "opacity": 0.7,
            "scale": (pyramid.base, pyramid.base),
            # napari takes the middle of the first pixel for the place (0, 0)
            "translate": ((pyramid.base - 1) / 2, (pyramid.base - 1) / 2),
        }
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
        data = _pyramid([TileLevel(store, level) for level in range(store.levels)])
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


def fill(viewer: Any, paths: list[str], look: dict[str, Any] | None = None) -> None:
    """Add these slides, heat maps and label stores to a napari viewer (or its model) as layers, the labels above."""
    stores = [path for path in paths if path.endswith(".labels")]
    maps = [path for path in paths if path.endswith(".heat")]
    slides = [path for path in paths if path not in stores and path not in maps]
    for data, settings, kind in read_slides(slides, look) + read_heat(maps) + read_labels(stores):
        add = viewer.add_image if kind == "image" else viewer.add_labels
        add(data, **settings)


if __name__ == "__main__":
    import sys

    import napari

    looks = [argument.removeprefix("--look=") for argument in sys.argv[1:] if argument.startswith("--look=")]
    names = [argument for argument in sys.argv[1:] if not argument.startswith("--look=")]
    window = napari.Viewer(title=Path(names[0]).stem)
    fill(window, names, json.loads(looks[0]) if looks else None)
    napari.run()
