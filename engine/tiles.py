"""TilePyramid: a sparse pyramid of 512 x 512 uint8 tiles in one SQLite file (WAL).

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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import imagecodecs
import numpy as np

from .errors import DamagedError, LabelError, OpsinError
from .files import from_json, remove_companions, replacing
from .schema import Steps, upgrade, version_of

TILE = 512
LARGEST = 4_194_304  # pixels of a side: 8,192 tiles
DECODED = 256  # tiles kept decoded: 64 MB
SMALL = 4096  # bytes up to which a packed tile stays in memory; larger ones are fetched from the file when looked at
IN_FILE = b""  # stands for a large packed tile
Key = tuple[int, int, int]
Pixels = np.ndarray | int
Blobs = dict[Key, bytes | None]
SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tile(level INTEGER, row INTEGER, col INTEGER, blob BLOB NOT NULL, PRIMARY KEY(level, row, col)) WITHOUT ROWID;
"""
PUT = "INSERT INTO tile VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET blob = excluded.blob"
DROP = "DELETE FROM tile WHERE level = ? AND row = ? AND col = ?"
GET = "SELECT blob FROM tile WHERE level = ? AND row = ? AND col = ?"
_UNIFORM: dict[int, np.ndarray] = {}


def pack(pixels: Pixels) -> bytes | None:
    """Return the stored form of a tile: None for all zero, one byte for uniform, else zstd of the raw bytes."""
    if isinstance(pixels, np.ndarray):
        first = int(pixels[0, 0])
        if not (pixels == first).all():
            return bytes(imagecodecs.zstd_encode(pixels.tobytes(), level=1))
        pixels = first
    return bytes([pixels]) if pixels else None


def unpack(blob: bytes | None) -> Pixels:
    """Return a uniform value, or a read-only uint8 (512, 512) array."""
    if blob is None:
        return 0
    if not isinstance(blob, bytes) or not blob:
        raise ValueError("a tile without bytes")
    if len(blob) == 1:
        return blob[0]
    return np.frombuffer(imagecodecs.zstd_decode(blob, out=TILE * TILE), np.uint8).reshape(TILE, TILE)


def full(value: int) -> np.ndarray:
    """Return the read-only uint8 (512, 512) tile of one value, always the same one."""
    if value not in _UNIFORM:
        array = np.full((TILE, TILE), value, np.uint8)
        array.flags.writeable = False
        _UNIFORM[value] = array
    return _UNIFORM[value]


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
    version: ClassVar[int] = 1
    """Of the schema (see `schema.upgrade`); also written into `meta` as "format", at which older versions look."""
    steps: ClassVar[Steps] = {}

    def __init__(self, path: Path, readonly: bool) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._lock = threading.RLock()  # held for moments only: what readers, the window among them, wait for
        self._writing = threading.RLock()  # held for whole transactions; taken before `_lock`
        self._decoded: OrderedDict[Key, np.ndarray | None] = OrderedDict()
        self._edits: Blobs | None = None
        # one connection to write, one to read: looking at a tile never waits for a commit
        self._connection = _connect(path, readonly)
        self._reader = _connect(path, True)
        try:
            facts = dict(self._reader.execute("SELECT key, value FROM meta"))
            if facts.get("kind") != self.kind:
                raise LabelError(f"{path} holds {facts.get('kind')}, not {self.kind}; choose another file.")
            if max(int(facts["format"]), version_of(self._reader)) > self.version:
                raise LabelError(f"{path} was written by a newer Opsin; update Opsin to open it.")
            if not readonly:
                upgrade(self._connection, self.path, self.version, self.steps)
            self.width, self.height, self.base = (int(facts[name]) for name in ("width", "height", "base"))
            self.reduce: str = facts["reduce"]
            self.meta: dict[str, Any] = from_json(facts["meta"])
            size = max(self.level_size(0))
            self.levels = 1 + max(0, math.ceil(math.log2(size / TILE)))
            self._seen = self._data_version()
            self._packed: dict[Key, bytes] | None = None
            if not readonly:
                self._packed = self._index()
        except (sqlite3.Error, KeyError, ValueError, TypeError) as error:
            self._disconnect()
            raise DamagedError(
                f"{path} is damaged or no {self.kind} file ({error}); restore it from a backup.", self.path
            ) from None
        except OpsinError:
            self._disconnect()
            raise

    def _index(self) -> dict[Key, bytes]:
        # large blobs lie in pages of their own, which this query does not read
        blob = f"CASE WHEN length(blob) <= {SMALL} THEN blob ELSE x'' END"
        rows = self._reader.execute(f"SELECT level, row, col, {blob} FROM tile")
        return {(level, row, col): blob for level, row, col, blob in rows}

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
            raise LabelError(f"{path} exists already; open it or choose another name.")
        cls._make(path, width, height, base, reduce, meta or {})
        return cls.open(path)

    @classmethod
    def _make(cls, path: Path, width: int, height: int, base: int, reduce: str, meta: dict[str, Any]) -> None:
        """Write an empty file, whole or not at all."""
        if not (1 <= width <= LARGEST and 1 <= height <= LARGEST) or base < 1 or base & (base - 1):
            raise LabelError(f"{path}: a slide of {width} x {height} pixels with base {base} cannot be tiled.")
        if reduce not in ("stride", "mean"):
            raise LabelError(f"{path}: there is no way to reduce called '{reduce}'; there are stride and mean.")
        facts = {"kind": cls.kind, "format": cls.version, "width": width, "height": height, "base": base}
        facts |= {"reduce": reduce, "meta": json.dumps(meta)}
        try:
            with replacing(path) as temporary:
                connection = sqlite3.connect(temporary, isolation_level=None)
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.executescript(f"BEGIN; {cls.schema} PRAGMA user_version = {cls.version:d}; COMMIT;")
                    rows = [(key, str(value)) for key, value in facts.items()]
                    connection.executemany("INSERT INTO meta VALUES(?, ?)", rows)
                except sqlite3.Error:
                    connection.close()
                    remove_companions(temporary)
                    raise
                connection.close()
                remove_companions(path)
        except sqlite3.Error as error:
            raise LabelError(f"{path} cannot be written: {error}.") from None

    @classmethod
    def open(cls, path: Path, readonly: bool = False) -> Self:
        """Open an existing pyramid; `LabelError` when it is missing, damaged or of another kind."""
        path = Path(path)
        if not path.is_file():
            raise LabelError(f"{path} does not exist.")
        return cls(path, readonly)

    def close(self) -> None:
        with self._writing, self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        self._reader.close()
        self._connection.close()  # last: the one that can write tidies up the write-ahead log

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
            pixels = self._pixels(key, self._blob(key))
            tile = pixels if isinstance(pixels, np.ndarray) else full(pixels) if pixels else None
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
                y0, y1 = max(y, top), min(y + height, top + TILE)
                x0, x1 = max(x, left), min(x + width, left + TILE)
                result[y0 - y : y1 - y, x0 - x : x1 - x] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return result

    def keys(self, level: int = 0) -> list[tuple[int, int]]:
        """Return (row, column) of all tiles of a level that are not all zero, sorted."""
        with self._lock:
            if self._packed is not None:
                return sorted((row, column) for at, row, column in self._packed if at == level)
            return self._rows("SELECT row, col FROM tile WHERE level = ? ORDER BY row, col", (level,))

    def uniform(self, level: int, row: int, column: int) -> int | None:
        """Return the value of a uniform tile (0 when absent), None when its pixels differ."""
        with self._lock:
            blob = self._blob((level, row, column))
        return 0 if blob is None else blob[0] if len(blob) == 1 else None

    def refresh(self, rect: tuple[float, float, float, float] | None = None) -> None:
        """Forget decoded tiles that another process may have rewritten; rect (x, y, w, h) in level-0 slide pixels.

        Costs next to nothing while nobody has written.
        """
        with self._lock:
            if rect is not None and self._decoded:
                # the rest of the slide may have changed too, so `_seen` stays as it is
                if self._data_version() == self._seen:
                    return
                for key in [key for key in self._decoded if self._meets(key, rect)]:
                    del self._decoded[key]
                return
            seen = self._data_version()
            if seen != self._seen:
                self._seen = seen
                self._decoded.clear()

    def _meets(self, key: Key, rect: tuple[float, float, float, float]) -> bool:
        level, row, column = key
        span = TILE * (self.base << level)
        x, y, width, height = rect
        return (
            column * span <= x + width
            and (column + 1) * span >= x
            and row * span <= y + height
            and (row + 1) * span >= y
        )

    def written(self) -> int:
        """Return a number that changes when another connection, of this process or another one, has written."""
        with self._lock:
            return self._data_version()

    def _data_version(self) -> int:
        return self._reader.execute("PRAGMA data_version").fetchone()[0]

    def _blob(self, key: Key) -> bytes | None:
        if self._packed is not None:
            blob = self._packed.get(key)
            if blob is None or blob:
                return blob
        with self._lock:
            found = self._rows(GET, key)
        return found[0][0] if found else None

    def _rows(self, statement: str, values: tuple[int, ...] = ()) -> list[Any]:
        """Read from the file; a file that turns out to be damaged is said so."""
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.ProgrammingError:  # closed: no fault of the file
            raise
        except sqlite3.DatabaseError as error:
            raise DamagedError(f"{self.path} is damaged ({error}); restore it from a backup.", self.path) from None

    def _pixels(self, key: Key, blob: bytes | None) -> Pixels:
        try:
            return unpack(blob)
        except (imagecodecs.ZstdError, ValueError):
            raise LabelError(f"{self.path}: tile {key} is damaged; restore the file from a backup.") from None

    # ---- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write tiles inside: all of them become visible and durable together when the block ends, none on an error."""
        if self._packed is None:
            raise LabelError(f"{self.path} was opened for reading only.")
        with self._writing:
            self._edits = {}
            try:
                yield
                self._add_parents(self._edits, list(self._edits))
                self._save(self._edits)
            except sqlite3.Error as error:
                raise LabelError(f"{self.path} cannot be written: {error}.") from error
            finally:
                self._edits = None

    def _save(self, edits: Blobs) -> None:
        self._commit(edits)

    def write(self, row: int, column: int, pixels: Pixels) -> None:
        """Replace a level-0 tile, inside a `transaction`: uint8 of up to (512, 512), or an int for a uniform tile.

        What lies beyond the edge of the slide is dropped.
        """
        if self._edits is None:
            raise LabelError("Tiles are written inside a transaction.")
        width, height = self.level_size(0)
        width, height = min(width - column * TILE, TILE), min(height - row * TILE, TILE)
        if row < 0 or column < 0 or width <= 0 or height <= 0:
            raise LabelError(f"{self.path}: there is no tile in row {row}, column {column}.")
        if isinstance(pixels, np.ndarray):
            if pixels.dtype != np.uint8 or pixels.ndim != 2 or max(pixels.shape) > TILE:
                raise LabelError(f"A tile is uint8 of at most 512 x 512, not {pixels.dtype} {pixels.shape}.")
            width, height = min(width, pixels.shape[1]), min(height, pixels.shape[0])
        if width < TILE or height < TILE:
            whole = np.zeros((TILE, TILE), np.uint8)
            whole[:height, :width] = pixels[:height, :width] if isinstance(pixels, np.ndarray) else pixels
            pixels = whole
        self._edits[0, row, column] = pack(pixels)

    def current(self, row: int, column: int) -> Pixels:
        """Return a level-0 tile as it stands inside the transaction: an int when uniform."""
        return self._pixels((0, row, column), self._now(self._edits or {}, (0, row, column)))

    def _now(self, edits: Blobs, key: Key) -> bytes | None:
        return edits[key] if key in edits else self._blob(key)

    def _commit(
        self,
        blobs: Blobs,
        also: Callable[[sqlite3.Connection], None] | None = None,
        published: Callable[[], None] | None = None,
    ) -> None:
        """Store tiles, and what `also` adds, in one transaction; only then change what is in memory.

        `published` runs while readers wait, so that they see the new tiles and what it changes together.
        """
        assert self._packed is not None
        connection = self._connection
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(PUT, [(*key, blob) for key, blob in blobs.items() if blob is not None])
                connection.executemany(DROP, [key for key, blob in blobs.items() if blob is None])
                if also is not None:
                    also(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            with self._lock:
                for key, blob in blobs.items():
                    self._decoded.pop(key, None)
                    if blob is None:
                        self._packed.pop(key, None)
                    else:
                        self._packed[key] = blob if len(blob) <= SMALL else IN_FILE
                if published is not None:
                    published()

    def _add_parents(self, edits: Blobs, changed: Iterable[Key]) -> None:
        """Add to `edits` the tiles of the coarser levels above the `changed` ones."""
        half = TILE // 2
        for level in range(1, self.levels):
            families: dict[Key, list[Key]] = {}
            for _, row, column in changed:
                families.setdefault((level, row // 2, column // 2), []).append((level - 1, row, column))
            changed = []
            for parent, children in families.items():
                old = self._now(edits, parent)
                blobs = [self._now(edits, child) for child in children]
                alike = all(blob == blobs[0] for blob in blobs) and (blobs[0] is None or len(blobs[0]) == 1)
                if alike and (blobs[0] == old or len(children) == 4):
                    new = blobs[0]
                else:
                    before = self._pixels(parent, old)
                    array = before.copy() if isinstance(before, np.ndarray) else full(before).copy()
                    for child, blob in zip(children, blobs, strict=True):
                        top, left = half * (child[1] % 2), half * (child[2] % 2)
                        part = self._reduced(self._pixels(child, blob))
                        array[top : top + half, left : left + half] = part
                    new = pack(array)
                if new != old:
                    edits[parent] = new
                    changed.append(parent)

    def _reduced(self, child: Pixels) -> Pixels:
        if isinstance(child, int):
            return child
        if self.reduce == "stride":
            return child[::2, ::2]
        total = np.zeros((TILE // 2, TILE // 2), np.uint16)
        count = np.zeros_like(total)
        for part in (child[::2, ::2], child[::2, 1::2], child[1::2, ::2], child[1::2, 1::2]):
            total += part
            count += part != 0
        return ((total + count // 2) // np.maximum(count, 1)).astype(np.uint8)


def _connect(path: Path, readonly: bool) -> sqlite3.Connection:
    """Open the SQLite file; transactions are begun by hand, and any thread may use it under the pyramid's lock."""
    try:
        # Readers too open it "rw", which falls back to reading where the file is protected: they must be able to use
        # the write-ahead log that a killed writer left, and to remove it when they are the last to close.
        uri = f"{path.resolve().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    except sqlite3.Error as error:
        raise LabelError(f"{path} cannot be opened: {error}.") from None
    try:
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA journal_size_limit = 16777216")
    except UnicodeDecodeError:  # SQLite names what is damaged, and that name is
        connection.close()
        raise DamagedError(f"{path} is damaged; restore it from a backup.", path) from None
    except sqlite3.Error as error:
        connection.close()
        if type(error) is sqlite3.DatabaseError:  # its subclasses speak of what may pass
            raise DamagedError(f"{path} is damaged ({error}); restore it from a backup.", path) from None
        raise LabelError(f"{path} cannot be opened for writing: {error}.") from None
    return connection
