"""TilePyramid: a sparse pyramid of 512 x 512 uint8 tiles in one SQLite file.

Labels (`labels/store.py`) and heat maps (`results.Heatmap`) are kept in it: absent tiles are all zero, uniform tiles take one
byte, the others zstd. With ``reduce="stride"`` pyramid level k holds every 2**k-th pixel of level 0 in each direction; with
``"mean"`` a pixel is the rounded mean of those of its four children that are not zero.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import imagecodecs
import numpy as np

from .errors import LabelError

TILE = 512
FORMAT = 1
DECODED = 256  # tiles kept decoded: 64 MB
Key = tuple[int, int, int]
Pixels = np.ndarray | int
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tile(level INTEGER, row INTEGER, col INTEGER, blob BLOB NOT NULL,
    PRIMARY KEY(level, row, col)) WITHOUT ROWID;
"""
PUT = "INSERT INTO tile VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET blob = excluded.blob"
DROP = "DELETE FROM tile WHERE level = ? AND row = ? AND col = ?"


def pack(pixels: Pixels) -> bytes | None:
    """Return the stored form of a tile: None for all zero, one byte for uniform, else zstd of the raw bytes."""
    if isinstance(pixels, np.ndarray):
        first = int(pixels[0, 0])
        if not (pixels == first).all():
            return imagecodecs.zstd_encode(np.ascontiguousarray(pixels).tobytes(), level=1)
        pixels = first
    return bytes([pixels]) if pixels else None


def unpack(blob: bytes | None) -> Pixels:
    """Return a uniform value, or a read-only uint8 (512, 512) array."""
    if blob is None:
        return 0
    if len(blob) == 1:
        return blob[0]
    return np.frombuffer(imagecodecs.zstd_decode(blob, out=TILE * TILE), np.uint8).reshape(TILE, TILE)


class TilePyramid:
    """A sparse pyramid in a file. Thread-safe; one process writes, others may open it ``readonly`` meanwhile.

    Attributes
    ----------
    width, height : of the slide, level-0 slide pixels.
    base : slide pixels per pyramid pixel at pyramid level 0, a power of two.
    levels : number of levels; the last fits into one tile.
    meta : plain values given at creation.
    """

    kind = "tiles"
    schema = SCHEMA

    def __init__(self, path: Path, connection: sqlite3.Connection, readonly: bool) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._connection = connection
        self._lock = threading.RLock()  # held for moments only: what readers, the window among them, wait for
        self._writing = threading.RLock()  # held for whole transactions; taken before `_lock`
        self._decoded: OrderedDict[Key, np.ndarray | None] = OrderedDict()
        self._edits: dict[Key, Pixels] | None = None
        facts = dict(connection.execute("SELECT key, value FROM meta"))
        if facts.get("kind") != self.kind or int(facts.get("format", 0)) > FORMAT:
            raise LabelError(f"{path} is not a {self.kind} file of this version of Opsin.")
        self.width, self.height, self.base = (int(facts[name]) for name in ("width", "height", "base"))
        self.reduce: str = facts["reduce"]
        self.meta: dict[str, Any] = json.loads(facts["meta"])
        size = max(self.level_size(0))
        self.levels = 1 + max(0, math.ceil(math.log2(size / TILE)))
        self._packed: dict[Key, bytes] | None = None
        if not readonly:
            rows = connection.execute("SELECT level, row, col, blob FROM tile")
            self._packed = {(level, row, col): blob for level, row, col, blob in rows}

    # ---- opening and closing --------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        width: int,
        height: int,
        *,
        base: int = 1,
        reduce: Literal["stride", "mean"] = "stride",
        meta: dict[str, Any] | None = None,
    ) -> Self:
        """Create an empty pyramid; a file that is already there is an error."""
        path = Path(path)
        if path.exists():
            raise LabelError(f"{path} exists already.")
        if width < 1 or height < 1 or base < 1 or base & (base - 1):
            raise LabelError(f"{path}: a slide of {width} x {height} pixels with base {base} cannot be tiled.")
        connection = _connect(path, False)
        facts = {
            "kind": cls.kind,
            "format": FORMAT,
            "width": width,
            "height": height,
            "base": base,
            "reduce": reduce,
            "meta": json.dumps(meta or {}),
        }
        try:
            connection.executescript(f"BEGIN; {cls.schema} COMMIT;")
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO meta VALUES(?, ?)", [(key, str(value)) for key, value in facts.items()])
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            connection.close()
            path.unlink(missing_ok=True)
            raise LabelError(f"{path} cannot be written: {error}.") from None
        return cls(path, connection, False)

    @classmethod
    def open(cls, path: Path, readonly: bool = False) -> Self:
        """Open an existing pyramid; `LabelError` when it is missing, damaged or of another kind."""
        path = Path(path)
        if not path.exists():
            raise LabelError(f"{path} does not exist.")
        connection = _connect(path, readonly)
        try:
            return cls(path, connection, readonly)
        except (sqlite3.Error, KeyError, ValueError) as error:
            connection.close()
            raise LabelError(f"{path} is damaged or no {cls.kind} file ({error}); restore it from a backup.") from None
        except LabelError:
            connection.close()
            raise

    def close(self) -> None:
        with self._writing, self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- reading --------------------------------------------------------------------------------------------------

    def level_size(self, level: int) -> tuple[int, int]:
        """(width, height) of a level in its own pixels."""
        step = self.base << level
        return -(-self.width // step), -(-self.height // step)

    def tile(self, level: int, row: int, column: int) -> np.ndarray | None:
        """Return a tile as read-only uint8 (512, 512), or None when it is all zero."""
        key = (level, row, column)
        with self._lock:
            if key in self._decoded:
                self._decoded.move_to_end(key)
                return self._decoded[key]
            blob = self._blob(key)
        pixels = unpack(blob)
        tile = None if isinstance(pixels, int) and pixels == 0 else _array(pixels)
        with self._lock:
            if self._blob(key) is blob or self._packed is None:
                self._decoded[key] = tile
                while len(self._decoded) > DECODED:
                    self._decoded.popitem(last=False)
        return tile

    def region(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return uint8 (height, width) from pixel (x, y) of a level; zero outside."""
        result = np.zeros((height, width), np.uint8)
        for row in range(max(0, y // TILE), (y + height - 1) // TILE + 1):
            for column in range(max(0, x // TILE), (x + width - 1) // TILE + 1):
                tile = self.tile(level, row, column)
                if tile is None:
                    continue
                top, left = row * TILE, column * TILE
                y0, y1, x0, x1 = max(y, top), min(y + height, top + TILE), max(x, left), min(x + width, left + TILE)
                result[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return result

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        """Return (row, column) of all tiles of a level that are not all zero, sorted."""
        with self._lock:
            if self._packed is not None:
                return sorted((row, column) for at, row, column in self._packed if at == level)
            return self._connection.execute(
                "SELECT row, col FROM tile WHERE level = ? ORDER BY row, col", (level,)
            ).fetchall()

    def uniform(self, level: int, row: int, column: int) -> int | None:
        """Return the value of a uniform tile (0 when absent), None when its pixels differ."""
        with self._lock:
            blob = self._blob((level, row, column))
        return 0 if blob is None else blob[0] if len(blob) == 1 else None

    def refresh(self, rect: tuple[float, float, float, float] | None = None) -> None:
        """Forget decoded tiles that another process may have rewritten; rect (x, y, w, h) in level-0 slide pixels."""
        with self._lock:
            if rect is None:
                self._decoded.clear()
                return
            for level in range(self.levels):
                span = TILE * (self.base << level)
                rows = range(int(rect[1] // span), int((rect[1] + rect[3]) // span) + 1)
                for row in rows:
                    for column in range(int(rect[0] // span), int((rect[0] + rect[2]) // span) + 1):
                        self._decoded.pop((level, row, column), None)

    def _blob(self, key: Key) -> bytes | None:
        if self._packed is not None:
            return self._packed.get(key)
        found = self._connection.execute("SELECT blob FROM tile WHERE level = ? AND row = ? AND col = ?", key).fetchone()
        return found[0] if found else None

    # ---- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write tiles inside: all of them become visible and durable together when the block ends, none on an error."""
        if self._packed is None:
            raise LabelError(f"{self.path} was opened for reading only.")
        with self._writing:
            self._edits = {}
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._add_parents()
                self._put({key: pack(pixels) for key, pixels in self._edits.items()})
            except BaseException:
                self._edits = None
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._edits = None

    def write(self, row: int, column: int, pixels: Pixels) -> None:
        """Replace a level-0 tile, inside a `transaction`: uint8 (512, 512), or an int for a uniform tile."""
        if self._edits is None:
            raise LabelError("tiles are written inside a transaction")
        self._edits[0, row, column] = pixels

    def current(self, row: int, column: int) -> Pixels:
        """Return a level-0 tile as it stands inside the transaction: an int when uniform."""
        if self._edits is not None and (0, row, column) in self._edits:
            return self._edits[0, row, column]
        return unpack(self._blob((0, row, column)))

    def _put(self, blobs: dict[Key, bytes | None]) -> dict[Key, bytes | None]:
        """Store blobs, commit, and only then change what is in memory; return what was there before."""
        assert self._packed is not None
        before = {key: self._packed.get(key) for key in blobs}
        self._record(before)
        changed = {key: blob for key, blob in blobs.items() if blob != before[key]}
        self._connection.executemany(PUT, [(*key, blob) for key, blob in changed.items() if blob is not None])
        self._connection.executemany(DROP, [key for key, blob in changed.items() if blob is None])
        self._connection.execute("COMMIT")
        with self._lock:
            for key, blob in changed.items():
                self._decoded.pop(key, None)
                if blob is None:
                    del self._packed[key]
                else:
                    self._packed[key] = blob
        return before

    def _record(self, before: dict[Key, bytes | None]) -> None:
        """Called before the commit with what the transaction replaces; the label store keeps it for undo."""

    def _add_parents(self) -> None:
        """Derive the tiles of the coarser levels above everything edited."""
        assert self._edits is not None and self._packed is not None
        half = TILE // 2
        changed = {(row, column) for _, row, column in self._edits}
        for level in range(1, self.levels):
            parents = {(row // 2, column // 2) for row, column in changed}
            for row, column in parents:
                quadrants: list[Pixels] = []
                for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    key = (level - 1, 2 * row + dy, 2 * column + dx)
                    edited = self._edits.get(key)
                    quadrants.append(unpack(self._packed.get(key)) if edited is None else edited)
                first = quadrants[0]
                if all(isinstance(q, int) and q == first for q in quadrants):
                    self._edits[level, row, column] = first
                    continue
                old = self._edits.get((level, row, column))
                parent = np.empty((TILE, TILE), np.uint8) if old is None else np.array(_array(old))
                for number, quadrant in enumerate(quadrants):
                    y, x = half * (number // 2), half * (number % 2)
                    parent[y : y + half, x : x + half] = self._reduced(quadrant)
                self._edits[level, row, column] = parent
            changed = parents

    def _reduced(self, child: Pixels) -> Pixels:
        if isinstance(child, int):
            return child
        if self.reduce == "stride":
            return child[::2, ::2]
        blocks = child.reshape(TILE // 2, 2, TILE // 2, 2).astype(np.uint16)
        total, count = blocks.sum((1, 3)), (blocks > 0).sum((1, 3))
        return ((total + count // 2) // np.maximum(count, 1)).astype(np.uint8)


def _array(pixels: Pixels) -> np.ndarray:
    if isinstance(pixels, np.ndarray):
        return pixels
    array = np.full((TILE, TILE), pixels, np.uint8)
    array.flags.writeable = False
    return array


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    """Open the SQLite file; transactions are begun by hand, and any thread may use it under the pyramid's lock."""
    try:
        uri = f"{path.resolve().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    except sqlite3.Error as error:
        raise LabelError(f"{path} cannot be opened: {error}.") from None
    try:
        if not readonly:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        connection.close()
        raise LabelError(f"{path} cannot be opened for writing: {error}.") from None
    return connection
