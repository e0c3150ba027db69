"""The database of a workspace: its tables, one connection that any thread may use, errors in one sentence."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DamagedError, OpsinError, WorkspaceError
from .files import from_json
from .schema import upgrade, version_of

SCHEMA_VERSION = 2
DATABASE = "opsin.sqlite"
# edit, edit_value: what can be undone (`edits.py`), values as JSON; review_log: who said what of a slide, and when
EDITS = (
    """CREATE TABLE edit(id INTEGER PRIMARY KEY, text TEXT NOT NULL, time REAL NOT NULL, undone INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE edit_value(edit INTEGER NOT NULL, item TEXT NOT NULL, field TEXT NOT NULL, old TEXT NOT NULL,
        new TEXT NOT NULL, PRIMARY KEY(edit, item, field)) WITHOUT ROWID""",
    """CREATE TABLE review_log(item TEXT NOT NULL, time REAL NOT NULL, state TEXT NOT NULL, who TEXT)""",
)
SCHEMA = (
    """CREATE TABLE item(id TEXT PRIMARY KEY, position INTEGER, path TEXT NOT NULL, name TEXT NOT NULL, label TEXT, split TEXT,
        patient TEXT, outlined INTEGER NOT NULL DEFAULT 0, mpp REAL, width INTEGER NOT NULL, height INTEGER NOT NULL,
        slide_mpp REAL, fingerprint TEXT NOT NULL, marked REAL NOT NULL DEFAULT 0, added REAL,
        review TEXT NOT NULL DEFAULT 'to do', reviewer TEXT, reviewed REAL, review_labels TEXT)""",
    """CREATE TABLE class(value INTEGER PRIMARY KEY, position INTEGER, json TEXT NOT NULL)""",
    """CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL)""",
    """CREATE TABLE score(run TEXT, item TEXT, score REAL, json TEXT NOT NULL, time REAL, PRIMARY KEY(run, item))""",
    *EDITS,
)
STEPS = {
    1: (
        "ALTER TABLE item ADD COLUMN added REAL",
        "ALTER TABLE item ADD COLUMN review TEXT NOT NULL DEFAULT 'to do'",
        "ALTER TABLE item ADD COLUMN reviewer TEXT",
        "ALTER TABLE item ADD COLUMN reviewed REAL",
        "ALTER TABLE item ADD COLUMN review_labels TEXT",
        "UPDATE item SET review = 'marked' WHERE marked > 0",
        *EDITS,
        "UPDATE setting SET value = '2' WHERE key = 'schema'",  # what an Opsin of then looks at
    ),
}


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
        connection.executescript(";".join(("BEGIN", *SCHEMA, f"PRAGMA user_version = {SCHEMA_VERSION}", "COMMIT")))
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
            version = max(version_of(connection), int(from_json(row[0])))
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if fault != "ok":
                raise ValueError(fault.splitlines()[-1])
            if version <= SCHEMA_VERSION:
                upgrade(connection, folder / DATABASE, SCHEMA_VERSION, STEPS)
        except OpsinError:
            if connection is not None:
                connection.close()
            raise
        except (sqlite3.Error, TypeError, ValueError) as error:
            if connection is not None:
                connection.close()
            if "readonly" in str(error) or "unable to open" in str(error):
                raise WorkspaceError(
                    f"The workspace {folder} may only be read, but Opsin must write there: get the right to write, "
                    "or copy the folder to where you have it."
                ) from None
            if "locked" in str(error):
                raise WorkspaceError(f"{folder} is being written by another program; try again.") from None
            raise DamagedError(
                f"{folder / DATABASE} cannot be read ({error}); restore it from a backup.", folder / DATABASE
            ) from None
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

    @contextmanager
    def understood(self, what: str) -> Iterator[None]:
        """Around what makes something of values that were read: those that nothing can be made of are a `DamagedError`."""
        try:
            yield
        except OpsinError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise DamagedError(
                f"{self.path} is damaged: {what} cannot be read ({why}); restore it from a backup.", self.path
            ) from None

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

    def version(self) -> int:
        """Return a number that changes when another connection, in this process or another one, has changed something."""
        return int(self.select("PRAGMA data_version")[0][0])

    def close(self) -> None:
        with self.lock:
            self._connection.close()


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    where = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(where, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
