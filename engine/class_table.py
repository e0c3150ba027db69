"""Removing classes of a workspace and bringing them back, so that what was painted never changes its meaning.

The pixels of a removed class stay in the label files. Its value is therefore kept out of use: a new class that took it
would take over the pixels too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import WorkspaceError
from .labels.classes import LabelClass
from .labels.readers import label_files

if TYPE_CHECKING:
    from .workspace import Item, Workspace

REMOVED = "removed_classes"
"""Name of the workspace's setting that keeps them."""


@dataclass(frozen=True)
class Usage:
    """Where a class was painted.

    Attributes
    ----------
    slides : how many slides carry it.
    pixels : level-0 pixels on all of them.
    area : mm² on the slides whose resolution is known, None when it is known of none or not of all.
    """

    slides: int
    pixels: int
    area: float | None


def removed_classes(workspace: Workspace) -> list[LabelClass]:
    """Return the classes that were removed and not brought back, the last one first."""
    present = {item.value for item in workspace.classes}
    found = [LabelClass.model_validate(values) for values in workspace.setting(REMOVED, [])]
    return [item for item in found if item.value not in present]


def remove_class(workspace: Workspace, value: int, classes: Sequence[LabelClass]) -> None:
    """Take the class out of `classes` and keep the rest as the workspace's table; the class is remembered."""
    gone = [item for item in classes if item.value == value]
    others = [item for item in removed_classes(workspace) if item.value != value]
    # remembered first: a power cut in between must not leave the value free while its pixels are there
    workspace.set_setting(REMOVED, [item.model_dump() for item in (*gone, *others)])
    workspace.set_classes([item for item in classes if item.value != value])


def restored(workspace: Workspace, value: int, classes: Sequence[LabelClass]) -> list[LabelClass]:
    """Return `classes` and the removed class with that value, with another name or key where its own is taken by now."""
    item = next((item for item in removed_classes(workspace) if item.value == value), None)
    if item is None:
        raise WorkspaceError("That class was not removed here.")
    names = {other.name for other in classes}
    name = next(n for n in (item.name, *(f"{item.name} {k}" for k in range(2, 300))) if n not in names)
    key = "" if item.key in {other.key for other in classes} else item.key
    return [*classes, item.model_copy(update={"name": name, "key": key})]


def taken_values(workspace: Workspace) -> frozenset[int]:
    """Return the label values that a new class must not get: of all classes, present or removed, and of all label files."""
    taken = {item.value for item in (*workspace.classes, *removed_classes(workspace))}
    for item in workspace.items():
        taken |= _areas(workspace, item).keys()
    return frozenset(taken)


def class_usage(workspace: Workspace, value: int) -> Usage:
    """Return where a class was painted, as far as it is written; it looks into every label file."""
    slides = pixels = 0
    area: float | None = 0.0
    for item in workspace.items():
        here = _areas(workspace, item).get(value, 0)
        if not here:
            continue
        slides, pixels = slides + 1, pixels + here
        mpp = item.mpp or item.slide_mpp
        area = area + here * mpp * mpp / 1e6 if mpp and area is not None else None
    return Usage(slides, pixels, area if slides else None)


def _areas(workspace: Workspace, item: Item) -> dict[int, int]:
    """Pixels of each label ever painted on the slide, 0 for one that is gone; of the reader who has most. Damaged files have none."""
    found: dict[int, int] = {}
    for path in label_files(workspace.folder / "labels", item.id).values():
        for label, pixels in _areas_of(path).items():
            found[label] = max(pixels, found.get(label, 0))
    return found


def _areas_of(path: Path) -> dict[int, int]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            rows = connection.execute("SELECT label, pixels FROM area WHERE label > 0")
            return {int(label): int(pixels) for label, pixels in rows}
    except sqlite3.Error:
        return {}
