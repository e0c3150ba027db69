"""What a label store holds, as a whole: its extent, a hash of what counts, a frozen copy."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LabelError
from ..files import remove_companions, replacing
from ..tiles import TILE
from . import journal, marks

if TYPE_CHECKING:
    from .store import LabelStore


def bounds(store: LabelStore) -> tuple[int, int, int, int] | None:
    """Return (x, y, width, height) of all labelled pixels, None when there are none."""
    store.flush()
    left = top = 1 << 62
    right = bottom = 0
    for row, column in store.keys(0):
        # only tiles that reach beyond what is known so far have to be looked at
        x, y = column * TILE, row * TILE
        if x >= left and y >= top and x + TILE <= right and y + TILE <= bottom:
            continue
        tile = store.tile(0, row, column)
        if tile is None or not tile.any():
            continue
        ys, xs = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
        left, right = min(left, x + int(xs[0])), max(right, x + int(xs[-1]) + 1)
        top, bottom = min(top, y + int(ys[0])), max(bottom, y + int(ys[-1]) + 1)
    return (left, top, right - left, bottom - top) if right else None


def content_hash(store: LabelStore) -> str:
    """Return a hash of what counts, label pixels and region of interest alone: the same however they came about."""
    store.flush()
    digest = hashlib.sha256(f"{store.width}x{store.height}".encode())
    region = store.roi()
    if region is not None:
        digest.update(f"roi {region.digest()}".encode())
    for row, column in store.keys(0):
        value = store.uniform(0, row, column)
        if value is None:
            tile = store.tile(0, row, column)
            first = 0 if tile is None else int(tile[0, 0])
            value = first if tile is None or (tile == first).all() else None
        if value != 0:
            digest.update(f"/{row},{column}:".encode())
            digest.update(str(value).encode() if value is not None else _bytes(store, row, column))
    return digest.hexdigest()


def _bytes(store: LabelStore, row: int, column: int) -> bytes:
    tile = store.tile(0, row, column)
    return b"" if tile is None else tile.tobytes()


def write_snapshot(store: LabelStore, path: Path) -> str:
    """Write a frozen copy without history to `path`, whole or not at all; return its `content_hash`."""
    store.flush()
    path = Path(path)
    try:
        with replacing(path) as temporary:
            temporary.unlink()
            store._make(temporary, store.width, store.height, store.base, store.reduce, store.meta)
            waiting = _copy(store, temporary)
            if waiting:  # the process that writes died, or is still rasterising: the copy does that itself
                with type(store).open(temporary) as copy:
                    copy.flush()
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                connection.executescript("DELETE FROM op; DELETE FROM old; PRAGMA journal_mode = DELETE;")
            finally:
                connection.close()
            remove_companions(path)
    except sqlite3.Error as error:
        raise LabelError(f"{path} cannot be written: {error}.") from None
    with type(store).open(path, readonly=True) as copy:
        return copy.content_hash()


def _copy(store: LabelStore, path: Path) -> int:
    """Copy tiles and what waits to be applied, all of one moment, into an empty store; number of those that wait."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("ATTACH DATABASE ? AS source", (str(store.path),))
        connection.execute("BEGIN")
        tables = [("tile", ""), ("area", ""), ("op", f" WHERE state = {journal.PENDING}")]
        if marks.has_table(connection, "source"):
            tables.append(("mark", ""))
        for table, where in tables:
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}{where}")
        count = connection.execute("SELECT count(*) FROM main.op").fetchone()[0]
        connection.execute("COMMIT")
        return count
    finally:
        connection.close()
