"""Outline: a named region as annotation files hold it, and its repair.

Coordinates are (x, y) in level-0 pixels, x right, y down; rings are not closed (the first point is not repeated).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

from .mapping import shortened

Kind = Literal["polygon", "spline", "rectangle", "ellipse", "point", "line"]
AREAL: tuple[Kind, ...] = ("polygon", "spline", "rectangle", "ellipse")
Origin = Literal["", "slide", "bounds"]
"""Where (0, 0) of a file's coordinates lies: "slide", the corner of the full slide; "bounds", the corner of the box that
OpenSlide calls bounds, to which QuPath crops a slide; "" when the file does not say."""
LARGEST = 1e8
"""No slide is that wide: a coordinate beyond it is garbage, not a place. The label store takes none beyond it either."""
NOT_DRAWN = ("detection", "cell", "tile", "core")


@dataclass
class Outline:
    """One annotation.

    Attributes
    ----------
    rings : list of float64 [N, 2] arrays of (x, y), level-0 px; the first is the outer ring, the others are holes. For
        the kinds ``point`` and ``line`` one array with the points.
    class_name : ASAP group or QuPath class as the file spells it; empty when it has none.
    color : ``"#rrggbb"``.
    exclude : the area is *not* of the class it lies in; applied after all others whatever the file order.
    object_type : what QuPath calls the object (annotation, detection, cell, tile).
    locked : nobody is to change it.
    metadata, measurements : what QuPath keeps with an object: texts and numbers by name.
    plane : QuPath's depth and time (z, t); (0, 0) in a flat image.
    mark : "marker", "ruler", "area" or "roi" where it is a mark and no label; "" otherwise (see `mark_outlines.py`).
    """

    name: str
    rings: list[np.ndarray]
    class_name: str = ""
    color: str = "#F4FA58"
    exclude: bool = False
    kind: Kind = "polygon"
    object_type: str = "annotation"
    locked: bool = False
    metadata: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, float] = field(default_factory=dict)
    plane: tuple[int, int] = (0, 0)
    mark: str = ""

    @property
    def areal(self) -> bool:
        return self.kind in AREAL

    @property
    def title(self) -> str:
        """How reports call it."""
        return f"'{shortened(self.name)}'" + (f" ({shortened(self.class_name)})" if self.class_name else "")

    @property
    def drawn(self) -> bool:
        """False for what a program found or laid out in numbers: QuPath's detections, cells, tiles and cores."""
        return not any(word in self.object_type.lower() for word in NOT_DRAWN)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest and largest x and y: (x0, y0, x1, y1)."""
        points = np.concatenate(self.rings)
        x0, y0 = points.min(axis=0)
        x1, y1 = points.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def moved(self, dx: float, dy: float) -> Outline:
        """Return a copy shifted by (dx, dy) level-0 px."""
        return replace(self, rings=[ring + (dx, dy) for ring in self.rings])

    def scaled(self, x: float, y: float) -> Outline:
        """Return a copy x times as wide and y times as high, seen from (0, 0)."""
        return replace(self, rings=[ring * (x, y) for ring in self.rings])


class Outlines(list[Outline]):
    """What a reader returns: the outlines and, in words, what it had to repair or leave out.

    Attributes
    ----------
    origin : what the file says of its coordinates.
    size : width and height of the picture that the outlines belong to, None when the file does not say.
    raster : they were traced from the pixels of such a picture: no two of them share a pixel, and `size` must fit the slide.
    """

    def __init__(self, outlines: Iterable[Outline] = ()) -> None:
        super().__init__(outlines)
        self.repaired: list[str] = []
        self.skipped: list[str] = []
        self.origin: Origin = ""
        self.size: tuple[int, int] | None = None
        self.raster = False

    def same(self, outlines: Iterable[Outline]) -> Outlines:
        """Return other outlines with what is known of these."""
        found = Outlines(outlines)
        found.repaired, found.skipped = list(self.repaired), list(self.skipped)
        found.origin, found.size, found.raster = self.origin, self.size, self.raster
        return found

    def moved(self, dx: float, dy: float) -> Outlines:
        """Return copies shifted by (dx, dy) level-0 px."""
        return self.same(outline.moved(dx, dy) for outline in self)


@dataclass
class Repair:
    """Result of `repair`: valid polygons that do not overlap each other, and whether anything had to change."""

    polygons: list[Polygon] = field(default_factory=list)
    changed: bool = False


def ellipse(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Return the ellipse in a box as a ring, float64 [N, 2], at most 0.02 px inside the true one.

    The four points at which it touches the box are among them.
    """
    largest = max(x1 - x0, y1 - y0) / 2
    step = np.arccos(np.clip(1 - 0.02 / max(largest, 0.1), -1, 1))
    count = 4 * int(np.clip(np.ceil(np.pi / 4 / step), 4, 4096))
    angle = np.arange(count) * (2 * np.pi / count)
    points = np.column_stack(
        [(x0 + x1) / 2 + np.cos(angle) * (x1 - x0) / 2, (y0 + y1) / 2 + np.sin(angle) * (y1 - y0) / 2]
    )
    points[0, 0], points[count // 4, 1], points[count // 2, 0], points[3 * count // 4, 1] = x1, y1, x0, y0
    return points


def simplified(outline: Outline, tolerance: float) -> Outline:
    """Return a copy with fewer points, none of whose sides is farther than `tolerance` px from the old outline.

    Holes that would vanish stay as they are, and no ring crosses itself that did not before. An outline that is no area
    comes back as it is.
    """
    if not outline.areal or tolerance <= 0 or len(outline.rings[0]) < 4:
        return outline
    polygon = shapely.simplify(Polygon(outline.rings[0], outline.rings[1:]), tolerance, preserve_topology=True)
    if not isinstance(polygon, Polygon) or not polygon.is_valid or not polygon.area > 0:
        return outline
    return replace(outline, kind="polygon", rings=polygon_rings(polygon))


def usable(points: np.ndarray) -> bool:
    """True when all coordinates are finite and could lie on a slide."""
    return bool(np.isfinite(points).all() and (np.abs(points) < LARGEST).all())


def repair(outline: Outline) -> Repair:
    """Return the area of an areal outline as valid polygons.

    Rings that cross or touch themselves are repaired with shapely's ``make_valid`` (method "structure": overlapping
    loops are joined, as the non-zero rule of ASAP does); only areal parts are kept. A valid outline comes back
    untouched. No polygon is left when the outline encloses nothing.
    """
    rings = [ring for ring in outline.rings if len(ring) >= 3]
    if not rings or len(outline.rings[0]) < 3:
        return Repair([], True)
    polygon = Polygon(rings[0], rings[1:])
    if polygon.is_valid and polygon.area > 0:
        return Repair([polygon], len(rings) != len(outline.rings))
    return Repair(areal_parts(shapely.make_valid(polygon, method="structure", keep_collapsed=False)), True)


def areal_parts(geometry: shapely.Geometry) -> list[Polygon]:
    """Return the polygons with an area that a geometry of any kind contains."""
    return [part for part in shapely.get_parts(_flat(geometry)) if isinstance(part, Polygon) and part.area > 0]


def _flat(geometry: shapely.Geometry) -> np.ndarray:
    """Parts of a collection, opened until no multi-part geometry of another kind is left."""
    parts = shapely.get_parts(geometry)
    if any(isinstance(part, MultiPolygon) or part.geom_type == "GeometryCollection" for part in parts):
        return np.concatenate([_flat(part) for part in parts])
    return parts


def polygon_rings(polygon: Polygon) -> list[np.ndarray]:
    """Rings of a shapely polygon as float64 [N, 2] arrays, outer first, not closed."""
    return [shapely.get_coordinates(ring)[:-1] for ring in (polygon.exterior, *polygon.interiors)]
