"""Marks: what is drawn on a slide as vectors: point markers with notes, rulers, measured areas, regions of interest.

They lie in the slide's label file beside the pixels, in a table of their own, and are edited through the same journal: one
order of undo and redo for strokes and marks, durable in the same way. `roi.py` says what counts where regions of interest
are drawn. Coordinates are (x, y) in level-0 pixels, x right, y down.
"""

from __future__ import annotations

import getpass
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from psygnal import Signal

from ..errors import LabelError

if TYPE_CHECKING:
    from .roi import Region

MarkKind = Literal["marker", "ruler", "area", "roi"]
KINDS: tuple[str, ...] = get_args(MarkKind)
LEAST_POINTS = {"marker": 1, "ruler": 2, "area": 3, "roi": 3}
FARTHEST = 1e8  # level-0 pixels: no slide is that wide
LONGEST_NOTE = 20_000  # characters
NAMES = {"marker": "marker", "ruler": "ruler", "area": "measured area", "roi": "region of interest"}
Points = tuple[tuple[float, float], ...]
# older files have no such table: it is made with the first mark
SCHEMA = """
CREATE TABLE IF NOT EXISTS mark(id TEXT PRIMARY KEY, kind TEXT NOT NULL, points TEXT NOT NULL, holes TEXT NOT NULL,
    label INTEGER, note TEXT NOT NULL, author TEXT NOT NULL, time REAL NOT NULL);
"""


@dataclass(frozen=True)
class Mark:
    """One mark on a slide.

    Attributes
    ----------
    kind : "marker" (a place), "ruler" (a line, usually from one point to another), "area" (a measured polygon) or "roi" (a
        region of interest, see `roi.Region`).
    points : (x, y) pairs, level-0 pixels; one for a marker, at least two for a ruler, the outer ring, not closed, of at least
        three for an area or a region.
    holes : further rings of an area or a region, which are not part of it.
    label : value of the class it is of, None for none.
    note : what the user wrote.
    author : who made it, as the store was told; empty when nobody said.
    time : unix time at which it was made; 0 lets the store fill it in.
    id : unique; empty lets the store fill it in.
    """

    kind: MarkKind
    points: Points
    holes: tuple[Points, ...] = ()
    label: int | None = None
    note: str = ""
    author: str = ""
    time: float = 0.0
    id: str = ""

    @property
    def rings(self) -> list[np.ndarray]:
        """float64 (N, 2) each: the outer ring (or the points), then the holes."""
        return [np.array(ring, np.float64).reshape(-1, 2) for ring in (self.points, *self.holes)]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom)."""
        xs, ys = zip(*self.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def length(self) -> float:
        """Level-0 pixels: of a ruler's line, of all rings of an area or region (their perimeter); 0 for a marker."""
        if self.kind == "marker":
            return 0.0
        closed = self.kind in ("area", "roi")
        return sum(_length(ring, closed) for ring in self.rings)

    @property
    def area(self) -> float:
        """Square level-0 pixels that the outer ring encloses without the holes; 0 for markers and rulers."""
        if self.kind not in ("area", "roi"):
            return 0.0
        outer, *holes = (abs(_enclosed(ring)) for ring in self.rings)
        return max(0.0, outer - sum(holes))

    @property
    def is_rectangle(self) -> bool:
        """Whether it is a rectangle along the axes of the slide."""
        left, top, right, bottom = self.bounds
        corners = {(left, top), (right, top), (right, bottom), (left, bottom)}
        return not self.holes and len(self.points) == 4 and set(self.points) == corners

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Mark:
        """The reverse of `plain`; `ValueError` when it makes no mark."""
        try:
            points = tuple((float(x), float(y)) for x, y in values["points"])
            holes = tuple(tuple((float(x), float(y)) for x, y in ring) for ring in values.get("holes", ()))
            if not all(isinstance(values.get(name, ""), str) for name in ("kind", "id", "note", "author")):
                raise TypeError("one of its texts is none")
            if not isinstance(values.get("label"), int | None):
                raise TypeError("its class is no label")
            when = float(values.get("time", 0.0))
            return checked(cls(**{**values, "points": points, "holes": holes, "time": when}))
        except (KeyError, TypeError, LabelError) as error:
            raise ValueError(f"a mark: {error}") from None


Change = tuple[Mark | None, Mark | None]
"""What a mark was and what it became; None before it was made, None after it was removed."""


def checked(mark: Mark) -> Mark:
    """Return the mark with plain float points; `LabelError` when it cannot be one."""
    if mark.kind not in KINDS:
        raise LabelError(f"There is no mark called '{mark.kind}'; there are {', '.join(KINDS)}.")
    points, holes = _floats(mark.points), tuple(_floats(ring) for ring in mark.holes)
    least = LEAST_POINTS[mark.kind]
    if len(points) < least or (mark.kind == "marker" and len(points) != 1):
        raise LabelError(
            f"A {NAMES[mark.kind]} needs {'' if least == 1 else 'at least '}{least} points, not {len(points)}."
        )
    if holes and mark.kind not in ("area", "roi"):
        raise LabelError(f"A {NAMES[mark.kind]} has no holes.")
    if any(len(ring) < 3 for ring in holes):
        raise LabelError(f"A hole of a {NAMES[mark.kind]} needs at least 3 points.")
    if not all(abs(x) <= FARTHEST and abs(y) <= FARTHEST for ring in (points, *holes) for x, y in ring):
        raise LabelError(f"A {NAMES[mark.kind]} has coordinates that are not finite or far beyond any slide.")
    if mark.label is not None and not 1 <= mark.label <= 255:
        raise LabelError("The class of a mark is a label from 1 to 255, or none.")
    if len(mark.note) > LONGEST_NOTE:
        raise LabelError(f"A note holds at most {LONGEST_NOTE:,} characters.")
    return replace(mark, points=points, holes=holes)


def user_name() -> str:
    """Return the name under which the user is logged in; empty when the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _floats(points: Iterable[Sequence[float]]) -> Points:
    return tuple((float(x), float(y)) for x, y in points)


def _length(ring: np.ndarray, closed: bool) -> float:
    steps = np.diff(ring, axis=0, append=ring[:1] if closed else ring[-1:])
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def _enclosed(ring: np.ndarray) -> float:
    x, y = (ring - ring[0]).T  # near the origin, where products keep their digits
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


# ---- in the label file ------------------------------------------------------------------------------------------------


def load(connection: sqlite3.Connection) -> dict[str, Mark]:
    """Return the marks of a label file by id; none where it has no such table."""
    if not has_table(connection, "main"):
        return {}
    rows = connection.execute("SELECT id, kind, points, holes, label, note, author, time FROM mark")
    names = ("id", "kind", "points", "holes", "label", "note", "author", "time")
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return {
        values["id"]: Mark.from_plain(values | {key: json.loads(values[key]) for key in ("points", "holes")})
        for values in found
    }


def has_table(connection: sqlite3.Connection, database: str) -> bool:
    """Tell whether a database of the connection ("main", or an attached one) keeps marks."""
    return bool(connection.execute(f"SELECT 1 FROM {database}.sqlite_master WHERE name = 'mark'").fetchone())


def store_changes(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Make changes in the table, inside the caller's transaction."""
    connection.execute(SCHEMA)
    for before, after in changes:
        if before is not None:
            connection.execute("DELETE FROM mark WHERE id = ?", (before.id,))
        if after is not None:
            connection.execute(
                "INSERT OR REPLACE INTO mark VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    after.id, after.kind, json.dumps(after.points), json.dumps(after.holes), after.label, after.note,
                    after.author, after.time,
                ),
            )  # fmt: skip


def reverse(changes: Sequence[Change]) -> list[Change]:
    """What takes changes back."""
    return [(after, before) for before, after in reversed(changes)]


class Marked:
    """The marks of a `LabelStore`: what it offers, and what of them it holds in memory.

    In memory is what is so when all that is queued has been written.
    """

    marks_changed = Signal()
    """Marks were added, changed or removed, also by undo and redo; emitted by the thread that did it."""

    def _load_marks(
        self, connection: sqlite3.Connection, operations: dict[int, list[Change]], waiting: set[int]
    ) -> None:
        """Read the table; `operations` are the changes of each operation, `waiting` those that are not in the table yet."""
        self._marks = load(connection)
        self._mark_changes = operations
        self._region: Region | Literal[False] | None = False  # False: not made yet
        for id in sorted(waiting & operations.keys()):
            self._apply(operations[id])

    def _apply(self, changes: Iterable[Change]) -> None:
        for before, after in changes:
            if before is not None:
                self._marks.pop(before.id, None)
            if after is not None:
                self._marks[after.id] = after
        self._region = False

    def _moved_marks(self, ids: Sequence[int], undo: bool) -> bool:
        """Take over an undo or redo of these operations; True when there were marks among what they changed."""
        found = [self._mark_changes[id] for id in ids if id in self._mark_changes]
        for changes in reversed(found) if undo else found:
            self._apply(reverse(changes) if undo else changes)
        return bool(found)

    def marks(self, *kinds: str) -> list[Mark]:
        """Return all marks, or those of some kinds, in the order in which they were made."""
        found = [mark for mark in list(self._marks.values()) if not kinds or mark.kind in kinds]
        return sorted(found, key=lambda mark: (mark.time, mark.id))

    def mark(self, id: str) -> Mark | None:
        return self._marks.get(id)

    def add_marks(self, marks: Iterable[Mark], *, text: str = "", group: int | None = None) -> list[Mark]:
        """Add marks as one undo step; return them as they are kept, with id and time.

        Parameters
        ----------
        text : what the undo menu shows; by default what they are.
        group : from `new_group`: one undo step with the other operations of that group.

        Raises
        ------
        LabelError : a mark is not valid, or one with its id is there; nothing is added then.
        """
        now = time.time()
        found = [
            replace(checked(mark), id=mark.id or uuid.uuid4().hex, time=mark.time or now + place * 1e-6)
            for place, mark in enumerate(marks)
        ]
        ids = {mark.id for mark in found}
        if len(ids) < len(found) or ids & self._marks.keys():
            raise LabelError("A mark with the same id is there already.")
        self._edit_marks([(None, mark) for mark in found], text or _title("Add", found), group)
        return found

    def change_mark(self, mark: Mark, *, text: str = "", group: int | None = None) -> None:
        """Replace the mark of the same id; with the `group` it was added in, that is one undo step with adding it."""
        before = self._known(mark.id)
        mark = checked(mark)
        if mark != before:
            self._edit_marks([(before, mark)], text or f"Change {NAMES[mark.kind]}", group)

    def remove_marks(self, ids: Iterable[str], *, text: str = "", group: int | None = None) -> None:
        """Remove marks as one undo step."""
        found = [self._known(id) for id in dict.fromkeys(ids)]
        self._edit_marks([(mark, None) for mark in found], text or _title("Remove", found), group)

    def roi(self) -> Region | None:
        """Return the union of all regions of interest, outside which nothing counts; None: everything counts."""
        if self._region is False:
            from .roi import region_of

            self._region = region_of(self.marks("roi"))
        return self._region

    def _known(self, id: str) -> Mark:
        found = self._marks.get(id)
        if found is None:
            raise LabelError("That mark is no longer there.")
        return found

    def _edit_marks(self, changes: list[Change], text: str, group: int | None) -> None:
        if changes:
            self._submit("marks", [], group, text, changes)
            self.marks_changed.emit()

    _submit: Callable[..., int]


def _title(verb: str, marks: Sequence[Mark]) -> str:
    kinds = {mark.kind for mark in marks}
    name = NAMES[kinds.pop()] if len(kinds) == 1 else "mark"
    if len(marks) == 1:
        return f"{verb} {name}"
    return f"{verb} {len(marks)} {'regions of interest' if name == NAMES['roi'] else name + 's'}"
