"""Annotation files into a label store and out of it: one undo step an import, exclusions last, everything reported.

`formats.py` says which formats there are and writes them; every reader returns `Outlines`, also those of pixel masks, which
are traced along pixel edges: painting them gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from shapely.geometry import Polygon

from ..errors import AnnotationError, OpsinError
from .asap import read_asap, write_asap
from .classes import LabelClass
from .geojson import load_json, outlines_of, write_geojson
from .journal import Rings
from .layers import layers
from .mapping import SKIP, Target, called, class_mapping, count_classes, quoted
from .mark_outlines import mark_kind, marks_of
from .marks import NAMES
from .shapes import Outline, Outlines, polygon_rings, repair
from .store import LabelStore
from .trace import labels_to_outlines

if TYPE_CHECKING:
    from .frame import Frame
    from .pixels import Progress

WRITERS = {".xml": write_asap, ".geojson": write_geojson, ".json": write_geojson}
SUFFIXES = tuple(WRITERS)


__all__ = [
    "ImportReport", "class_mapping", "export_annotations", "fitted", "import_annotations", "read_annotations",
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
    marks : markers, rulers, measured areas and regions of interest that were added.
    repaired, skipped : what else had to be changed or could not be used, one sentence for each outline.
    """

    counts: dict[str, int] = field(default_factory=dict)
    erased: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    cut: int = 0
    marks: int = 0
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
        if self.marks:
            marks = "1 mark" if self.marks == 1 else f"{self.marks:,} marks"
            parts = [*parts, marks] if counts else [marks]
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


def read_annotations(path: Path, slide: str = "", progress: Progress | None = None) -> Outlines:
    """Read an annotation file of any format, told apart by what it holds: ASAP XML, GeoJSON, COCO, mask TIFF or PNG, OME-Zarr.

    Parameters
    ----------
    slide : name of the slide it is for: COCO files may be about many.
    progress : gets (done, total) of pixel masks.

    Raises
    ------
    AnnotationError : one sentence, whatever is wrong with the file.
    """
    path = Path(path)
    try:
        found = _read(path, slide, progress)
    except OpsinError:
        raise
    except (
        MemoryError,
        OSError,
        Exception,
    ) as error:  # a damaged file may lead any of the libraries into any exception
        from ..errors import Cancelled

        if isinstance(error, Cancelled):
            raise
        text = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise AnnotationError(f"{path.name} cannot be read: it is damaged or of another kind ({text}).") from error
    for outline in found:
        outline.mark = mark_kind(outline) or ""
    return found


def _read(path: Path, slide: str, progress: Progress | None) -> Outlines:
    from .ngff import label_folder, read_ngff

    if path.is_dir() or label_folder(path) is not None:
        return read_ngff(path, progress)
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be opened: {error.strerror}.") from None
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        from .mask_tiff import read_mask_tiff

        return read_mask_tiff(path, progress)
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:2] == b"BM" or head[:4] == b"GIF8":
        from .mask_tiff import read_mask_png

        return read_mask_png(path, progress)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"<":
        return read_asap(path)
    if text[:1] in (b"{", b"[") or head[:2] == b"PK":
        from .coco import coco_outlines, is_coco

        content = load_json(path)
        return coco_outlines(content, path.name, slide) if is_coco(content) else outlines_of(content, path.name)
    if not head:
        raise AnnotationError(f"{path.name} is empty; choose an annotation file.")
    raise AnnotationError(
        f"{path.name} is no annotation file that Opsin knows (ASAP XML, GeoJSON, COCO, mask TIFF or PNG, OME-Zarr)."
    )


def write_annotations(path: Path, outlines: Sequence[Outline], frame: Frame | None = None) -> None:
    """Write outlines as the suffix says: ``.xml`` (ASAP) or ``.geojson`` (QuPath), their coordinates as they are."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise AnnotationError(
            f"{Path(path).name}: annotations are written as {', '.join(WRITERS)}; choose such a name."
        )
    WRITERS[suffix](Path(path), list(outlines), frame)


def export_annotations(store: LabelStore, classes: Sequence[LabelClass], path: Path) -> int:
    """Trace a label store and write it; return the number of outlines."""
    outlines = labels_to_outlines(store, classes)
    write_annotations(path, outlines)
    return len(outlines)


def fitted(outlines: Outlines, width: int, height: int) -> Outlines:
    """Return the outlines of a mask, or of a picture of known size, on a slide of that size, enlarged where it is larger.

    A mask that holds every n-th pixel of the slide (rounded either way) is enlarged exactly n times.

    Raises
    ------
    AnnotationError : the shapes do not agree, so the file belongs to another slide.
    """
    if outlines.size is None or outlines.size == (width, height):
        return outlines
    w, h = outlines.size
    guess = round(max(width / w, height / h))
    whole = next(
        (n for n in (guess, guess - 1, guess + 1)
         if n > 1 and w in (width // n, -(-width // n)) and h in (height // n, -(-height // n))), None,
    )  # fmt: skip
    x, y = (float(whole), float(whole)) if whole else (width / w, height / h)
    if not whole and abs(x / y - 1) > 0.005 + 1 / min(w, h):
        raise AnnotationError(
            f"Nothing was imported: the annotations are of a picture of {w:,} x {h:,} pixels, which does not fit a slide of "
            f"{width:,} x {height:,}."
        )
    found = outlines.same(outline.scaled(x, y) for outline in outlines)
    if outlines.raster:
        for outline in found:
            outline.rings = [np.minimum(ring, (width, height)) for ring in outline.rings]
    found.size = (width, height)
    found.repaired.append(f"The annotations are of a picture of {w:,} x {h:,} pixels and were scaled by {x:.6g}.")
    return found


def import_annotations(
    store: LabelStore,
    outlines: Sequence[Outline],
    mapping: Mapping[str, Target],
    text: str = "Import",
    marks: bool = False,
) -> ImportReport:
    """Paint outlines as one undo step, whatever the file's order: what lies inside another outline stays visible.

    Of two that overlap the smaller one is seen (see `layers`); areas to be erased come last.

    Parameters
    ----------
    mapping : what each class of the file becomes, see `class_mapping`; a class that is not in it is left out.
    marks : add points, lines, measured areas and regions of interest as marks, in the same undo step; else they are left out.

    Raises
    ------
    AnnotationError : nothing can be painted or erased; the labels are as they were.
    """
    if isinstance(outlines, Outlines):
        outlines = fitted(outlines, store.width, store.height)
    report = ImportReport(
        repaired=list(getattr(outlines, "repaired", ())), skipped=list(getattr(outlines, "skipped", ()))
    )
    drawn = [o for o in outlines if marks and o.mark]
    labels = [o for o in outlines if not (marks and o.mark)]
    wanted = [o for o in labels if mapping.get(o.class_name, SKIP) != SKIP]
    report.left_out = count_classes(o for o in labels if mapping.get(o.class_name, SKIP) == SKIP)
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
    if getattr(outlines, "raster", False):  # no two of them share a pixel
        order = np.argsort(np.array(values, np.int64), kind="stable")
    else:
        order = np.lexsort((np.array(values), layers(painted, values))) if painted else np.empty(0, np.int64)
    items: list[tuple[Rings, int]] = [(polygon_rings(one), values[k]) for k in order for one in painted[k]]
    items += [(polygon_rings(one), 0) for one in erased]
    found = marks_of(drawn, mapping)
    report.marks = len(found)
    if not items and not found:
        raise AnnotationError(f"Nothing was imported: {_reason(report, len(wanted), outside)}")
    if not found:
        store.polygons(items, text=text)
        return report
    group = store.new_group()
    if items:
        store.polygons(items, text=text, group=group)
    store.add_marks(found, text=text, group=group)
    return report


def _usable(outline: Outline, report: ImportReport) -> list[Polygon]:
    """Return the outline's area as valid polygons; what was changed or cannot be used goes into the report."""
    if outline.areal and outline.mark:
        report.skipped.append(f"{outline.title} is a {NAMES[outline.mark]} and no label.")
        return []
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
