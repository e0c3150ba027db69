"""Annotation files into a label store and out of it: one undo step an import, exclusions last, everything reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from shapely.geometry import Polygon

from ..errors import AnnotationError
from .asap import read_asap, write_asap
from .classes import LabelClass
from .geojson import read_geojson, write_geojson
from .journal import Rings
from .layers import layers
from .mapping import SKIP, Target, called, class_mapping, count_classes, quoted
from .shapes import Outline, Outlines, polygon_rings, repair
from .store import LabelStore
from .trace import labels_to_outlines

SUFFIXES = {
    ".xml": (read_asap, write_asap),
    ".geojson": (read_geojson, write_geojson),
    ".json": (read_geojson, write_geojson),
}


__all__ = [
    "ImportReport", "class_mapping", "export_annotations", "import_annotations", "read_annotations",
    "write_annotations",
]  # fmt: skip


@dataclass
class ImportReport:
    """What an import did.

    Attributes
    ----------
    counts : outlines per class that was painted.
    erased : outlines whose area was cleared.
    left_out : outlines per class of the file that nobody gave a meaning.
    cut : outlines that reach beyond the slide; the part on it was taken.
    repaired, skipped : what else had to be changed or could not be used, one sentence for each outline.
    """

    counts: dict[str, int] = field(default_factory=dict)
    erased: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    repaired: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        return self.tell()

    def tell(self, slide: str = "") -> str:
        """Return what happened in one sentence; `slide` is the name of the slide that got the outlines."""
        counts = list(self.counts.items())
        first = [f"{_outlines(count)} as {name}" for name, count in counts[:1]]
        parts = [
            ", ".join([*first, *(f"{count:,} as {name}" for name, count in counts[1:])]) or "no outline of a class"
        ]
        if self.erased:
            parts.append(f"{self.erased} erased")
        if self.left_out:
            parts.append(f"{sum(self.left_out.values())} left out ({quoted(self.left_out, 3)})")
        if self.skipped:
            parts.append(f"{len(self.skipped)} not usable")
        if self.repaired:
            parts.append(f"{len(self.repaired)} repaired")
        if self.cut:
            reach = "1 outline reaches" if self.cut == 1 else f"{self.cut} outlines reach"
            parts.append(f"{reach} beyond the slide and {'was' if self.cut == 1 else 'were'} cut")
        return f"Imported {f'into {slide}: ' if slide else ''}{'; '.join(parts)}."

    @property
    def details(self) -> list[str]:
        """Everything that did not go in as it was drawn, one sentence each."""
        left = [f"{_outlines(count)} {_of(name)}: left out." for name, count in self.left_out.items()]
        return [*left, *self.skipped, *self.repaired]


def _outlines(count: int) -> str:
    return "1 outline" if count == 1 else f"{count:,} outlines"


def _of(name: str) -> str:
    text = called(name)
    return f"of class {text}" if text.startswith("'") else "without a class"


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
    what = "is neither ASAP XML nor GeoJSON" if head else "is empty"
    raise AnnotationError(f"{path.name} {what}; choose an annotation file.")


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


def import_annotations(
    store: LabelStore, outlines: Sequence[Outline], mapping: Mapping[str, Target], text: str = "Import"
) -> ImportReport:
    """Paint outlines as one undo step, whatever the file's order: what lies inside another outline stays visible.

    Of two that overlap the smaller one is seen (see `layers`); areas to be erased come last.

    Parameters
    ----------
    mapping : what each class of the file becomes, see `class_mapping`; a class that is not in it is left out.

    Raises
    ------
    AnnotationError : nothing can be painted or erased; the labels are as they were.
    """
    report = ImportReport(
        repaired=list(getattr(outlines, "repaired", ())), skipped=list(getattr(outlines, "skipped", ()))
    )
    wanted = [o for o in outlines if mapping.get(o.class_name, SKIP) != SKIP]
    report.left_out = count_classes(o for o in outlines if mapping.get(o.class_name, SKIP) == SKIP)
    painted: list[list[Polygon]] = []
    values: list[int] = []
    erased: list[Polygon] = []
    outside = 0
    for outline in wanted:
        polygons = _usable(outline, report)
        if not polygons:
            continue
        x0, y0, x1, y1 = outline.bounds
        if x1 <= 0 or y1 <= 0 or x0 >= store.width or y0 >= store.height:
            outside += 1
            report.skipped.append(f"{outline.title} lies outside the slide.")
            continue
        report.cut += x0 < 0 or y0 < 0 or x1 > store.width or y1 > store.height
        target = mapping[outline.class_name]
        if isinstance(target, LabelClass):
            painted.append(polygons)
            values.append(target.value)
            report.counts[target.name] = report.counts.get(target.name, 0) + 1
        else:
            erased += polygons
            report.erased += 1
    order = np.lexsort((np.array(values), layers(painted, values))) if painted else np.empty(0, np.int64)
    items: list[tuple[Rings, int]] = [(polygon_rings(one), values[k]) for k in order for one in painted[k]]
    items += [(polygon_rings(one), 0) for one in erased]
    if not items:
        raise AnnotationError(f"Nothing was imported: {_reason(report, len(wanted), outside)}")
    store.polygons(items, text=text)
    return report


def _usable(outline: Outline, report: ImportReport) -> list[Polygon]:
    """Return the outline's area as valid polygons; what was changed or cannot be used goes into the report."""
    if not outline.areal:
        report.skipped.append(f"{outline.title} is a {outline.kind} and has no area.")
        return []
    fixed = repair(outline)
    if not fixed.polygons:
        report.skipped.append(f"{outline.title} encloses no area.")
    elif fixed.changed:
        report.repaired.append(f"{outline.title} crossed itself and was repaired.")
    return fixed.polygons


def _reason(report: ImportReport, wanted: int, outside: int) -> str:
    if not wanted and report.left_out:
        names = list(report.left_out)
        if len(names) == 1:
            return f"its outlines are {_of(names[0])}, and it is not said what that becomes."
        return f"it is not said what its classes become: {quoted(names)}."
    if outside:
        return "all outlines lie outside the slide. They may belong to another slide or level."
    if report.skipped:
        return f"none of its outlines can be used. {report.skipped[0]}"
    return "there are no outlines."
