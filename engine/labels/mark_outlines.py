"""Marks (markers, rulers, measured areas, regions of interest) as outlines of annotation files, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .classes import LabelClass
from .mapping import Target
from .marks import LONGEST_NOTE, NAMES, Mark, MarkKind
from .shapes import Outline

DESCRIPTION = "ANNOTATION_DESCRIPTION"
"""Where QuPath keeps the text that describes an object."""
KIND = "Opsin mark"
GROUPS: dict[MarkKind, str] = {"area": "Measured area", "roi": "Region of interest"}
"""ASAP groups of what would be taken for a label otherwise."""
_KINDS: dict[str, MarkKind] = {"marker": "marker", "ruler": "ruler", "area": "area", "roi": "roi"}
_COLOR = "#2F7DE1"


def mark_outlines(marks: Iterable[Mark], classes: Sequence[LabelClass]) -> list[Outline]:
    """Return marks as points, lines and polygons that say what they are; authors are not written."""
    known = {item.value: item for item in classes}
    counts: dict[str, int] = {}
    found = []
    for mark in marks:
        counts[mark.kind] = counts.get(mark.kind, 0) + 1
        name = NAMES[mark.kind].capitalize() + f" {counts[mark.kind]}"
        item = known.get(mark.label or 0)
        group = item.name if item else GROUPS.get(mark.kind, "")
        outline = Outline(name, mark.rings, group, item.color if item else _COLOR, mark=mark.kind)
        outline.kind = "point" if mark.kind == "marker" else "line" if mark.kind == "ruler" else "polygon"
        outline.metadata = {KIND: mark.kind} | ({DESCRIPTION: mark.note} if mark.note else {})
        found.append(outline)
    return found


def mark_kind(outline: Outline) -> MarkKind | None:
    """Return what mark an outline of a file stands for, None for a label: points and lines always are marks."""
    said = _KINDS.get(outline.metadata.get(KIND, ""))
    areal = outline.areal
    if said is not None and areal == (said in GROUPS):
        return said
    if not areal:
        return "marker" if outline.kind == "point" else "ruler"
    word = outline.class_name.strip().casefold()
    return next((kind for kind, group in GROUPS.items() if group.casefold() == word), None)


def marks_of(outlines: Iterable[Outline], mapping: Mapping[str, Target]) -> list[Mark]:
    """Return the marks that outlines stand for, with the class that their name was given; a set of points is many markers."""
    found: list[Mark] = []
    for outline in outlines:
        kind = outline.mark or mark_kind(outline)
        if not kind:
            continue
        target = mapping.get(outline.class_name)
        label = target.value if isinstance(target, LabelClass) else None
        note = outline.metadata.get(DESCRIPTION, "")[:LONGEST_NOTE]
        rings = [tuple((float(x), float(y)) for x, y in ring) for ring in outline.rings]
        if kind == "marker":
            found += [Mark("marker", (point,), label=label, note=note) for ring in rings for point in ring]
        elif kind == "ruler":
            found += [Mark("ruler", ring, label=label, note=note) for ring in rings if len(ring) > 1]
        elif len(rings[0]) > 2:
            holes = tuple(ring for ring in rings[1:] if len(ring) > 2)
            found.append(Mark(_KINDS[kind], rings[0], holes, label, note))
    return found
