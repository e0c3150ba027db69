"""Annotation files into a label store and out of it: one undo step an import, exclusions last, everything reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import AnnotationError
from .asap import read_asap, write_asap
from .classes import LabelClass
from .geojson import read_geojson, write_geojson
from .journal import Rings
from .shapes import Outline, Outlines, polygon_rings, repair
from .store import LabelStore
from .trace import labels_to_outlines

POSITIVE_GROUPS = {"_0", "_1", "tumor", "tumour", "metastases", "metastasis", "positive", "cancer"}
NEGATIVE_GROUPS = {"_2", "exclusion", "normal", "none", "negative", "benign", "other", "stroma"}
SUFFIXES = {
    ".xml": (read_asap, write_asap),
    ".geojson": (read_geojson, write_geojson),
    ".json": (read_geojson, write_geojson),
}


@dataclass
class ImportReport:
    """What an import did: shapes painted per class, and in words what was repaired or left out."""

    counts: dict[str, int] = field(default_factory=dict)
    repaired: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        painted = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "nothing"
        more = f"; {len(self.repaired)} repaired" if self.repaired else ""
        return f"Imported {painted}{more}{f'; {len(self.skipped)} left out' if self.skipped else ''}."


def read_annotations(path: Path) -> Outlines:
    """Read ASAP XML or QuPath GeoJSON, told apart by their first character."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise AnnotationError(f"{path} cannot be opened: {error.strerror}.") from None
    if head[:1] == b"<":
        return read_asap(path)
    if head[:1] in (b"{", b"[") or head[:2] == b"PK":
        return read_geojson(path)
    raise AnnotationError(f"{path.name} is neither ASAP XML nor GeoJSON.")


def write_annotations(path: Path, outlines: Sequence[Outline]) -> None:
    """Write outlines as the suffix says: ``.xml`` (ASAP) or ``.geojson`` (QuPath)."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise AnnotationError(
            f"{Path(path).name}: annotations are written as {', '.join(SUFFIXES)}; choose such a name."
        )
    SUFFIXES[suffix][1](Path(path), list(outlines))


def export_annotations(store: LabelStore, classes: Sequence[LabelClass], path: Path) -> int:
    """Trace a label store and write it; return the number of outlines."""
    outlines = labels_to_outlines(store, classes)
    write_annotations(path, outlines)
    return len(outlines)


def class_mapping(outlines: Sequence[Outline], classes: Sequence[LabelClass]) -> dict[str, LabelClass | None]:
    """Return, for each class name in a file, the class it becomes; None = its area is cleared (not tumour, excluded).

    A class of the same name wins; else the groups that CAMELYON and QuPath use are known; anything else is positive, as an
    outline without a word is in every data set at hand.
    """
    by_name = {item.name.lower(): item for item in classes}
    positive = next((item for item in classes if item.role == "positive"), None)
    negative = next((item for item in classes if item.role == "negative"), None)
    found: dict[str, LabelClass | None] = {}
    for outline in outlines:
        word = outline.class_name.lower()
        if word in by_name:
            found[outline.class_name] = by_name[word]
        elif outline.exclude or word in NEGATIVE_GROUPS:
            found[outline.class_name] = negative
        else:
            found[outline.class_name] = positive
    return found


def import_annotations(
    store: LabelStore, outlines: Sequence[Outline], mapping: dict[str, LabelClass | None], text: str = "Import"
) -> ImportReport:
    """Paint outlines as one undo step, exclusions last whatever the file's order.

    Raises
    ------
    AnnotationError : no outline touches the slide; nothing has been painted.
    """
    report = ImportReport(
        repaired=list(getattr(outlines, "repaired", ())), skipped=list(getattr(outlines, "skipped", ()))
    )
    items: list[tuple[Rings, int]] = []
    outside = 0
    late = [o for o in outlines if _is_late(o)]
    for outline in [o for o in outlines if not _is_late(o)] + late:
        if not outline.areal:
            report.skipped.append(f"{outline.title} is a {outline.kind} and has no area.")
            continue
        fixed = repair(outline)
        if not fixed.polygons:
            report.skipped.append(f"{outline.title} encloses no area.")
            continue
        if fixed.changed:
            report.repaired.append(f"{outline.title} crossed itself and was repaired.")
        x0, y0, x1, y1 = outline.bounds
        if x1 <= 0 or y1 <= 0 or x0 >= store.width or y0 >= store.height:
            outside += 1
            report.skipped.append(f"{outline.title} lies outside the slide.")
            continue
        target = mapping.get(outline.class_name)
        for polygon in fixed.polygons:
            rings = [np.asarray(ring) for ring in polygon_rings(polygon)]
            items.append((rings, target.value if target is not None else 0))
        name = target.name if target is not None else "cleared"
        report.counts[name] = report.counts.get(name, 0) + 1
    if not items:
        reason = (
            "all outlines lie outside the slide: do they belong to another slide or level?"
            if outside
            else "no outline has an area."
        )
        raise AnnotationError(f"Nothing was imported: {reason}")
    store.polygons(items, text=text)
    return report


def _is_late(outline: Outline) -> bool:
    return outline.exclude or outline.class_name.lower() in NEGATIVE_GROUPS
