"""OME-Zarr labels (NGFF 0.5, zarr v3 with shards; 0.4 is read too).

A label picture is a multiscale group with ``image-label``: classes with their colours and names. It stands alone
(``slide-labels.ome.zarr``), or under an image in ``labels/<name>``, where viewers find it with the image. Levels hold every
second pixel of the one before: classes are never mixed.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import AnnotationError
from ..files import reason, write_json
from ..tiles import TILE, TilePyramid
from .classes import LabelClass
from .frame import Frame
from .pixels import LARGEST_BLOCK, Named, Progress, check_size, mask_outlines

if TYPE_CHECKING:
    from .shapes import Outlines

NAME = "annotations"
"""What our labels under an image are called."""
_SHARD = 4096
_METADATA = ("zarr.json", ".zattrs", ".zgroup")
_LARGEST_TEXT = 16 << 20


# ---- out ------------------------------------------------------------------------------------------------------------------


def write_ngff(
    path: Path, store: TilePyramid, classes: Sequence[LabelClass], frame: Frame, progress: Progress | None = None
) -> Path:
    """Write labels as OME-Zarr 0.5, whole or not at all; return the folder of the label picture.

    Parameters
    ----------
    path : a folder that does not exist or is such a label picture of ours, which is replaced; or an OME-Zarr image of the
        slide, below which the labels are put as ``labels/annotations``.

    Raises
    ------
    AnnotationError : the folder holds something else, or an image of another size.
    """
    path = Path(path)
    facts = ome_facts(path) if path.exists() else {}
    if "multiscales" in facts and "image-label" not in facts:
        return _write_below(path, facts, store, classes, frame, progress)
    if path.exists() and not _is_ours(path):
        raise AnnotationError(f"{path} exists already and is no label picture of Opsin; choose another name.")
    with replacing_folder(path) as temporary:
        _write_group(temporary, store, classes, frame, ("y", "x"), None, progress)
    return path


def _write_below(
    image: Path,
    facts: dict[str, Any],
    store: TilePyramid,
    classes: Sequence[LabelClass],
    frame: Frame,
    progress: Progress | None,
) -> Path:
    """Put the labels under an image and name them in its list of labels."""
    axes = tuple(name for name in _axes(facts) if name != "c")
    shape = _image_size(image, facts)
    if shape != (store.width, store.height):
        raise AnnotationError(
            f"{image.name} holds an image of {shape[0]:,} x {shape[1]:,} pixels; the labels are of a slide of "
            f"{store.width:,} x {store.height:,}."
        )
    old = not (image / "zarr.json").exists()
    if old:
        raise AnnotationError(
            f"{image.name} is an OME-Zarr of version 0.4 or older, and labels are written as 0.5; choose a new folder for them."
        )
    folder = image / "labels"
    target = folder / NAME
    if target.exists() and not _is_ours(target):
        raise AnnotationError(f"{target} exists already and was not written by Opsin; rename it first.")
    known = ome_facts(folder).get("labels") if folder.exists() else []
    names = [str(name) for name in known] if isinstance(known, list) else []
    with replacing_folder(target) as temporary:
        _write_group(temporary, store, classes, frame, axes, "../../", progress)
    attributes = {"ome": {"version": "0.5", "labels": [*names, *([NAME] if NAME not in names else [])]}}
    write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes})
    return target


def _write_group(
    folder: Path,
    store: TilePyramid,
    classes: Sequence[LabelClass],
    frame: Frame,
    axes: Sequence[str],
    source: str | None,
    progress: Progress | None,
) -> None:
    import zarr

    group = zarr.open_group(folder, mode="w", zarr_format=3)
    group.attrs.update(_attributes(store, classes, frame, axes, source))
    write_levels(group, store, axes, progress=progress)


def write_levels(
    group: Any,
    pyramid: TilePyramid,
    axes: Sequence[str],
    values: np.ndarray | None = None,
    progress: Progress | None = None,
) -> None:
    """Write all levels of a pyramid into a zarr group as arrays "0", "1", …, shard by shard; empty shards are left out.

    Parameters
    ----------
    axes : names, the last two are y and x; those before have one entry.
    values : uint8 [256], what stands for each value of the pyramid; None: the value itself. 0 must stay 0.
    """
    from zarr.codecs import ZstdCodec

    sizes = [pyramid.level_size(level) for level in range(pyramid.levels)]
    total = sum(-(-height // _SHARD) for _, height in sizes)
    done = 0
    lead = (1,) * (len(axes) - 2)
    for level, (width, height) in enumerate(sizes):
        # one shard a file; of a small level just as large as it needs
        shard = tuple(min(_SHARD, -(-side // TILE) * TILE) for side in (height, width))
        array: Any = group.create_array(
            str(level),
            shape=(*lead, height, width),
            dtype=np.uint8,
            chunks=(*lead, TILE, TILE),
            shards=(*lead, *shard),
            compressors=ZstdCodec(level=3),
            fill_value=0,
            dimension_names=tuple(axes),
            config={"write_empty_chunks": False},
        )
        filled = {(row * TILE // shard[0], column * TILE // shard[1]) for row, column in pyramid.keys(level)}
        for row in range(-(-height // shard[0])):
            for column in range(-(-width // shard[1])):
                if (row, column) not in filled:
                    continue
                y, x = row * shard[0], column * shard[1]
                block = pyramid.region(level, x, y, min(shard[1], width - x), min(shard[0], height - y))
                array[(*(0 for _ in lead), slice(y, y + block.shape[0]), slice(x, x + block.shape[1]))] = (
                    block if values is None else values[block]
                )
            done += 1
            if progress is not None:
                progress(min(done, total), total)


def _attributes(
    store: TilePyramid, classes: Sequence[LabelClass], frame: Frame, axes: Sequence[str], source: str | None
) -> dict[str, Any]:
    scale = frame.mpp or 1.0
    described = []
    for axis in axes:
        entry = {"name": axis, "type": "time" if axis == "t" else "space"}
        described.append(entry | ({"unit": "micrometer"} if axis in "yx" and frame.mpp else {}))
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [scale * (1 << level) if axis in "yx" else 1.0 for axis in axes]}
            ],
        }
        for level in range(store.levels)
    ]
    label: dict[str, Any] = {
        "version": "0.5",
        "colors": [
            {"label-value": item.value, "rgba": [*(int(item.color[i : i + 2], 16) for i in (1, 3, 5)), 255]}
            for item in classes
        ],
        "properties": [{"label-value": item.value, "name": item.name, "role": item.role} for item in classes],
    }
    if source is not None:
        label["source"] = {"image": source}
    multiscale = {"name": NAME, "type": "nearest", "axes": described, "datasets": datasets}
    return {"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": label}, "opsin": frame.plain()}


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its place when the block ends well, and goes when it does not."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.tmp")
    aside = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}.old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
    except OSError as error:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise AnnotationError(f"{path} cannot be written: {reason(error)}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(aside, ignore_errors=True)


# ---- in -------------------------------------------------------------------------------------------------------------------


def is_zarr(path: Path) -> bool:
    """Whether a folder looks like a zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in _METADATA)


def label_folder(path: Path) -> Path | None:
    """Return the folder of the label picture that `path` leads to: itself, or the first one below an image; None for none."""
    path = Path(path)
    if path.name in _METADATA:
        path = path.parent
    if not is_zarr(path):
        return None
    facts = ome_facts(path)
    if "image-label" in facts:
        return path
    below = path if "labels" in facts else path / "labels"
    names = ome_facts(below).get("labels")
    ours = [NAME] if isinstance(names, list) and NAME in names else []
    for name in [*ours, *(names if isinstance(names, list) else [])]:
        folder = below / str(name)
        if is_zarr(folder) and folder.resolve().is_relative_to(below.resolve()):
            return folder
    return None


def ome_facts(folder: Path) -> dict[str, Any]:
    """Return the OME attributes of a zarr group of either version; {} when there are none that can be read."""
    attributes = _json(folder / "zarr.json").get("attributes") or _json(folder / ".zattrs")
    if not isinstance(attributes, dict):
        return {}
    return attributes["ome"] if isinstance(attributes.get("ome"), dict) else attributes


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_TEXT:
            return {}
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_ours(folder: Path) -> bool:
    return "opsin" in (_json(folder / "zarr.json").get("attributes") or {})


def _axes(facts: dict[str, Any]) -> list[str]:
    try:
        axes = facts["multiscales"][0].get("axes")
        return [str(axis["name"] if isinstance(axis, dict) else axis) for axis in axes]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise AnnotationError("The OME-Zarr names no axes.") from None


def _image_size(image: Path, facts: dict[str, Any]) -> tuple[int, int]:
    import zarr

    axes = _axes(facts)
    try:
        array: Any = zarr.open_group(image, mode="r")[str(facts["multiscales"][0]["datasets"][0]["path"])]
        return int(array.shape[axes.index("x")]), int(array.shape[axes.index("y")])
    except Exception as error:  # zarr hands on whatever its codecs and JSON raise
        raise AnnotationError(f"{image.name} is no OME-Zarr image that can be used ({_first(error)}).") from None


def read_ngff(path: Path, progress: Progress | None = None) -> Outlines:
    """Read a label picture, or the one below an image, as outlines of its classes.

    Depth, time and channel must be of size 1. Names of the classes come from the properties ("name", "class" or "label").

    Raises
    ------
    AnnotationError : there are no labels, or they cannot be read.
    """
    import zarr

    folder = label_folder(Path(path))
    name = Path(path).name if Path(path).name not in _METADATA else Path(path).parent.name
    if folder is None:
        raise AnnotationError(f"{name} holds no OME-Zarr labels (no 'image-label' in it, and none below 'labels').")
    facts = ome_facts(folder)
    try:
        dataset = facts["multiscales"][0]["datasets"][0]
        array = zarr.open_group(folder, mode="r")[str(dataset["path"])]
        mask = _ZarrMask(array, name)
        table = _table(facts.get("image-label"))
        found = mask_outlines(mask, table, name, progress)
        return found.moved(*_translation(dataset, _axes(facts)))
    except AnnotationError:
        raise
    except OSError as error:
        raise AnnotationError(f"{name} cannot be read: {error.strerror or error}.") from None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise AnnotationError(f"{name} is no OME-Zarr that can be used: its list of levels is damaged.") from None


class _ZarrMask:
    """Blocks of a zarr array, as large as its shards or chunks ask for."""

    def __init__(self, array: Any, name: str) -> None:
        shape = array.shape
        if len(shape) < 2 or any(side != 1 for side in shape[:-2]):
            raise AnnotationError(f"{name} holds labels of several planes {tuple(shape)}; a slide has one.")
        self._array, self._lead = array, (0,) * (len(shape) - 2)
        self.height, self.width = int(shape[-2]), int(shape[-1])
        check_size(self.width, self.height, name)
        if array.dtype.kind not in "iub":
            raise AnnotationError(f"{name} holds {array.dtype} numbers; labels are whole numbers.")
        part = array.shards or array.chunks
        if math.prod(array.chunks) * array.dtype.itemsize > LARGEST_BLOCK or min(part) < 1:
            raise AnnotationError(
                f"{name} is cut into pieces of {tuple(array.chunks)}, which are too large to be read."
            )
        side = min(max(part[-2:]), _SHARD)
        self.block = max(TILE, side // TILE * TILE)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        return np.asarray(self._array[(*self._lead, slice(y, y + height), slice(x, x + width))])


def _table(label: Any) -> list[Named]:
    """What the values mean, from ``image-label``."""
    if not isinstance(label, dict):
        return []
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    for entry in label.get("properties") or []:
        value = entry.get("label-value") if isinstance(entry, dict) else None
        name = (
            next((entry[key] for key in ("name", "class", "label", "title") if entry.get(key)), None) if entry else None
        )
        if isinstance(value, int) and name is not None:
            names[value] = str(name)
    for entry in label.get("colors") or []:
        rgba = entry.get("rgba") if isinstance(entry, dict) else None
        if isinstance(rgba, list) and len(rgba) >= 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in rgba[:3]):
            colors[entry.get("label-value")] = "#{:02X}{:02X}{:02X}".format(*rgba[:3])
    return [Named(value, name, colors.get(value, "")) for value, name in names.items()]


def _translation(dataset: dict[str, Any], axes: list[str]) -> tuple[float, float]:
    """How far the labels begin from the image's corner, in their own pixels."""
    moves = {entry.get("type"): entry for entry in dataset.get("coordinateTransformations") or []}
    if "translation" not in moves or "scale" not in moves:
        return 0.0, 0.0
    x, y = axes.index("x"), axes.index("y")
    scale, move = moves["scale"]["scale"], moves["translation"]["translation"]
    found = float(move[x]) / float(scale[x]), float(move[y]) / float(scale[y])
    # half a pixel of a coarser level is how some writers place its centre: no shift of the picture
    return (found[0], found[1]) if max(abs(found[0]), abs(found[1])) >= 1 else (0.0, 0.0)


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
