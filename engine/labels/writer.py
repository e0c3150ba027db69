"""The thread that makes edits durable and then turns them into tiles, in the order in which they were submitted."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import LabelError
from ..tiles import TILE, Blobs, Key, pack, unpack
from .journal import APPLIED, UNDONE, Operation, Step, add_areas, insert
from .marks import Change, reverse, store_changes

if TYPE_CHECKING:
    from .store import LabelStore

log = logging.getLogger(__name__)


@dataclass
class Task:
    """One thing to do: paint an operation, or undo or redo a step."""

    verb: Literal["paint", "undo", "redo"]
    operation: Operation | None = None
    step: Step | None = None
    durable: bool = False


class Writer:
    """The queue of a label store and the thread that works it off.

    An operation is journalled (one durable commit for all that wait), also while an earlier one is being rasterised; its
    tiles, those they replace and its state follow in one transaction. When writing fails, the sentence goes to
    `store.failed`, everything stays queued and in sight, and the next edit, `retry` or `flush` tries again.
    """

    def __init__(self, store: LabelStore, pending: Iterable[Operation]) -> None:
        self._store = store
        self._wake = threading.Condition(store._lock)
        self.queue: deque[Task] = deque(Task("paint", operation, durable=True) for operation in pending)
        self._problem: str | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=f"labels {store.path.name}", daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        with self._wake:
            self.queue.append(task)
            self._problem = None
            self._wake.notify_all()

    def retry(self) -> None:
        with self._wake:
            self._problem = None
            self._wake.notify_all()

    @property
    def problem(self) -> str | None:
        """Why the queue is not worked off at the moment."""
        return self._problem

    def flush(self) -> None:
        """Wait until the queue is worked off; `LabelError` when it cannot be."""
        if threading.current_thread() is self._thread:
            return  # a listener of `changed` or `saved`: waiting for itself would never end
        self.retry()
        with self._wake:
            self._wake.wait_for(lambda: not self.queue or self._problem is not None)
            if self._problem is not None:
                raise LabelError(self._problem)

    def stop(self) -> None:
        """End the thread; what is still queued is dropped unless it was journalled."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- the thread -----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._closing or (self.queue and self._problem is None))
                if self._closing:
                    return
                task = self.queue[0]
            try:
                with self._store._writing:
                    self._journal()
                    rects = self._paint(task) if task.operation is not None else self._swap(task)
            except Exception as error:  # whatever it is, the edits stay queued and the user is told
                if not isinstance(error, sqlite3.Error):
                    log.exception("label writer")
                sentence = self._sentence(error)
                with self._wake:
                    self._problem = sentence
                self._emit(self._store.failed, sentence)
                continue
            for rect in rects:
                self._emit(self._store.changed, rect)

    def _sentence(self, error: Exception) -> str:
        full = "full" in str(error)
        reason = "the disk is full" if full else str(error)
        cure = "make room" if full else "check that the folder can be written"
        count = sum(not task.durable for task in self.queue)
        kept = "1 edit that is not saved yet is kept and saved then"
        if count != 1:
            kept = f"{count} edits that are not saved yet are kept and saved then"
        if not count:  # they are in the journal, from which they are painted also after a restart
            kept = "nothing is lost, and the last edits are finished then"
        return f"The labels cannot be saved to {self._store.path}: {reason}; {cure}: {kept}."

    def _emit(self, signal: Any, value: object) -> None:
        try:
            signal.emit(value)
        except Exception:  # a listener's fault must not end the thread that saves
            log.exception("a listener of the label store failed")

    def _saved(self) -> None:
        self._store.last_saved = time.time()
        self._emit(self._store.saved, self._store.last_saved)

    def _journal(self) -> None:
        """Make all waiting operations durable, up to the first undo or redo: those must come first."""
        tasks = []
        with self._wake:
            for task in self.queue:
                if task.operation is None:
                    break
                if not task.durable:
                    tasks.append(task)
        if not tasks:
            return

        def also(connection: sqlite3.Connection) -> None:
            for task in tasks:
                assert task.operation is not None
                insert(connection, task.operation)

        self._store._commit({}, also)
        for task in tasks:
            task.durable = True
            assert task.operation is not None
            self._store.durable = task.operation.id
        self._saved()

    def _paint(self, task: Task) -> list[tuple[int, int, int, int]]:
        """Turn an operation into tiles, and keep what they replace."""
        store, operation = self._store, task.operation
        assert operation is not None
        edits: Blobs = {}
        delta = np.zeros(256, np.int64)
        band = -1
        for row, column, mask, label in operation.tiles(store.width, store.height):
            key = (0, row, column)
            now = store._now(edits, key)
            new = _repaint(now, mask, label, operation.free, delta)
            if new != now:
                edits[key] = new
            if row != band:
                band = row
                self._journal()
        changed = [key for key, blob in edits.items() if blob != store._blob(key)]
        edits = {key: edits[key] for key in changed}
        store._add_parents(edits, changed)

        def also(connection: sqlite3.Connection) -> None:
            rows = ((operation.id, *key, store._blob(key)) for key in edits)
            connection.executemany("INSERT INTO old VALUES(?, ?, ?, ?, ?)", rows)
            counts = json.dumps({int(label): int(delta[label]) for label in np.flatnonzero(delta)})
            connection.execute("UPDATE op SET state = ?, delta = ? WHERE id = ?", (APPLIED, counts, operation.id))
            add_areas(connection, delta)
            if operation.marks:
                store_changes(connection, operation.marks)

        self._commit(edits, also, delta)
        return [operation.rect(store.width, store.height)] if operation.items else []

    def _swap(self, task: Task) -> list[tuple[int, int, int, int]]:
        """Undo or redo a step: exchange its kept tiles with those in the pyramid, in one transaction."""
        store, step = self._store, task.step
        assert step is not None
        undo = task.verb == "undo"
        now: Blobs = {}
        kept: list[tuple[bytes | None, int, int, int, int]] = []
        delta = np.zeros(256, np.int64)
        marks: list[Change] = []
        read = store._connection.execute
        for id in reversed(step.ids) if undo else step.ids:
            changes = store._mark_changes.get(id, [])
            marks += reverse(changes) if undo else changes
            for *key, blob in read("SELECT level, row, col, blob FROM old WHERE op = ?", (id,)).fetchall():
                level, row, column = key
                kept.append((store._now(now, (level, row, column)), id, level, row, column))
                now[level, row, column] = blob
            for label, count in json.loads(read("SELECT delta FROM op WHERE id = ?", (id,)).fetchone()[0]).items():
                delta[int(label)] += -count if undo else count

        def also(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE old SET blob = ? WHERE op = ? AND level = ? AND row = ? AND col = ?", kept)
            state = UNDONE if undo else APPLIED
            connection.executemany("UPDATE op SET state = ? WHERE id = ?", [(state, id) for id in step.ids])
            add_areas(connection, delta)
            if marks:
                store_changes(connection, marks)

        self._commit(now, also, delta)
        self._saved()
        return _rects((key for key in now if key[0] == 0), store.width, store.height)

    def _commit(self, edits: Blobs, also: Any, delta: np.ndarray) -> None:
        """Commit, and take the task off the queue at the moment at which its tiles appear."""

        def published() -> None:
            self._store._areas += delta
            self.queue.popleft()

        self._store._commit(edits, also, published)


def _repaint(
    blob: bytes | None, mask: np.ndarray | None, label: int, free: np.ndarray | None, delta: np.ndarray
) -> bytes | None:
    """Return a tile with `label` where the mask is true (None: everywhere) and the old value free; count into `delta`."""
    pixels = unpack(blob)
    if isinstance(pixels, int):
        if pixels == label or (free is not None and not free[pixels]):
            return blob
        count = TILE * TILE if mask is None else int(np.count_nonzero(mask))
        delta[pixels] -= count
        delta[label] += count
        if mask is None:
            return pack(label)
        if pixels == 0:
            return pack(mask.view(np.uint8) * np.uint8(label))
        return pack(np.where(mask, np.uint8(label), np.uint8(pixels)))
    change = pixels != label
    if mask is not None:
        change &= mask
    if free is not None:
        change &= free[pixels]
    lost = np.bincount(pixels[change], minlength=256)
    delta -= lost
    delta[label] += lost.sum()
    pixels = pixels.copy()
    pixels[change] = label
    return pack(pixels)


def _rects(keys: Iterable[Key], width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Return one level-0 rectangle per row of tiles, within the slide."""
    rows: dict[int, list[int]] = {}
    for _, row, column in keys:
        rows.setdefault(row, []).append(column)
    found = []
    for row, columns in sorted(rows.items()):
        x, y = min(columns) * TILE, row * TILE
        found.append((x, y, min(width, (max(columns) + 1) * TILE) - x, min(height, y + TILE) - y))
    return found
