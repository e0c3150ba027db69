"""QuPath's GeoJSON in and out. Coordinates: (x, y) in level-0 pixels of the full slide, origin top left, y down."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon

from ..errors import AnnotationError
from ..files import write_text
from ..tiles import LARGEST
from .frame import Frame
from .mapping import shortened
from .shapes import Kind, Outline, Outlines, areal_parts, ellipse, polygon_rings, repair, usable

LARGEST_FILE = 2 << 30
GEOMETRIES = ("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection")


def read_geojson(path: Path) -> Outlines:
    """Read a FeatureCollection, a bare list of features, one feature or a bare geometry; also zipped.

    Every spelling of QuPath 0.2 to 0.7 is understood. Objects that cannot be used are named in ``.skipped``. Where the
    objects lie in several planes (depth, time), those of the first one are taken.

    Raises
    ------
    AnnotationError : one sentence about a file that is damaged, no GeoJSON, or holds no object at all.
    """
    return outlines_of(load_json(path), Path(path).name)


def load_json(path: Path) -> Any:
    """Return what a JSON file holds, zipped or not; `AnnotationError` when it is damaged or too large."""
    path = Path(path)
    try:
        return json.loads(_text(path))
    except (RecursionError, MemoryError):
        raise AnnotationError(_too_deep(path.name)) from None
    except ValueError as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise AnnotationError(
            f"{path.name}{place}: this is no valid JSON, or it was cut off; export it again from the program it "
            "came from."
        ) from None


def outlines_of(content: Any, name: str) -> Outlines:
    """Return the outlines of what a GeoJSON file holds; `name` is the file's for sentences."""
    try:
        features = list(_features(content))
    except RecursionError:
        raise AnnotationError(_too_deep(name)) from None
    found = Outlines()
    if not features:
        raise AnnotationError(f"{name} holds no annotation that Opsin knows (no feature and no geometry).")
    for number, feature in enumerate(features, 1):
        try:
            _read_feature(feature, f"object {number}", found)
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            found.skipped.append(f"Object {number} of {name} is malformed.")
    if isinstance(content, dict) and isinstance(content.get("opsin"), dict):
        said = content["opsin"].get("origin")
        found.origin = said if said in ("slide", "bounds") else ""
        size = content["opsin"].get("size")
        if isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 < v <= LARGEST for v in size):
            found.size = (size[0], size[1])
    return _first_plane(found)


def _too_deep(name: str) -> str:
    return f"{name} is nested too deeply for an annotation file; export it again from the program it came from."


def _first_plane(found: Outlines) -> Outlines:
    planes = sorted({outline.plane for outline in found})
    if len(planes) < 2:
        return found
    kept = found.same(outline for outline in found if outline.plane == planes[0])
    kept.skipped += [
        f"{outline.title} lies in another plane (z {outline.plane[0]}, t {outline.plane[1]})."
        for outline in found
        if outline.plane != planes[0]
    ]
    return kept


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise AnnotationError(f"{path.name} is larger than 2 GiB; split it.")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = [i for i in archive.infolist() if i.filename.lower().endswith((".json", ".geojson"))]
                if not inside or inside[0].file_size > LARGEST_FILE:
                    raise AnnotationError(f"{path.name} holds no GeoJSON file of a usable size.")
                return archive.read(inside[0]).decode("utf-8-sig")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise AnnotationError(f"{path.name} cannot be read as text ({error}).") from None


def _features(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _features(item)
    elif isinstance(value, dict):
        if value.get("type") == "FeatureCollection":
            yield from _features(value.get("features", []))
        elif value.get("type") in GEOMETRIES:
            yield {"type": "Feature", "geometry": value, "properties": {}}
        elif "geometry" in value:
            yield value
            properties = value.get("properties")
            children = properties.get("childObjects") if isinstance(properties, dict) else None
            yield from _features(children or value.get("childObjects") or value.get("children") or [])


def _read_feature(feature: dict[str, Any], title: str, found: Outlines) -> None:
    properties = feature.get("properties") or {}
    class_name, color = _classification(properties)
    kind = properties.get("objectType") or properties.get("object_type") or properties.get("type") or _by_id(feature)
    name = str(properties.get("name") or title)
    geometry = feature.get("geometry")
    plane = _plane(geometry)
    metadata = _texts(properties.get("metadata"))
    measurements = _numbers(properties.get("measurements"))
    short = shortened(name)
    locked = properties.get("isLocked") is True
    if kind == "root":
        return
    for shape, rings in _shapes(geometry):
        arrays = [np.array(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]
        if not arrays or not len(arrays[0]):
            found.skipped.append(f"'{short}' has no coordinates.")
            continue
        if not all(usable(ring) for ring in arrays):
            found.skipped.append(f"'{short}' has coordinates that are no numbers or lie beyond any slide.")
            continue
        if shape == "polygon":
            arrays = [arrays[0], *(ring for ring in arrays[1:] if len(ring))]
            arrays = [ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring for ring in arrays]
            if len(arrays[0]) < 3:
                found.skipped.append(f"'{short}' has fewer than 3 points.")
                continue
            if isinstance(geometry, dict) and geometry.get("isEllipse") is True and len(arrays) == 1:
                shape = "ellipse"  # whatever polygon stands for it: QuPath takes its box
                low, high = arrays[0].min(axis=0).tolist(), arrays[0].max(axis=0).tolist()
                arrays = [ellipse(low[0], low[1], high[0], high[1])]
        outline = Outline(
            name, arrays, class_name, color, kind=shape, object_type=str(kind), locked=locked, plane=plane
        )
        outline.metadata, outline.measurements = metadata, measurements
        found.append(outline)


def _by_id(feature: dict[str, Any]) -> str:
    """QuPath 0.2 gave each object the name of its kind as its id: PathAnnotationObject, PathDetectionObject, …"""
    found = re.fullmatch(r"Path(\w+)Object", str(feature.get("id")))
    return found[1].lower() if found else "annotation"


def _plane(geometry: Any) -> tuple[int, int]:
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    return (int(plane.get("z") or 0), int(plane.get("t") or 0)) if isinstance(plane, dict) else (0, 0)


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()} if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    """Measurements by name; QuPath before 0.4 wrote a list of {name, value}."""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("value") for entry in value if isinstance(entry, dict)}
    if not isinstance(value, dict):
        return {}
    found = {}
    for key, number in value.items():
        if isinstance(number, int | float | str) and not isinstance(number, bool):
            with contextlib.suppress(ValueError, OverflowError):
                found[str(key)] = float(number)  # also "NaN" and "Infinity"
    return found


def _shapes(geometry: Any) -> Iterator[tuple[Kind, list[Any]]]:
    if not isinstance(geometry, dict):
        return
    kind, coordinates = geometry.get("type"), geometry.get("coordinates", [])
    if kind == "GeometryCollection":
        for part in geometry.get("geometries", []):
            yield from _shapes(part)
    elif kind == "Polygon":
        yield "polygon", [_xy(ring) for ring in coordinates]
    elif kind == "MultiPolygon":
        for polygon in coordinates:
            yield "polygon", [_xy(ring) for ring in polygon]
    elif kind in ("Point", "MultiPoint"):
        yield "point", [_xy([coordinates] if kind == "Point" else coordinates)]
    elif kind in ("LineString", "MultiLineString"):
        for line in [coordinates] if kind == "LineString" else coordinates:
            yield "line", [_xy(line)]


def _xy(points: Any) -> list[tuple[float, float]]:
    return [(float(point[0]), float(point[1])) for point in points]


def _classification(properties: dict[str, Any]) -> tuple[str, str]:
    """Return (class name, colour) in any of QuPath's dialects."""
    value = properties.get("classification")
    color = _color(properties.get("color"))
    if isinstance(value, str):
        name = value
    elif isinstance(value, dict):
        names = value.get("names")
        name = ": ".join(map(str, names)) if isinstance(names, list) else str(value.get("name") or "")
        color = _color(value.get("color", value.get("colorRGB")), color)
    else:
        name = ""
    return name, color


def _color(value: Any, other: str = "#C80000") -> str:
    if isinstance(value, list) and len(value) >= 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value[:3]):
        return "#{:02X}{:02X}{:02X}".format(*value[:3])
    if isinstance(value, int) and not isinstance(value, bool):  # packed signed ARGB, before QuPath 0.4
        return f"#{value & 0xFFFFFF:06X}"
    return other


def write_geojson(path: Path, outlines: Sequence[Outline], frame: Frame | None = None) -> None:
    """Write a FeatureCollection that QuPath opens: valid closed rings, holes inside, an id of its own for each object.

    QuPath refuses a whole file for one invalid ring, so rings that cross themselves are repaired, also those that only do
    so with two decimals. What encloses nothing is left out.

    Parameters
    ----------
    frame : where the coordinates lie; it is stated in the member "opsin" of the collection, which QuPath passes over.
    """
    features = []
    for outline in outlines:
        if outline.areal:
            parts = [part for polygon in repair(outline).polygons for part in _two_decimals(polygon)]
            polygons = [[_closed(ring) for ring in polygon_rings(part)] for part in parts]
            for rings in polygons:
                geometry: dict[str, Any] = {"type": "Polygon", "coordinates": rings}
                if outline.kind == "ellipse" and len(polygons) == 1:
                    geometry["isEllipse"] = True
                features.append(_feature(outline, geometry))
            continue
        points = np.concatenate(outline.rings).round(2).tolist()
        if outline.kind == "line" and len(points) > 1:
            features.append(_feature(outline, {"type": "LineString", "coordinates": points}))
        elif len(points) == 1:
            features.append(_feature(outline, {"type": "Point", "coordinates": points[0]}))
        elif points:
            features.append(_feature(outline, {"type": "MultiPoint", "coordinates": points}))
    about = (frame or Frame()).plain()
    write_text(path, json.dumps({"type": "FeatureCollection", "opsin": about, "features": features}, allow_nan=False))


def _two_decimals(polygon: Polygon) -> list[Polygon]:
    """Return valid polygons with two decimals, or the polygon as it is where rounding cannot keep it valid."""
    rounded = shapely.transform(polygon, _round)
    if rounded.is_valid and rounded.area > 0:
        return [rounded]
    parts = [shapely.transform(part, _round) for part in areal_parts(shapely.set_precision(polygon, 0.01))]
    return parts if parts and all(part.is_valid for part in parts) else [polygon]


def _round(points: np.ndarray) -> np.ndarray:
    return points.round(2)


def _closed(ring: np.ndarray) -> list[list[float]]:
    points = ring.tolist()
    return [*points, points[0]]


def _feature(outline: Outline, geometry: dict[str, Any]) -> dict[str, Any]:
    color = [int(outline.color[i : i + 2], 16) for i in (1, 3, 5)]
    known = outline.object_type if outline.object_type in ("annotation", "detection", "tile") else "annotation"
    properties: dict[str, Any] = {"objectType": known, "name": outline.name, "isLocked": outline.locked}
    if outline.class_name:
        properties["classification"] = {"name": outline.class_name, "color": color}
    if outline.metadata:
        properties["metadata"] = outline.metadata
    if outline.measurements:
        properties["measurements"] = {
            name: value if np.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")
            for name, value in outline.measurements.items()
        }
    if outline.plane != (0, 0):
        geometry["plane"] = {"c": -1, "z": outline.plane[0], "t": outline.plane[1]}
    return {"type": "Feature", "id": str(uuid.uuid4()), "geometry": geometry, "properties": properties}
