"""COCO: polygons and run lengths in and out.

Coordinates are (x, y) in level-0 pixels. A COCO polygon has no holes; what has some is written in several parts without, cut
at whole pixels, or as run lengths (``iscrowd`` 1). Run lengths count down the columns, zeros first.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ..errors import AnnotationError
from ..files import write_text
from .asap import without_holes
from .classes import PALETTE, LabelClass
from .frame import Frame
from .mapping import shortened
from .pixels import array_outlines, check_size, checked_color
from .raster import Polygons
from .shapes import LARGEST, Outline, Outlines, polygon_rings, repair, usable

MOST_RUNS = 50_000_000
_MOST_PIXELS = 1 << 28  # of the box around one object given as run lengths


def is_coco(content: Any) -> bool:
    """Whether the content of a JSON file is COCO rather than GeoJSON."""
    return isinstance(content, dict) and isinstance(content.get("annotations"), list) and "images" in content


def coco_outlines(content: Any, name: str, slide: str = "") -> Outlines:
    """Return the outlines of one picture of a COCO file; objects that cannot be used are named in ``.skipped``.

    Parameters
    ----------
    content : the parsed JSON. name : of the file, for sentences.
    slide : which of several pictures: the one whose ``file_name`` is called like this, whatever its suffix.

    Raises
    ------
    AnnotationError : there are several pictures and none is called like that, or the file is no COCO file.
    """
    if not is_coco(content):
        raise AnnotationError(f"{name} is no COCO file: it has no lists of images and annotations.")
    found = Outlines()
    found.origin = "slide"
    try:
        image = _image(content["images"], name, slide)
        if image is not None and image.get("width") and image.get("height"):
            check_size(int(image["width"]), int(image["height"]), name)
            found.size = (int(image["width"]), int(image["height"]))
        info = content.get("info")
        if isinstance(info, dict) and info.get("origin") in ("slide", "bounds"):
            found.origin = info["origin"]
        categories = {entry["id"]: entry for entry in content.get("categories") or []}
        colors = {
            key: checked_color(entry.get("color")) or PALETTE[k % len(PALETTE)]
            for k, (key, entry) in enumerate(categories.items())
        }
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise AnnotationError(
            f"{name} is no COCO file that can be used: its images or categories are malformed."
        ) from None
    for number, entry in enumerate(content["annotations"], 1):
        try:
            if image is not None and entry.get("image_id") != image.get("id"):
                continue
            category = categories.get(entry.get("category_id"))
            title = str(category["name"]) if category else ""
            color = colors.get(entry.get("category_id"), PALETTE[0])
            _read(entry, f"{title or 'Object'} {entry.get('id', number)}", title, color, found)
        except AnnotationError as error:
            found.skipped.append(f"Object {number} of {name} {error}")
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, MemoryError):
            found.skipped.append(f"Object {number} of {name} is malformed.")
    return found


def _image(images: Any, name: str, slide: str) -> dict[str, Any] | None:
    """The picture that is meant: called like the slide, or the only one."""
    known = {str(image.get("file_name", "")).replace("\\", "/").rpartition("/")[2]: image for image in images}
    for title, image in known.items():
        if slide and slide.casefold() in (title.casefold(), title.rpartition(".")[0].casefold()):
            return image
    if len(images) > 1:
        texts = ", ".join(f"'{shortened(title)}'" for title in list(known)[:3])
        wanted = f"none is called '{shortened(slide)}'" if slide else "it is not said which one is meant"
        raise AnnotationError(f"{name} is about {len(images):,} pictures ({texts}, …), and {wanted}.")
    return images[0] if images else None


def _read(entry: dict[str, Any], name: str, class_name: str, color: str, found: Outlines) -> None:
    segmentation = entry.get("segmentation")
    title = f"'{shortened(name)}'"
    if isinstance(segmentation, dict):
        for rings in _from_runs(segmentation):
            found.append(Outline(name, rings, class_name, color))
        return
    if not segmentation:
        if not entry.get("bbox"):
            found.skipped.append(f"{title} has no outline.")
            return
        x, y, width, height = (float(value) for value in entry["bbox"])
        ring = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
        if not usable(ring):
            found.skipped.append(f"{title} has coordinates that lie beyond any slide.")
            return
        found.append(Outline(name, [ring], class_name, color, kind="rectangle"))
        found.repaired.append(f"{title} has a box alone, which was taken as its outline.")
        return
    for flat in segmentation:
        ring = np.array(flat, np.float64)
        if ring.ndim != 1 or len(ring) < 6 or len(ring) % 2:
            found.skipped.append(f"{title} has a part with fewer than 3 points.")
            continue
        ring = ring.reshape(-1, 2)
        if not usable(ring):
            found.skipped.append(f"{title} has coordinates that are no numbers or lie beyond any slide.")
            continue
        found.append(Outline(name, [ring[:-1] if (ring[0] == ring[-1]).all() else ring], class_name, color))


# ---- run lengths --------------------------------------------------------------------------------------------------------


def _from_runs(segmentation: dict[str, Any]) -> list[list[np.ndarray]]:
    """Return the rings of each region of an object given as run lengths."""
    height, width = (int(value) for value in segmentation["size"])
    check_size(width, height, "it")
    counts = segmentation["counts"]
    lengths = unpacked(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    if lengths.ndim != 1 or len(lengths) > MOST_RUNS or (lengths < 0).any() or lengths.sum() != width * height:
        raise AnnotationError("has run lengths that do not fit its size.")
    ends = np.cumsum(lengths)
    starts = ends - lengths
    starts, ends = starts[1::2], ends[1::2]
    keep = ends > starts
    starts, ends = starts[keep], ends[keep]
    if not len(starts):
        return []
    left, right = int(starts[0] // height), int((ends[-1] - 1) // height) + 1
    one = starts // height == (ends - 1) // height
    top = int((starts[one] % height).min()) if one.all() else 0
    bottom = int(((ends[one] - 1) % height).max()) + 1 if one.all() else height
    if (right - left) * (bottom - top) > _MOST_PIXELS:
        raise AnnotationError("covers too large a box for run lengths; write it as polygons.")
    # edges of the runs down each column, summed up: odd = inside
    flat = np.zeros((right - left) * height + 1, np.int8) if not one.all() else None
    if flat is not None:
        if len(flat) > _MOST_PIXELS:
            raise AnnotationError("covers too large a box for run lengths; write it as polygons.")
        np.add.at(flat, starts - left * height, 1)
        np.add.at(flat, ends - left * height, -1)
        inside = np.cumsum(flat[:-1], dtype=np.int8).reshape(right - left, height).T.astype(bool)
    else:
        tall = bottom - top
        edges = np.zeros((right - left, tall + 1), np.int8)
        column = starts // height - left
        edges[column, starts % height - top] += 1
        edges[column, starts % height - top + (ends - starts)] -= 1
        inside = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).T.astype(bool)
    return [[ring + (left, top) for ring in rings] for rings in array_outlines(np.ascontiguousarray(inside))]


def unpacked(text: str) -> np.ndarray:
    """Return the run lengths of COCO's text form: 5 bits a character from "0", differences to the one before the last."""
    if len(text) > 4 * MOST_RUNS:
        raise AnnotationError("has more run lengths than can be held.")
    counts: list[int] = []
    value = shift = 0
    for byte in text.encode("ascii"):
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            raise AnnotationError("has run lengths that cannot be read.")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return np.array(counts, np.int64)


def run_lengths(outline: Outline, width: int, height: int) -> list[int]:
    """Return the run lengths of the pixels whose centre lies inside an outline, on a picture of that size."""
    flipped = Polygons(
        [([ring[:, ::-1] for polygon in repair(outline).polygons for ring in polygon_rings(polygon)], "evenodd")]
    )
    _, top, _, bottom = flipped.bounds  # of columns and rows changing places: y first
    first, last = max(0, int(np.floor(top))), min(width, int(np.ceil(bottom)))
    counts: list[int] = []
    at = 0
    if last > first:
        spans = flipped.spans(first, last - first, 1, (0, height)).clipped(0, height)
        starts = (spans.row + first) * height + spans.start
        ends = (spans.row + first) * height + spans.end
        for start, end in zip(starts.tolist(), ends.tolist()):
            if counts and start == at:
                counts[-1] += end - start
            else:
                counts += [start - at, end - start]
            at = end
    if not counts:
        counts = [0]
    rest = width * height - at
    return [*counts, rest] if rest else counts


# ---- out ------------------------------------------------------------------------------------------------------------------


def write_coco(
    path: Path,
    pictures: Sequence[tuple[Frame, Sequence[Outline]]],
    classes: Sequence[LabelClass] = (),
    runs: bool = False,
) -> None:
    """Write a COCO file about one picture or many.

    Parameters
    ----------
    pictures : size (and name) of each with its outlines; points and lines are left out.
    classes : the category table, ids from 1 in this order; classes that only outlines name follow.
    runs : write run lengths, exact to the pixel, in place of polygons.

    Raises
    ------
    AnnotationError : the size of a picture is not known.
    """
    path = Path(path)
    categories = {item.name: number for number, item in enumerate(classes, 1)}
    colors = {item.name: item.color for item in classes}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (frame, outlines) in enumerate(pictures, 1):
        if not frame.width or not frame.height:
            raise AnnotationError(f"{path.name}: COCO needs the slide's size; give it with --size or --slide.")
        name = frame.name or (path.name.partition(".")[0] if len(pictures) == 1 else f"picture {number}")
        image: dict[str, Any] = {"id": number, "file_name": name, "width": frame.width, "height": frame.height}
        images.append(image | ({"mpp": frame.mpp} if frame.mpp else {}))
        for outline in outlines:
            if not outline.areal:
                continue
            category = categories.setdefault(outline.class_name or "Annotation", len(categories) + 1)
            colors.setdefault(outline.class_name or "Annotation", outline.color)
            for entry in _entries(outline, frame, runs):
                annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": category, **entry})
    origins = {tuple(frame.plain().items())[:2] for frame, _ in pictures}
    about = dict(next(iter(origins))) if len(origins) == 1 else {}
    info = {"description": "Annotations from Opsin", "year": datetime.date.today().year, **about}
    table = [
        {"id": number, "name": name, "supercategory": "", "color": colors[name]} for name, number in categories.items()
    ]
    content = {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": table}
    write_text(path, json.dumps(content, allow_nan=False))


def _entries(outline: Outline, frame: Frame, runs: bool) -> Iterator[dict[str, Any]]:
    """One annotation for each connected part, so that a box goes around one thing."""
    for polygon in repair(outline).polygons:
        x0, y0, x1, y1 = polygon.bounds
        entry: dict[str, Any] = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": polygon.area, "iscrowd": int(runs)}
        if runs:
            part = Outline(outline.name, polygon_rings(polygon))
            counts = run_lengths(part, frame.width, frame.height)
            entry["segmentation"] = {"size": [frame.height, frame.width], "counts": counts}
            entry["area"] = sum(counts[1::2])
        else:
            parts = [shapely.get_coordinates(part.exterior)[:-1] for part in without_holes(polygon)]
            entry["segmentation"] = [part.ravel().tolist() for part in parts]
        if max(abs(value) for value in polygon.bounds) < LARGEST:
            yield entry
