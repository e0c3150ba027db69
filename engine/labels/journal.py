"""What one label operation is, and how it is written down: vectors in level-0 pixels, or runs of pixels, compressed."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import imagecodecs
import numpy as np

from ..tiles import TILE
from .marks import Change, Mark
from .raster import Polygons, Shape, Stroke
from .runs import Runs

Rings = Sequence[np.ndarray]
PENDING, APPLIED, UNDONE = 0, 1, 2
# delta: what the operation changed, {label: pixels}; old: the tiles that it replaced, or, while it is undone, its own
SCHEMA = """
CREATE TABLE op(id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    state INTEGER NOT NULL, time REAL NOT NULL, delta TEXT NOT NULL, protected BLOB NOT NULL, geometry BLOB NOT NULL);
CREATE TABLE old(op INTEGER, level INTEGER, row INTEGER, col INTEGER, blob BLOB,
    PRIMARY KEY(op, level, row, col)) WITHOUT ROWID;
CREATE TABLE area(label INTEGER PRIMARY KEY, pixels INTEGER NOT NULL);
"""
COLUMNS = "id, grp, kind, geometry, protected, text"


@dataclass
class Operation:
    """One edit.

    Attributes
    ----------
    id, group : operations of one group that follow each other are undone together.
    kind : "stroke", "polygons", "pixels" or "marks".
    items : (shape, label) in the order in which they are painted; label 0 erases.
    protected : label values whose pixels stay as they are.
    text : what the undo menu shows.
    marks : what it changes of the marks, see `marks.py`; such an operation paints nothing.
    """

    id: int
    group: int
    kind: str
    items: list[tuple[Shape, int]]
    protected: frozenset[int]
    text: str
    marks: list[Change] = field(default_factory=list)

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom), level-0 pixels; left > right when nothing is painted."""
        if not self.items:
            return (1.0, 1.0, 0.0, 0.0)
        boxes = np.array([shape.bounds for shape, _ in self.items])
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())

    @cached_property
    def vertices(self) -> int:
        """How many points it consists of."""
        return sum(shape.vertices for shape, _ in self.items)

    @cached_property
    def free(self) -> np.ndarray | None:
        """Bool (256,): which values may be changed; None for all."""
        if not self.protected:
            return None
        free = np.ones(256, bool)
        free[list(self.protected)] = False
        return free

    def touches(self, x: int, y: int, width: int, height: int) -> bool:
        """Whether anything in a level-0 rectangle may change."""
        left, top, right, bottom = self.bounds
        return left <= right and right >= x and left <= x + width and bottom >= y and top <= y + height

    def rect(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(x, y, w, h) of whole pixels within a slide of that size that may be touched; w or h 0 when none."""
        left, top, right, bottom = self.bounds
        if left > right:
            return 0, 0, 0, 0
        x, y = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
        x1, y1 = min(width, int(np.ceil(right)) + 1), min(height, int(np.ceil(bottom)) + 1)
        return x, y, max(0, x1 - x), max(0, y1 - y)

    def tiles(self, width: int, height: int) -> Iterator[tuple[int, int, np.ndarray | None, int]]:
        """Yield (row, column, mask, label) for every level-0 tile touched; mask None means all of the tile."""
        for shape, label in self.items:
            _, top, _, bottom = shape.bounds
            first, last = max(0, int(top // TILE)), min(int(bottom // TILE), (height - 1) // TILE)
            for row in range(first, last + 1):
                rows = min(TILE, height - row * TILE)
                spans = shape.spans(row * TILE, rows, 1, (0, width)).clipped(0, width)
                for column, part in spans.tiles():
                    mask = None if part is None else part.mask(TILE, column * TILE, TILE)
                    yield row, column, mask, label

    def paint(self, pixels: np.ndarray, x: int, y: int, step: int) -> None:
        """Paint into uint8 (h, w) whose pixel (r, c) shows level-0 pixel (x + c*step, y + r*step)."""
        height, width = pixels.shape
        for shape, label in self.items:
            left, top, right, bottom = shape.bounds
            if right < x or left > x + width * step or bottom < y or top > y + height * step:
                continue
            mask = shape.spans(y, height, step, (x, x + width * step)).mask(height, x, width, step)
            pixels[mask if self.free is None else mask & self.free[pixels]] = label

    def pack(self) -> bytes:
        """Return the geometry as bytes: a JSON head, float64 coordinates, then runs of pixels, compressed."""
        head: list[dict[str, object]] = []
        arrays: list[np.ndarray] = []
        runs: list[bytes] = []
        for shape, label in self.items:
            if isinstance(shape, Stroke):
                head.append({"label": label, "radius": shape.radius, "n": len(shape.points)})
                arrays.append(shape.points)
            elif isinstance(shape, Polygons):
                polygons = [{"rule": rule, "n": [len(ring) for ring in rings]} for rings, rule in shape.items]
                head.append({"label": label, "polygons": polygons})
                arrays += [ring for rings, _ in shape.items for ring in rings]
            elif isinstance(shape, Runs):
                head.append({"label": label, "runs": len(shape)})
                runs.append(shape.pack())
            else:
                raise TypeError(f"{type(shape).__name__} cannot be journalled.")
        if self.marks:
            plain = [[mark and mark.plain() for mark in change] for change in self.marks]
            head.append({"marks": plain})
        text = json.dumps(head).encode()
        numbers = np.concatenate(arrays).astype("<f8").tobytes() if arrays else b""
        return bytes(
            imagecodecs.zstd_encode(len(text).to_bytes(4, "little") + text + numbers + b"".join(runs), level=3)
        )

    @classmethod
    def unpack(cls, id: int, group: int, kind: str, data: bytes, protected: bytes, text: str) -> Operation:
        """The reverse of `pack`, with the operation's other columns."""
        raw = bytes(imagecodecs.zstd_decode(data))
        size = int.from_bytes(raw[:4], "little")
        head = json.loads(raw[4 : 4 + size])
        place = len(raw) - 12 * sum(entry.get("runs", 0) for entry in head)  # where the coordinates end
        points = np.frombuffer(raw[4 + size : place], "<f8").reshape(-1, 2)
        used = 0

        def take(count: int) -> np.ndarray:
            nonlocal used
            used += count
            return points[used - count : used]

        items: list[tuple[Shape, int]] = []
        marks: list[Change] = []
        for entry in head:
            if "runs" in entry:
                items.append((Runs.unpack(raw[place : place + 12 * entry["runs"]]), entry["label"]))
                place += 12 * entry["runs"]
            elif "marks" in entry:
                marks += [(_mark(before), _mark(after)) for before, after in entry["marks"]]
            elif "radius" in entry:
                items.append((Stroke(take(entry["n"]), entry["radius"]), entry["label"]))
            else:
                polygons = [([take(n) for n in polygon["n"]], polygon["rule"]) for polygon in entry["polygons"]]
                items.append((Polygons(polygons), entry["label"]))
        return cls(id, group, kind, items, frozenset(protected), text, marks)


def _mark(values: dict[str, object] | None) -> Mark | None:
    return None if values is None else Mark.from_plain(values)


@dataclass
class Step:
    """What one undo takes back: operations of one group that follow each other; `time` is when it was begun (Unix time)."""

    group: int
    text: str
    ids: list[int]
    time: float = field(default_factory=time.time, compare=False)


def load_pending(connection: sqlite3.Connection) -> list[Operation]:
    """Return what was journalled and is not in the tiles yet."""
    rows = connection.execute(f"SELECT {COLUMNS} FROM op WHERE state = ? ORDER BY id", (PENDING,))
    return [Operation.unpack(*row) for row in rows]


def load_marks(connection: sqlite3.Connection) -> dict[int, list[Change]]:
    """Return what each operation on marks changed, by its id."""
    rows = connection.execute(f"SELECT {COLUMNS} FROM op WHERE kind = 'marks'")
    return {operation.id: operation.marks for operation in (Operation.unpack(*row) for row in rows)}


def load_steps(connection: sqlite3.Connection) -> tuple[list[Step], list[Step]]:
    """Return what can be undone and what can be redone, each with the next one last."""
    done: list[Step] = []
    undone: list[Step] = []
    for id, group, text, state, when in connection.execute("SELECT id, grp, text, state, time FROM op ORDER BY id"):
        stack = undone if state == UNDONE else done
        if stack and stack[-1].group == group:
            stack[-1].ids.append(id)
        else:
            stack.append(Step(group, text, [id], float(when)))
    return done, undone[::-1]


def insert(connection: sqlite3.Connection, operation: Operation) -> None:
    """Journal an operation; what was undone before it can no longer be redone."""
    connection.execute("DELETE FROM old WHERE op IN (SELECT id FROM op WHERE state = ?)", (UNDONE,))
    connection.execute("DELETE FROM op WHERE state = ?", (UNDONE,))
    protected = bytes(sorted(operation.protected))
    row = (operation.id, operation.group, operation.kind, operation.text, PENDING, time.time(), "{}", protected)
    connection.execute("INSERT INTO op VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, operation.pack()))


def add_areas(connection: sqlite3.Connection, delta: np.ndarray) -> None:
    """Add int64 (256,) to the pixels per label."""
    rows = [(int(label), int(delta[label])) for label in np.flatnonzero(delta)]
    connection.executemany(
        "INSERT INTO area VALUES(?, ?) ON CONFLICT DO UPDATE SET pixels = pixels + excluded.pixels", rows
    )
