"""The database of a workspace: its tables, one connection that any thread may use, errors in one sentence."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import WorkspaceError

SCHEMA_VERSION = 1
DATABASE = "opsin.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS item(id TEXT PRIMARY KEY, position INTEGER, path TEXT NOT NULL, name TEXT NOT NULL, label TEXT,
    split TEXT, patient TEXT, outlined INTEGER NOT NULL DEFAULT 0, mpp REAL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    slide_mpp REAL, fingerprint TEXT NOT NULL, marked REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS class(value INTEGER PRIMARY KEY, position INTEGER, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS setting(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS score(run TEXT, item TEXT, score REAL, json TEXT NOT NULL, time REAL, PRIMARY KEY(run, item));
"""


class Database:
    """``opsin.sqlite`` of one workspace (SQLite, WAL). Every change is durable when the call returns."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.path = folder / DATABASE
        self.lock = threading.RLock()
        self._connection = connection

    @classmethod
    def create(cls, folder: Path) -> Database:
        """Make the tables in ``folder/opsin.sqlite``; raises `sqlite3.Error` where that is not possible."""
        connection = _connect(folder / DATABASE, "rwc")
        connection.executescript(SCHEMA)
        connection.execute("INSERT INTO setting VALUES('schema', ?)", (json.dumps(SCHEMA_VERSION),))
        return cls(folder, connection)

    @classmethod
    def open(cls, folder: Path) -> Database:
        """Open it; `WorkspaceError` when it is missing, damaged or was made by a newer Opsin."""
        if not folder.exists():
            raise WorkspaceError(f"{folder} is not there: it was moved or deleted, or its disk is not connected.")
        if not (folder / DATABASE).exists():
            raise WorkspaceError(f"{folder} is no Opsin workspace (it has no {DATABASE}).")
        connection = None
        try:
            connection = _connect(folder / DATABASE, "rw")
            row = connection.execute("SELECT value FROM setting WHERE key = 'schema'").fetchone()
            version = int(json.loads(row[0]))
        except (sqlite3.Error, TypeError, ValueError) as error:
            if connection is not None:
                connection.close()
            if "readonly" in str(error) or "unable to open" in str(error):
                raise WorkspaceError(
                    f"The workspace {folder} may only be read, but Opsin must write there: get the right to write, "
                    "or copy the folder to where you have it."
                ) from None
            raise WorkspaceError(f"{folder / DATABASE} cannot be read ({error}); restore it from a backup.") from None
        if version > SCHEMA_VERSION:
            connection.close()
            raise WorkspaceError(f"{folder} was made by a newer Opsin (version {version}); update Opsin to open it.")
        return cls(folder, connection)

    def select(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query."""
        with self.lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise WorkspaceError(f"{self.path} cannot be read: {error}.") from None

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Carry out one change, or one of several inside `transaction`."""
        with self.lock:
            try:
                self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise WorkspaceError(f"{self.path} cannot be written: {error}.") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, or none of them."""
        with self.lock:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self.lock:
            self._connection.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
