"""LabelStore: the pixel labels of one slide, in one SQLite file that survives `kill -9` at any moment.

An edit is a vector operation. It is journalled first (durable: ``synchronous=FULL``), then a writer thread turns it into
tiles; the tiles it replaces are kept beside it, so undo and redo swap blobs, without limit and across restarts. Operations
that were journalled but not applied when the process died are applied when the store is opened again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
from psygnal import Signal

from ..errors import LabelError
from ..files import replacing
from ..tiles import SCHEMA, TILE, Key, TilePyramid, unpack
from .journal import Operation, Rings, apply
from .raster import Polygons, Shape, Stroke

PENDING, APPLIED, UNDONE = 0, 1, 2
MIN_RADIUS = 0.5
JOURNAL = """
CREATE TABLE IF NOT EXISTS op(id INTEGER PRIMARY KEY, grp INTEGER NOT NULL, kind TEXT NOT NULL, geometry BLOB NOT NULL,
    protected BLOB NOT NULL, text TEXT NOT NULL, state INTEGER NOT NULL, time REAL NOT NULL);
CREATE TABLE IF NOT EXISTS old(op INTEGER, level INTEGER, row INTEGER, col INTEGER, blob BLOB,
    PRIMARY KEY(op, level, row, col)) WITHOUT ROWID;
"""


class LabelStore(TilePyramid):
    """Labels of one slide: uint8 per level-0 pixel, 0 = unlabelled.

    Edits return at once; see `saved` for when they are durable and `changed` for when they are in the tiles. Reading includes
    edits that are still queued. One process at a time may write; others open ``readonly``.
    """

    kind = "labels"
    schema = SCHEMA + JOURNAL

    changed = Signal(tuple)
    """(x, y, width, height) in level-0 pixels whose labels changed; emitted from the writer thread."""
    saved = Signal(float)
    """Unix time of the last durable commit; emitted from the writer thread."""
    failed = Signal(str)
    """One sentence when writing failed; the edit is kept and tried again with the next one, `retry` or `flush`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, readonly: bool) -> None:
        super().__init__(path, connection, readonly)
        self.protected: frozenset[int] = frozenset()
        self.durable = 0
        self.last_saved: float | None = None
        self._histograms: dict[tuple[int, int], np.ndarray] = {}
        self._before: dict[Key, bytes | None] = {}
        self._queue: deque[tuple[str, Any]] = deque()
        self._wake = threading.Condition()
        self._busy = self._closing = False
        self._error: str | None = None
        self._lockfile: IO[bytes] | None = None
        self._done: list[tuple[int, str]] = []
        self._undone: list[tuple[int, str]] = []
        self._writer: threading.Thread | None = None
        if readonly:
            return
        self._lockfile = _lock(self.path)
        try:
            self._restore()
        except BaseException:
            self._lockfile.close()
            raise
        self._writer = threading.Thread(target=self._work, name=f"labels {self.path.name}", daemon=True)
        self._writer.start()

    @classmethod
    def open_or_create(cls, path: Path, width: int, height: int) -> Self:
        """Open the store of a slide of that size, or make an empty one; a store of another size is an error."""
        if not Path(path).exists():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            return cls.create(path, width, height)
        store = cls.open(path)
        if (store.width, store.height) != (width, height):
            found = f"{store.width} x {store.height}"
            store.close()
            raise LabelError(f"{path} holds labels of a slide of {found} pixels, this one has {width} x {height}.")
        return store

    def _restore(self) -> None:
        """Rebuild the undo stacks and queue what was journalled but not applied."""
        rows = self._connection.execute("SELECT id, grp, kind, geometry, protected, text, state FROM op ORDER BY id")
        self._next = 1
        pending = []
        undone: list[tuple[int, str]] = []
        for id, group, kind, geometry, protected, text, state in rows:
            self._next = max(self._next, id + 1, group + 1)
            self.durable = id
            stack = undone if state == UNDONE else self._done
            if not stack or stack[-1][0] != group:
                stack.append((group, text))
            if state == PENDING:
                pending.append(("apply", Operation.unpack(id, group, kind, geometry, protected, text)))
        self._undone = undone[::-1]
        self._queue.extend(pending)

    # ---- edits ----------------------------------------------------------------------------------------------------

    def stroke(
        self, points: np.ndarray, radius: float, label: int, *, group: int | None = None, text: str = "Brush"
    ) -> int:
        """Paint all pixels whose centre lies within `radius` of a polyline; return the operation's id.

        Parameters
        ----------
        points : (N, 2) x and y in level-0 pixels, N >= 1.
        radius : level-0 pixels, at least 0.5.
        label : 0 erases.
        group : from `new_group`; operations of one group are one undo step.
        """
        points = np.array(points, np.float64).reshape(-1, 2)
        if not len(points) or not np.isfinite(points).all() or not np.isfinite(radius):
            raise LabelError("A stroke needs at least one point with finite coordinates.")
        return self._submit("stroke", [(Stroke(points, max(radius, MIN_RADIUS)), label)], group, text)

    def polygon(
        self,
        rings: Rings,
        label: int,
        *,
        rule: str = "evenodd",
        group: int | None = None,
        text: str = "Polygon",
    ) -> int:
        """Paint all pixels whose centre lies inside the rings ((N, 2) each) by the fill rule "evenodd" or "nonzero"."""
        return self._submit("polygons", [(_polygons([rings], rule), label)], group, text)

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

    def new_group(self) -> int:
        """Return a number that ties the operations given it to one undo step."""
        with self._wake:
            self._next += 1
            return self._next - 1

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        return self._step(self._done, self._undone, "undo")

    def redo(self) -> bool:
        """Do the last undone step again; False when there is none."""
        return self._step(self._undone, self._done, "redo")

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    @property
    def undo_text(self) -> str:
        return self._done[-1][1] if self._done else ""

    @property
    def redo_text(self) -> str:
        return self._undone[-1][1] if self._undone else ""

    def _submit(self, kind: str, items: list[tuple[Shape, int]], group: int | None, text: str) -> int:
        self._writable()
        if any(not 0 <= label <= 255 for _, label in items):
            raise LabelError("A label is a whole number from 0 (unlabelled) to 255.")
        with self._wake:
            id = self._next
            self._next += 1
            group = id if group is None else group
            operation = Operation(id, group, kind, items, self.protected, text)
            if not self._done or self._done[-1][0] != group:
                self._done.append((group, text))
            self._undone.clear()
            self._queue.append(("new", operation))
            self._wake.notify_all()
        return id

    def _step(self, source: list[tuple[int, str]], target: list[tuple[int, str]], verb: str) -> bool:
        self._writable()
        with self._wake:
            if not source:
                return False
            target.append(source.pop())
            self._queue.append((verb, target[-1][0]))
            self._wake.notify_all()
        return True

    def _writable(self) -> None:
        if self.readonly or self._closing:
            raise LabelError(f"{self.path} is open for reading only.")

    # ---- reading --------------------------------------------------------------------------------------------------

    def tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Return a tile with queued edits painted in: read-only uint8 (512, 512), None when all zero."""
        step = 1 << level
        x, y, size = column * TILE * step, row * TILE * step, TILE * step
        waiting = self._waiting(x, y, size, size)
        tile = super().tile(level, row, column)
        if not waiting:
            return tile
        pixels = np.zeros((TILE, TILE), np.uint8) if tile is None else tile.copy()
        for operation in waiting:
            operation.paint(pixels, x, y, step)
        width, height = self.level_size(level)
        pixels[max(0, height - row * TILE) :] = 0
        pixels[:, max(0, width - column * TILE) :] = 0
        return pixels

    def _waiting(self, x: int, y: int, width: int, height: int) -> list[Operation]:
        if not self._queue:
            return []
        with self._wake:
            found = [entry for verb, entry in self._queue if verb in ("new", "apply")]
        return [o for o in found if _touches(o.bounds, x, y, width, height)]

    def areas(self) -> dict[int, int]:
        """Return the number of level-0 pixels of each label that occurs."""
        self.flush()
        total = np.zeros(256, np.int64)
        for row, column in self.keys(0):
            with self._lock:
                counts = self._histograms.get((row, column))
                blob = self._blob((0, row, column))
            if counts is None:
                pixels = unpack(blob)
                if isinstance(pixels, int):
                    counts = np.zeros(256, np.int64)
                    counts[pixels] = TILE * TILE
                else:
                    counts = np.bincount(pixels.ravel(), minlength=256)
                with self._lock:
                    if self._blob((0, row, column)) is blob:
                        self._histograms[row, column] = counts
            total += counts
        return {int(label): int(total[label]) for label in np.flatnonzero(total) if label}

    def bounds(self) -> tuple[int, int, int, int] | None:
        """Return (x, y, width, height) of all labelled pixels, None when there are none."""
        self.flush()
        keys = self.keys(0)
        if not keys:
            return None
        rows, columns = [row for row, _ in keys], [column for _, column in keys]
        extremes = (min(rows), max(rows), min(columns), max(columns))
        left = top = np.iinfo(np.int64).max
        right = bottom = 0
        for row, column in keys:
            if row in extremes[:2] or column in extremes[2:]:
                tile = self.tile(0, row, column)
                if tile is None:
                    continue
                ys, xs = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
                left, right = min(left, column * TILE + xs[0]), max(right, column * TILE + xs[-1] + 1)
                top, bottom = min(top, row * TILE + ys[0]), max(bottom, row * TILE + ys[-1] + 1)
        return int(left), int(top), int(right - left), int(bottom - top)

    def content_hash(self) -> str:
        """Return a hash of the label pixels alone: the same however they came about."""
        self.flush()
        digest = hashlib.sha256(f"{self.width}x{self.height}".encode())
        for row, column in self.keys(0):
            with self._lock:
                blob = self._blob((0, row, column))
            pixels = unpack(blob)
            digest.update(f"/{row},{column}:".encode())
            digest.update(str(pixels).encode() if isinstance(pixels, int) else pixels.tobytes())
        return digest.hexdigest()

    def snapshot(self, path: Path) -> str:
        """Write a frozen copy without history to `path`, whole or not at all; return its `content_hash`."""
        self.flush()
        with replacing(Path(path)) as temporary:
            temporary.unlink()
            with LabelStore.create(temporary, self.width, self.height) as copy:
                copy._connection.execute("PRAGMA journal_mode = DELETE")
                with self._lock:
                    rows = [(*key, blob) for key, blob in (self._packed or {}).items()]
                if self._packed is None:
                    rows = self._connection.execute("SELECT level, row, col, blob FROM tile").fetchall()
                copy._connection.execute("BEGIN")
                copy._connection.executemany("INSERT INTO tile VALUES(?, ?, ?, ?)", rows)
                copy._connection.execute("COMMIT")
            _lock_path(temporary).unlink(missing_ok=True)
        with LabelStore.open(path, readonly=True) as copy:
            return copy.content_hash()

    # ---- the writer thread ----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until everything submitted is durable and in the tiles; `LabelError` when it cannot be written."""
        if self._writer is None or threading.current_thread() is self._writer:
            return
        self.retry()
        with self._wake:
            self._wake.wait_for(lambda: (not self._queue and not self._busy) or self._error or self._closing)
            if self._error:
                raise LabelError(self._error)

    def retry(self) -> None:
        """Try again to write what failed."""
        with self._wake:
            self._error = None
            self._wake.notify_all()

    def close(self) -> None:
        """Write what is queued and close; `LabelError` when something could not be written."""
        problem = None
        if self._writer is not None and not self._closing:
            try:
                self.flush()
            except LabelError as error:
                problem = error
            with self._wake:
                self._closing = True
                self._wake.notify_all()
            self._writer.join()
        super().close()
        if self._lockfile is not None:
            self._lockfile.close()
            self._lockfile = None
        if problem is not None:
            raise problem

    def _work(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._closing or (self._queue and not self._error))
                if self._closing:
                    return
                verb, entry = self._queue[0]
                self._busy = True
            try:
                if verb == "new":
                    self._journal(entry)
                    with self._wake:
                        # journalled: from here on it only has to be applied, also when that fails
                        self._queue[0] = ("apply", entry)
                    self._apply(entry)
                    rects = [entry.rect(self.width, self.height)]
                elif verb == "apply":
                    self._apply(entry)
                    rects = [entry.rect(self.width, self.height)]
                else:
                    rects = self._swap(entry, verb)
            except sqlite3.Error as error:
                sentence = (
                    f"The labels cannot be saved to {self.path}: {error}; make room, the edit is kept until then."
                )
                with self._wake:
                    self._error = sentence
                self.failed.emit(sentence)
                continue
            with self._wake:
                self._queue.popleft()
            for rect in rects:
                self.changed.emit(rect)

    def _committed(self) -> None:
        self.last_saved = time.time()
        self.saved.emit(self.last_saved)

    def _journal(self, operation: Operation) -> None:
        """Make an operation durable; steps that were undone before it can no longer be redone."""
        execute = self._connection.execute
        with self._writing:
            execute("BEGIN IMMEDIATE")
            try:
                execute("DELETE FROM old WHERE op IN (SELECT id FROM op WHERE state = ?)", (UNDONE,))
                execute("DELETE FROM op WHERE state = ?", (UNDONE,))
                execute(
                    "INSERT INTO op VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        operation.id,
                        operation.group,
                        operation.kind,
                        operation.pack(),
                        bytes(sorted(operation.protected)),
                        operation.text,
                        PENDING,
                        time.time(),
                    ),
                )
                execute("COMMIT")
            except sqlite3.Error:
                _roll_back(self._connection)
                raise
        self.durable = operation.id
        self._committed()

    def _apply(self, operation: Operation) -> None:
        """Turn a journalled operation into tiles, and keep what they replace."""
        painted: dict[tuple[int, int], np.ndarray | int] = {}
        for row, column, mask, label in operation.tiles(self.width, self.height):
            now = painted.get((row, column))
            if now is None:
                now = self.current(row, column)
            if mask is None and not operation.protected:
                painted[row, column] = label
                continue
            if isinstance(now, int):
                if now == label or (now in operation.protected):
                    continue
                now = np.full((TILE, TILE), now, np.uint8)
            elif not now.flags.writeable:
                now = now.copy()
            apply(now, mask, label, operation.protected)
            painted[row, column] = now
        self._operation = operation
        try:
            with self.transaction() as connection:
                for (row, column), pixels in painted.items():
                    self.write(row, column, pixels)
                connection.execute("UPDATE op SET state = ? WHERE id = ?", (APPLIED, operation.id))
        finally:
            self._operation = None

    _operation: Operation | None = None

    def _record(self, before: dict[Key, bytes | None]) -> None:
        if self._operation is not None:
            rows = [(self._operation.id, *key, blob) for key, blob in before.items()]
            self._connection.executemany("INSERT INTO old VALUES(?, ?, ?, ?, ?)", rows)
        for level, row, column in before:
            if level == 0:
                self._histograms.pop((row, column), None)

    def _swap(self, group: int, verb: str) -> list[tuple[int, int, int, int]]:
        """Undo or redo a group: exchange its kept tiles with those in the pyramid, in one transaction."""
        assert self._packed is not None
        order, before_state, state = ("DESC", APPLIED, UNDONE) if verb == "undo" else ("ASC", UNDONE, APPLIED)
        execute = self._connection.execute
        now: dict[Key, bytes | None] = {}
        with self._writing:
            execute("BEGIN IMMEDIATE")
            try:
                ids = execute(
                    f"SELECT id FROM op WHERE grp = ? AND state = ? ORDER BY id {order}",
                    (group, before_state),
                ).fetchall()
                for (id,) in ids:
                    rows = execute("SELECT level, row, col, blob FROM old WHERE op = ?", (id,)).fetchall()
                    kept = []
                    for level, row, column, blob in rows:
                        key = (level, row, column)
                        kept.append((now[key] if key in now else self._packed.get(key), id, *key))
                        now[key] = blob
                    self._connection.executemany(
                        "UPDATE old SET blob = ? WHERE op = ? AND level = ? AND row = ? AND col = ?", kept
                    )
                    execute("UPDATE op SET state = ? WHERE id = ?", (state, id))
                self._put(now)
            except sqlite3.Error:
                _roll_back(self._connection)
                raise
        self._committed()
        return _rects(key for key in now if key[0] == 0)


def _polygons(many: list[Rings], rule: str) -> Polygons:
    if rule not in ("evenodd", "nonzero"):
        raise LabelError(f"There is no fill rule '{rule}'; there are evenodd and nonzero.")
    arrays = [[np.array(ring, np.float64).reshape(-1, 2) for ring in rings] for rings in many]
    if not all(np.isfinite(ring).all() for rings in arrays for ring in rings):
        raise LabelError("A polygon has coordinates that are not finite.")
    return Polygons([(rings, rule) for rings in arrays])


def _touches(bounds: tuple[float, float, float, float], x: int, y: int, width: int, height: int) -> bool:
    return bounds[2] >= x and bounds[0] <= x + width and bounds[3] >= y and bounds[1] <= y + height


def _rects(keys: Iterable[Key]) -> list[tuple[int, int, int, int]]:
    """Return one level-0 rectangle per row of tiles."""
    rows: dict[int, list[int]] = {}
    for _, row, column in keys:
        rows.setdefault(row, []).append(column)
    return [(min(c) * TILE, row * TILE, (max(c) - min(c) + 1) * TILE, TILE) for row, c in sorted(rows.items())]


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> IO[bytes]:
    """Hold the writer's lock of a store; it ends with the process, however that ends."""
    file = _lock_path(path).open("a+b")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise LabelError(
            f"The labels in {path} are open in another Opsin window; close it there to edit them here."
        ) from None
    return file
