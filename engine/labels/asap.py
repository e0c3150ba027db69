"""ASAP XML: the annotation files of CAMELYON16/17 and of the ASAP viewer.

Coordinates are (x, y) in level-0 pixels, rings are not closed, points are placed by their ``Order``. ASAP knows no holes:
a hole is an annotation of its own, in an "exclusion" group that is applied after the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
import shapely
from shapely.geometry import Polygon, box

from ..errors import AnnotationError
from ..files import write_text
from .frame import Frame
from .mapping import EXCLUSION, shortened
from .shapes import Kind, Origin, Outline, Outlines, polygon_rings, repair, usable

HOLES = "Exclusion"
"""Group in which holes are written."""
KINDS: dict[str, Kind] = {
    "Polygon": "polygon", "Spline": "spline", "Rectangle": "rectangle", "None": "polygon",
    "Dot": "point", "PointSet": "point", "Measurement": "line",
}  # fmt: skip
ORIGINS: tuple[Origin, ...] = ("slide", "bounds")
TYPES = {
    "polygon": "Polygon",
    "spline": "Spline",
    "rectangle": "Rectangle",
    "ellipse": "Polygon",
    "point": "PointSet",
    "line": "Measurement",
}


@dataclass
class _Open:
    """The annotation that is being read."""

    name: str
    type: str
    group: str
    color: str
    line: int
    points: list[tuple[int, float, float]] = field(default_factory=list)


class _Reader:
    """Feeds on expat events; expat, as it knows the line of everything and builds no tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outlines = Outlines()
        self.current: _Open | None = None
        self.root = ""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.StartDoctypeDeclHandler = self.refuse
        self.parser.EntityDeclHandler = self.refuse
        self.parser.CommentHandler = self.comment

    def fail(self, text: str) -> NoReturn:
        raise AnnotationError(f"{self.path.name}, line {self.parser.CurrentLineNumber}: {text}")

    def refuse(self, *_: object) -> NoReturn:
        # entities can blow a file of a few bytes up to gigabytes; ASAP never writes them
        self.fail("a document type definition is not allowed in an annotation file; remove the <!DOCTYPE …> part.")

    def comment(self, text: str) -> None:
        """Take notice of what `write_asap` says of the coordinates."""
        for origin in ORIGINS:
            if text.strip().startswith(f"origin: {origin};"):
                self.outlines.origin = origin

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.root:
            self.root = tag
            if tag != "ASAP_Annotations":
                self.fail(f"this is not an ASAP file: it begins with <{shortened(tag)}>, not with <ASAP_Annotations>.")
        elif tag == "Annotation":
            if self.current is not None:
                self.fail("an annotation begins inside another one; save the file again from ASAP.")
            self.current = _Open(
                attributes.get("Name", ""),
                attributes.get("Type", "Polygon"),
                attributes.get("PartOfGroup", "None"),
                attributes.get("Color", "#F4FA58"),
                self.parser.CurrentLineNumber,
            )
        elif tag == "Coordinate":
            if self.current is None:
                self.fail("a coordinate stands outside of an annotation; save the file again from ASAP.")
            points = self.current.points
            order = self.number(attributes.get("Order", str(len(points))), "Order")
            x = self.number(attributes.get("X"), "X")
            y = self.number(attributes.get("Y"), "Y")
            points.append((int(order) if np.isfinite(order) else len(points), x, y))

    def number(self, text: str | None, name: str) -> float:
        if text is None:
            self.fail(f"a coordinate has no {name}; add it or remove the coordinate.")
        try:
            return float(text)
        except ValueError:
            self.fail(f"{name} is {text[:40]!r}, which is not a number; correct it.")

    def end(self, tag: str) -> None:
        if tag != "Annotation" or self.current is None:
            return
        entry, self.current = self.current, None
        kind = KINDS.get(entry.type, "polygon")
        # Python's sort is stable: equal orders keep the order of the file
        points = np.array([point[1:] for point in sorted(entry.points, key=lambda point: point[0])], float)
        points = points.reshape(-1, 2)
        where = f"Annotation '{shortened(entry.name)}' (line {entry.line})"
        if len(points) == 0 or not usable(points):
            why = "has no coordinates" if len(points) == 0 else "has a coordinate that is not a place on a slide"
            self.outlines.skipped.append(f"{where} {why}.")
            return
        if kind == "rectangle" and len(points) == 2:
            (x0, y0), (x1, y1) = points
            points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)
        if kind not in ("point", "line") and len(points) < 3:
            self.outlines.skipped.append(f"{where} has fewer than 3 points and encloses nothing.")
            return
        exclude = entry.group.strip().casefold() in EXCLUSION
        self.outlines.append(Outline(entry.name, [points], entry.group, _colour(entry.color), exclude, kind))


def _colour(text: str) -> str:
    if len(text) == 7 and text[0] == "#" and all(c in "0123456789abcdefABCDEF" for c in text[1:]):
        return text
    return "#F4FA58"


def read_asap(path: Path) -> Outlines:
    """Read an ASAP file.

    Returns
    -------
    All annotations in file order, `exclude` set for the groups that mean a hole; ``Dot``, ``PointSet`` and
    ``Measurement`` come as kinds ``point`` and ``line``. Annotations that hold nothing are named in ``.skipped``.

    Raises
    ------
    AnnotationError
        One sentence with file and line when the file is no ASAP file, is damaged, or holds a DTD.
    """
    path = Path(path)
    reader = _Reader(path)
    try:
        with path.open("rb") as file:
            reader.parser.ParseFile(file)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror or error}.") from None
    except expat.ExpatError as error:
        raise AnnotationError(
            f"{path.name}, line {error.lineno}: this is not well-formed XML ({expat.ErrorString(error.code)}); "
            "the file may be cut off: copy or export it again."
        ) from None
    except (ValueError, LookupError) as error:
        # an encoding that expat or Python does not know
        raise AnnotationError(f"{path.name}: the text cannot be decoded ({error}); save the file as UTF-8.") from None
    return reader.outlines


def write_asap(path: Path, outlines: list[Outline], frame: Frame | None = None) -> None:
    """Write outlines as ASAP XML: groups declared, plain decimals.

    A hole becomes an annotation of the group "Exclusion". Where something lies inside a hole, "apply exclusions last"
    would wipe it out; there the outline is cut into parts without that hole instead, so that the order in which a
    program applies the annotations does not matter; so it is also when a class is itself called like that group.

    Parameters
    ----------
    frame : where the coordinates lie; it is stated in a comment at the top.
    """
    about = (frame or Frame()).plain()
    colours: dict[str, str] = {}
    entries: list[str] = []

    def add(name: str, type_: str, group: str, color: str, points: np.ndarray) -> None:
        colours.setdefault(group, color)
        lines = "".join(
            f'\t\t\t\t<Coordinate Order="{i}" X="{_decimal(x)}" Y="{_decimal(y)}" />\n'
            for i, (x, y) in enumerate(points)
        )
        entries.append(
            f'\t\t<Annotation Name={quoteattr(name)} Type="{type_}" PartOfGroup={quoteattr(group)} '
            f"Color={quoteattr(color)}>\n\t\t\t<Coordinates>\n{lines}\t\t\t</Coordinates>\n\t\t</Annotation>\n"
        )

    areas = [repair(outline).polygons if outline.areal else [] for outline in outlines]
    taken = any(o.class_name.strip().casefold() in EXCLUSION and not o.exclude for o in outlines)
    occupied = _Occupied([polygon for polygons in areas for polygon in polygons])
    for index, outline in enumerate(outlines):
        name = _clean(outline.name) or f"Annotation {index}"
        group = _clean(outline.class_name) or "None"
        if not outline.areal or len(outline.rings) == 1:
            type_ = "Dot" if outline.kind == "point" and len(outline.rings[0]) == 1 else TYPES[outline.kind]
            add(name, type_, group, outline.color, outline.rings[0])
            continue
        for polygon in areas[index]:
            holes = list(polygon.interiors)
            filled = [taken or occupied.inside(Polygon(hole), polygon) for hole in holes]
            for part in without_holes(Polygon(polygon.exterior, [h for h, full in zip(holes, filled) if full])):
                add(name, "Polygon", group, outline.color, polygon_rings(part)[0])
            for hole, full in zip(holes, filled):
                if not full:
                    add(f"{name} hole", "Polygon", HOLES, "#000000", shapely.get_coordinates(hole)[:-1])
    groups = "".join(
        f'\t\t<Group Name={quoteattr(name)} PartOfGroup="None" Color={quoteattr(color)}>\n'
        "\t\t\t<Attributes />\n\t\t</Group>\n"
        for name, color in colours.items()
        if name != "None"
    )
    write_text(
        Path(path),
        f'<?xml version="1.0"?>\n<!-- origin: {about["origin"]}; {about["coordinates"]} -->\n'
        "<ASAP_Annotations>\n\t<Annotations>\n" + "".join(entries)
        + "\t</Annotations>\n\t<AnnotationGroups>\n" + groups + "\t</AnnotationGroups>\n</ASAP_Annotations>\n",
    )  # fmt: skip


def without_holes(polygon: Polygon) -> list[Polygon]:
    """Cut a polygon along vertical lines through its holes (at whole pixels where possible) until none has a hole."""
    if not polygon.interiors:
        return [polygon]
    x0, y0, x1, y1 = polygon.bounds
    holes = sorted(hole.bounds for hole in polygon.interiors)
    left, _, right, _ = holes[len(holes) // 2]
    middle = float(round((left + right) / 2))
    cut = middle if left < middle < right else (left + right) / 2
    parts: list[Polygon] = []
    for half in (box(x0 - 1, y0 - 1, cut, y1 + 1), box(cut, y0 - 1, x1 + 1, y1 + 1)):
        for part in shapely.get_parts(polygon.intersection(half)):
            if isinstance(part, Polygon) and part.area > 0:
                parts.extend(without_holes(part))
    return parts


class _Occupied:
    """Answers whether any other polygon has area inside a given one."""

    def __init__(self, polygons: list[Polygon]) -> None:
        self.tree = shapely.STRtree(polygons)

    def inside(self, region: Polygon, but: Polygon) -> bool:
        found = self.tree.geometries[self.tree.query(region, predicate="intersects")]
        return any(other is not but and other.intersection(region).area > 0 for other in found)


def _decimal(value: float) -> str:
    """Plain decimal with at most four places, no exponent."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _clean(text: str) -> str:
    """Without the control characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff")
