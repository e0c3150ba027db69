"""OME-Zarr slides: NGFF 0.1 to 0.4 (zarr v2) and 0.5 (zarr v3, shards too), as folders and as a zip of one.

Of what a store holds, the first image is read (group "0" in the layout of bioformats2raw). Three channels of uint8 in red,
green and blue are an RGB slide, one of uint8 without a colour is grey; all else has channels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SlideError
from .channels import described
from .slide import Level, Slide, level_factors
from .tiff_levels import channel_axes, planes_note

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
"""Names that show a folder to be a zarr store."""

_MICROMETRES = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6,
                "angstrom": 1e-4, "nm": 1e-3, "um": 1.0, "µm": 1.0, "mm": 1e3}  # fmt: skip
_MOST_CHANNELS = 256
# A chunk is decoded whole: a larger one would not fit a viewer's memory, and a damaged file may declare any size.
_LARGEST_CHUNK = 256 << 20
_SAMPLED_SIDE = 1024
_PRIMARY = ("#ff0000", "#00ff00", "#0000ff")


class ZarrSlide(Slide):
    """One multiscale image of a zarr store; each read decodes the chunks it touches."""

    vendor = "ome-zarr"
    reader = "zarr"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._open()
        except SlideError:
            raise
        except Exception as error:  # zarr hands on whatever JSON, numpy and its codecs raise
            raise SlideError(
                f"{path.name} cannot be read as OME-Zarr ({_first_line(error)}): copy it again, with all its files."
            ) from error

    # -- structure -------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        import zarr

        store: Any = self.path
        if self.path.is_file():
            store = zarr.storage.ZipStore(self.path, mode="r")
        group = zarr.open(store, mode="r")
        image, facts = self._image(group)
        scales = facts["multiscales"]
        if not isinstance(scales, list) or not scales:
            raise ValueError("its list of images is empty")
        axes = "".join(_axis_name(axis) for axis in scales[0].get("axes") or "tczyx")
        self._arrays: list[Any] | None = []
        for dataset in scales[0]["datasets"]:
            array = self._array(image, str(dataset["path"]), axes)
            if array is None:
                break
            self._arrays.append(array)
        base = self._arrays[0]
        self._axes = channel_axes(axes.upper(), base.shape)
        self.note = planes_note(self._axes[:-2] if self._axes.endswith("YX") else "", base.shape)
        self._add_levels()
        self._describe(scales[0], facts.get("omero") or {})

    def _image(self, group: Any) -> tuple[Any, dict[str, Any]]:
        for _ in range(2):
            facts = dict(group.attrs)
            facts = facts.get("ome", facts)
            if "multiscales" in facts:
                return group, facts
            if "plate" in facts or "well" in facts:
                raise SlideError(f"{self.path.name} is a plate of many images: open one of the folders inside it.")
            if "0" not in group:
                break
            group = group["0"]
        raise SlideError(f"{self.path.name} is a zarr store without an OME image (no multiscales in its metadata).")

    def _array(self, image: Any, name: str, axes: str) -> Any:
        """The array of one level; None where a coarser one is missing or does not fit."""
        first = not self._arrays
        try:
            array = image[name]
            if len(array.shape) != len(axes) or min(array.shape) < 1 or not {"x", "y"} <= set(axes):
                raise ValueError(f"level {name} is {array.shape} on axes {axes}")
            if array.dtype.kind not in "uif":
                raise ValueError(f"its pixels are {array.dtype}")
            if math.prod(array.chunks) * array.dtype.itemsize > _LARGEST_CHUNK:
                raise ValueError(f"its chunks of {array.chunks} are too large")
        except Exception:
            if first:
                raise
            return None
        return array

    def _add_levels(self) -> None:
        assert self._arrays is not None
        x, y = self._axes.index("X"), self._axes.index("Y")
        base = self._arrays[0]
        width, height = base.shape[x], base.shape[y]
        kept: list[Any] = []
        for array in self._arrays:
            w, h = array.shape[x], array.shape[y]
            if kept and (w > self.levels[-1].width or h > self.levels[-1].height or array.dtype != base.dtype):
                break
            tile_width, tile_height = (min(max(array.chunks[axis], 64), 2048) for axis in (x, y))
            self.levels.append(Level(w, h, *level_factors(width, height, w, h), tile_width, tile_height))
            kept.append(array)
        self._arrays = kept

    def _describe(self, scale: dict[str, Any], omero: dict[str, Any]) -> None:
        assert self._arrays is not None
        self._set_mpp(_micrometres(scale, self._axes), "file (OME)")
        dtype = self._arrays[0].dtype
        count = self._arrays[0].shape[self._axes.index("C")] if "C" in self._axes else 1
        if count > _MOST_CHANNELS:
            raise ValueError(f"it has {count} channels")
        listed = [entry for entry in omero.get("channels") or [] if isinstance(entry, dict)]
        names = [str(entry["label"]) if entry.get("label") else None for entry in listed]
        colors = ["#" + str(entry["color"]).lstrip("#").lower()[:6] if entry.get("color") else None for entry in listed]
        windows = [_window(entry.get("window")) for entry in listed]
        whole = all(window in (None, (0.0, 255.0)) for window in windows)
        if dtype == np.uint8 and whole:
            self._grey = count == 1 and set(colors) <= {None, "#ffffff"}
            if self._grey or (count == 3 and tuple(colors) in ((), _PRIMARY)):
                return
        size = self.levels[-1]
        across, down = min(size.width, _SAMPLED_SIDE), min(size.height, _SAMPLED_SIDE)
        left, top = (size.width - across) // 2, (size.height - down) // 2
        values = self._stack(len(self.levels) - 1, left, top, across, down)
        visible = [bool(entry.get("active", True)) for entry in listed]
        self._set_channels(described(values, count, names, colors, windows, visible), dtype)

    # -- pixels ----------------------------------------------------------------------------------------------------

    def _stack(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        arrays = self._arrays
        if arrays is None:
            raise SlideError(f"{self.path.name} is closed.")
        wanted = {"X": slice(x, x + width), "Y": slice(y, y + height), "C": slice(None)}
        kept = "".join(axis for axis in self._axes if axis in wanted)
        try:
            values = np.asarray(arrays[level][tuple(wanted.get(axis, 0) for axis in self._axes)])
        except Exception as error:  # each codec has its own kind of error
            raise SlideError(
                f"{self.path.name}: the part at x {x}, y {y} of level {level} ({width} x {height} px) cannot be read "
                f"({_first_line(error)}). Copy the slide again if this happens often."
            ) from error
        values = values.transpose([kept.index(axis) for axis in "CYX" if axis in kept])
        if values.dtype.byteorder not in "=|":
            values = values.astype(values.dtype.newbyteorder("="))
        return values if "C" in kept else values[None]

    def _native(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        values = self._stack(level, x, y, width, height)
        return values if len(values) > 1 or self.channels else np.repeat(values, 3, axis=0)

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return np.ascontiguousarray(self._native(level, x, y, width, height).transpose(1, 2, 0))

    def close(self) -> None:
        self._arrays = None


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr store."""
    return path.is_dir() and any((path / name).is_file() for name in METADATA)


def _axis_name(axis: Any) -> str:
    name = str(axis.get("name") if isinstance(axis, dict) else axis).lower()
    return name if len(name) == 1 else name[:1]


def _window(window: Any) -> tuple[float, float] | None:
    try:
        return float(window["start"]), float(window["end"])
    except (KeyError, TypeError, ValueError):
        return None


def _micrometres(scale: dict[str, Any], axes: str) -> float | None:
    """Mean µm per pixel of the first level along x and y; None where a unit is missing."""
    sizes = []
    for letter in "XY":
        place = axes.index(letter)
        named = scale.get("axes") or []
        unit = named[place].get("unit") if place < len(named) and isinstance(named[place], dict) else None
        if unit not in _MICROMETRES:
            return None
        size = _MICROMETRES[unit]
        transforms = list(scale["datasets"][0].get("coordinateTransformations") or [])
        for step in transforms + list(scale.get("coordinateTransformations") or []):
            if step.get("type") == "scale":
                size *= float(step["scale"][place])
        sizes.append(size)
    return sum(sizes) / 2


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160].rstrip(".") if text else type(error).__name__
