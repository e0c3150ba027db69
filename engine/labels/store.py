"""LabelStore: the pixel labels of one slide, in one SQLite file that survives `kill -9` at any moment.

An edit is a vector operation. It is journalled first (durable: ``synchronous=FULL``), then a writer thread turns it into
tiles; the tiles it replaces are kept beside it, so undo and redo swap blobs, without limit and across restarts. Operations
that were journalled but not applied when the process died are applied when the store is opened again.
"""

from __future__ import annotations

import atexit
import sqlite3
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from psygnal import Signal

from ..errors import DamagedError, LabelError
from ..schema import Steps
from ..tiles import SCHEMA, TILE, Blobs, Key, TilePyramid, unpack
from . import content, journal, marks
from .journal import Operation, Rings, Step
from .lock import WriterLock
from .marks import Change, Marked
from .pen import tapered
from .raster import Polygons, Shape
from .runs import Runs
from .writer import Task, Writer

MIN_RADIUS = 0.5
FARTHEST = 1e8  # level-0 pixels: beyond it the centre of a pixel would not be told from its edge
NOTHING: frozenset[int] = frozenset()
EVERY = frozenset(range(256))
_OVERLAYS = 64
_SHOWN = 20_000  # vertices up to which a queued edit is painted for whoever looks; larger imports show when applied


class LabelStore(Marked, TilePyramid):
    """Labels of one slide: uint8 per level-0 pixel, 0 = unlabelled.

    Edits return at once; see `saved` for when they are durable and `changed` for when they are in the tiles. Reading
    includes edits that are still queued (but for imports of more than 20,000 vertices: the window could not wait for
    those to be drawn). One store at a time may write; others open ``readonly``.

    Attributes
    ----------
    protected : label values that new edits do not change.
    durable : id of the last operation that is on disk. last_saved : unix time of the last durable commit.
    """

    kind = "labels"
    schema = SCHEMA + journal.SCHEMA + marks.SCHEMA
    version = 2  # 2: marks, and operations that are pixels or marks
    steps: ClassVar[Steps] = {1: (marks.SCHEMA, "UPDATE meta SET value = '2' WHERE key = 'format'")}

    changed = Signal(tuple)
    """(x, y, width, height) in level-0 pixels whose labels changed; emitted from the writer thread."""
    saved = Signal(float)
    """Unix time of the last durable commit; emitted from the writer thread."""
    failed = Signal(str)
    """One sentence when writing failed; edits are kept and tried again with the next one, `retry` or `flush`."""

    def __init__(self, path: Path, readonly: bool) -> None:
        lock = None if readonly else WriterLock(Path(path))
        try:
            super().__init__(path, readonly)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        self._writer_lock = lock
        self._writer: Writer | None = None
        self._overlays: dict[Key, tuple[np.ndarray | None, tuple[int, ...], np.ndarray]] = {}
        self.protected: frozenset[int] = frozenset()
        self.last_saved: float | None = None
        self._pending: list[Operation] = []
        self._done: list[Step] = []
        self._undone: list[Step] = []
        try:
            self._restore()
        except (
            sqlite3.Error,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
            RuntimeError,
        ) as error:
            self._disconnect()
            if lock is not None:
                lock.release()
            raise DamagedError(f"{path} is damaged ({error}); restore it from a backup.", self.path) from None
        if not readonly:
            self._writer = Writer(self, self._pending)
            self._pending = []
            atexit.register(_close_at_exit, weakref.ref(self))

    @classmethod
    def open_or_create(cls, path: Path, width: int, height: int) -> Self:
        """Open the store of a slide of that size, or make an empty one; a store of another size is an error."""
        if not Path(path).exists():
            return cls.create(path, width, height)
        store = cls.open(path)
        if (store.width, store.height) != (width, height):
            found = f"{store.width} x {store.height}"
            store.close()
            raise LabelError(f"{path} holds labels of a slide of {found} pixels, this one has {width} x {height}.")
        return store

    def _restore(self) -> None:
        """Read the history and what was journalled but not applied."""
        self._done, self._undone = journal.load_steps(self._reader)
        self._pending = journal.load_pending(self._reader)
        self.durable = max((step.ids[-1] for step in (*self._done, *self._undone)), default=0)
        self._next = 1 + max((max(s.group, s.ids[-1]) for s in (*self._done, *self._undone)), default=0)
        self._load_marks(self._reader, journal.load_marks(self._reader), {operation.id for operation in self._pending})
        self._areas = np.zeros(256, np.int64)
        for label, pixels in self._reader.execute("SELECT label, pixels FROM area"):
            if not 0 <= label <= 255 or not abs(pixels) < 2**62:
                raise ValueError(f"it counts {pixels} pixels of label {label}")
            self._areas[label] = pixels
        self.last_saved = self._reader.execute("SELECT max(time) FROM op").fetchone()[0]

    # ---- edits ----------------------------------------------------------------------------------------------------

    def stroke(
        self,
        points: np.ndarray,
        radius: float | np.ndarray,
        label: int,
        *,
        group: int | None = None,
        text: str = "Brush",
        keep: frozenset[int] = NOTHING,
    ) -> int:
        """Paint all pixels whose centre lies within `radius` of a polyline; return the operation's id.

        Parameters
        ----------
        points : (N, 2) x and y in level-0 pixels, N >= 1.
        radius : level-0 pixels, at least 0.5; or (N,) the radius at each point, between which it changes evenly.
        label : 0 erases.
        group : from `new_group`; operations of one group that follow each other are one undo step.
        keep : label values that this edit does not change, besides the `protected` ones.
        """
        points = np.array(points, np.float64).reshape(-1, 2)
        radii = np.broadcast_to(np.asarray(radius, np.float64), len(points))
        if not len(points) or not _sane(points) or not ((radii >= 0) & (radii <= FARTHEST)).all():
            raise LabelError("A stroke needs at least one point with finite coordinates, and a finite radius.")
        pieces = tapered(points, np.maximum(radii, MIN_RADIUS))
        return self._submit("stroke", [(piece, label) for piece in pieces], group, text, keep=keep)

    def polygon(
        self,
        rings: Rings,
        label: int,
        *,
        rule: str = "evenodd",
        group: int | None = None,
        text: str = "Polygon",
        keep: frozenset[int] = NOTHING,
    ) -> int:
        """Paint all pixels whose centre lies inside the rings ((N, 2) each) by the fill rule "evenodd" or "nonzero"."""
        return self._submit("polygons", [(_polygons([rings], rule), label)], group, text, keep=keep)

    def polygons(
        self,
        items: Iterable[tuple[Rings, int]],
        *,
        rule: str = "evenodd",
        text: str = "Import",
        group: int | None = None,
    ) -> int:
        """Paint many polygons as one undo step, in order: later ones win. `items` are (rings, label)."""
        runs: list[tuple[list[Rings], int]] = []
        for rings, label in items:
            if not runs or runs[-1][1] != label:
                runs.append(([], label))
            runs[-1][0].append(rings)
        if not runs:
            raise LabelError("There is nothing to paint.")
        return self._submit("polygons", [(_polygons(many, rule), label) for many, label in runs], group, text)

    def pixels(
        self,
        items: Iterable[tuple[Runs, int]],
        *,
        text: str,
        group: int | None = None,
        only: Iterable[int] | None = None,
        keep: frozenset[int] = NOTHING,
    ) -> int:
        """Paint regions given pixel by pixel, in order.

        Parameters
        ----------
        only : label values that may be changed (0 = unlabelled pixels), None for all but the `protected` ones.
        keep : as in `stroke`.
        """
        shapes: list[tuple[Shape, int]] = [(runs, label) for runs, label in items if len(runs)]
        if not shapes:
            raise LabelError("There is nothing to paint.")
        if only is not None:
            keep = keep | EVERY.difference(only)
        return self._submit("pixels", shapes, group, text, keep=keep)

    def new_group(self) -> int:
        """Return a number that ties the operations given it to one undo step."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        return self._move(self._done, self._undone, "undo")

    def redo(self) -> bool:
        """Do the last undone step again; False when there is none."""
        return self._move(self._undone, self._done, "redo")

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    @property
    def undo_text(self) -> str:
        return self._done[-1].text if self._done else ""

    @property
    def redo_text(self) -> str:
        return self._undone[-1].text if self._undone else ""

    @property
    def undo_time(self) -> float | None:
        """When the step was made that undo takes back (Unix time); None when there is none."""
        return self._done[-1].time if self._done else None

    @property
    def redo_time(self) -> float | None:
        """When the step was made first that redo makes again (Unix time); None when there is none."""
        return self._undone[-1].time if self._undone else None

    def _submit(
        self,
        kind: str,
        items: list[tuple[Shape, int]],
        group: int | None,
        text: str,
        changes: Sequence[Change] = (),
        keep: frozenset[int] = NOTHING,
    ) -> int:
        writer = self._writable()
        if any(not 0 <= label <= 255 for _, label in items):
            raise LabelError("A label is a whole number from 0 (unlabelled) to 255.")
        with self._lock:
            id = self._next
            self._next += 1
            group = id if group is None else group
            operation = Operation(id, group, kind, items, frozenset(self.protected) | keep, text, list(changes))
            if changes:
                self._mark_changes[id] = operation.marks
                self._apply(changes)
            if self._done and self._done[-1].group == group:
                self._done[-1].ids.append(id)
            else:
                self._done.append(Step(group, text, [id]))
            self._undone.clear()
            writer.submit(Task("paint", operation))
        return id

    def _move(self, source: list[Step], target: list[Step], verb: str) -> bool:
        writer = self._writable()
        with self._lock:
            if not source:
                return False
            step = source.pop()
            target.append(step)
            writer.submit(Task("undo" if verb == "undo" else "redo", step=Step(step.group, step.text, [*step.ids])))
            marked = self._moved_marks(step.ids, verb == "undo")
        if marked:
            self.marks_changed.emit()
        return True

    def _writable(self) -> Writer:
        if self._writer is None:
            raise LabelError(f"{self.path} is open for reading only.")
        return self._writer

    # ---- reading --------------------------------------------------------------------------------------------------

    def tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Return a tile with queued edits painted in: read-only uint8 (512, 512), None when all zero."""
        key = (level, row, column)
        place = self._place(level, row, column)
        with self._lock:
            tile = super().tile(level, row, column)
            waiting = [operation for operation in self._waiting() if operation.touches(*place)]
            if not waiting:
                return tile
            ids = tuple(operation.id for operation in waiting)
            known = self._overlays.get(key)
        if known is not None and known[0] is tile and known[1][: len(known[1])] == ids[: len(known[1])]:
            pixels, waiting = known[2], waiting[len(known[1]) :]
            if not waiting:
                return pixels
            pixels = pixels.copy()
        else:
            pixels = np.zeros((TILE, TILE), np.uint8) if tile is None else tile.copy()
        for operation in waiting:
            operation.paint(pixels, place[0], place[1], 1 << level)
        width, height = self.level_size(level)
        pixels[max(0, height - row * TILE) :] = 0
        pixels[:, max(0, width - column * TILE) :] = 0
        pixels.flags.writeable = False
        with self._lock:
            while len(self._overlays) >= _OVERLAYS:
                del self._overlays[next(iter(self._overlays))]
            self._overlays[key] = (tile, ids, pixels)
        return pixels

    def _place(self, level: int, row: int, column: int) -> tuple[int, int, int, int]:
        span = TILE << level
        return column * span, row * span, span, span

    def _waiting(self) -> list[Operation]:
        """What is not in the tiles yet; under `_lock`, in which tasks also leave the queue."""
        if self._writer is None:
            return self._pending
        if not self._writer.queue:
            self._overlays.clear()
            return []
        found = [task.operation for task in self._writer.queue if task.operation is not None]
        return [operation for operation in found if operation.vertices <= _SHOWN]

    def refresh(self, rect: tuple[float, float, float, float] | None = None) -> None:
        """Take notice of what the process that writes has done since (for stores opened ``readonly``)."""
        with self._lock:
            if self._writer is None and self._data_version() != self._seen:
                self._restore()
            super().refresh(rect)

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        """Return (row, column) of all tiles of a level that may hold labels, sorted."""
        with self._lock:
            found = super().keys(level)
            waiting = list(self._waiting())
        if not waiting:
            return found
        more, span = set(found), TILE << level
        for operation in waiting:
            x, y, width, height = operation.rect(self.width, self.height)
            rows, columns = range(y // span, -(-(y + height) // span)), range(x // span, -(-(x + width) // span))
            more |= {(row, column) for row in rows for column in columns}
        return sorted(more)

    def uniform(self, level: int, row: int, column: int) -> int | None:
        """Return the value of a uniform tile (0 when absent), None when its pixels differ or an edit is queued."""
        with self._lock:
            if any(operation.touches(*self._place(level, row, column)) for operation in self._waiting()):
                return None
            return super().uniform(level, row, column)

    def areas(self, wait: bool = True) -> dict[int, int]:
        """Return the number of level-0 pixels of each label that occurs.

        With `wait` false, queued edits are left out and the call never blocks (unless the store is readonly and the
        process that wrote it died in the middle of an edit).
        """
        if wait:
            self.flush()
        with self._lock:
            total = self._areas.copy()
            waiting = self._waiting() if self._writer is None else []
        if waiting:
            total[:] = 0
            for row, column in self.keys(0):
                tile = self.tile(0, row, column)
                if tile is not None:
                    total += np.bincount(tile.ravel(), minlength=256)
        return {int(label): int(total[label]) for label in np.flatnonzero(total) if label}

    def bounds(self) -> tuple[int, int, int, int] | None:
        """Return (x, y, width, height) of all labelled pixels, None when there are none."""
        return content.bounds(self)

    def content_hash(self) -> str:
        """Return a hash of what counts, label pixels and region of interest alone: the same however they came about."""
        return content.content_hash(self)

    def snapshot(self, path: Path) -> str:
        """Write a frozen copy without history to `path`, whole or not at all; return its `content_hash`."""
        return content.write_snapshot(self, path)

    # ---- saving ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until everything submitted is durable and in the tiles; `LabelError` when it cannot be written."""
        if self._writer is not None:
            self._writer.flush()

    @property
    def problem(self) -> str | None:
        """One sentence while edits cannot be written, else None."""
        return self._writer.problem if self._writer is not None else None

    @property
    def waiting(self) -> bool:
        """Whether edits are still to be written."""
        return self._writer is not None and bool(self._writer.queue)

    def retry(self) -> None:
        """Try again to write what failed."""
        if self._writer is not None:
            self._writer.retry()

    def close(self, discard: bool = False) -> None:
        """Write what is queued and close.

        When something cannot be written, `LabelError` is raised and the store stays open with it, so that closing can be
        tried again; with `discard` it is closed all the same, and edits that are not on disk are lost.
        """
        if self._writer is not None:
            try:
                self._writer.flush()
            except LabelError:
                if not discard:
                    raise
            self._writer.stop()
            self._writer = None
        super().close()
        if self._writer_lock is not None:
            self._writer_lock.release()
            self._writer_lock = None

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except LabelError:
            self.close(discard=True)
            raise

    def _save(self, edits: Blobs) -> None:
        """Pixels written directly (`transaction`, `write`) have no history, but they count."""
        delta = np.zeros(256, np.int64)
        for key, blob in edits.items():
            if key[0] == 0:
                delta += _counts(blob) - _counts(self._blob(key))

        def published() -> None:
            self._areas += delta

        self._commit(edits, lambda connection: journal.add_areas(connection, delta), published)


def _counts(blob: bytes | None) -> np.ndarray:
    pixels = unpack(blob)
    if isinstance(pixels, np.ndarray):
        return np.bincount(pixels.ravel(), minlength=256)
    counts = np.zeros(256, np.int64)
    counts[pixels] = TILE * TILE
    return counts


def _sane(points: np.ndarray) -> bool:
    return bool((np.abs(points) <= FARTHEST).all())  # false for nan


def _polygons(many: list[Rings], rule: str) -> Polygons:
    if rule not in ("evenodd", "nonzero"):
        raise LabelError(f"There is no fill rule '{rule}'; there are evenodd and nonzero.")
    arrays = [[np.array(ring, np.float64).reshape(-1, 2) for ring in rings] for rings in many]
    if not all(_sane(ring) for rings in arrays for ring in rings):
        raise LabelError("A polygon has coordinates that are not finite.")
    return Polygons([(rings, rule) for rings in arrays])


def _close_at_exit(reference: weakref.ref[LabelStore]) -> None:
    store = reference()
    if store is not None:
        store.close(discard=True)
