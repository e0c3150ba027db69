"""Schema versions of SQLite files: what an older Opsin wrote is brought up to date, what a newer one wrote is refused.

The version is SQLite's own ``user_version``; 0 stands for 1, the schema before versions were written down. Before the first
step a copy of the file is kept (`backups.py`); all steps are one transaction, so a kill leaves the old schema or the new one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from .backups import back_up

Steps = Mapping[int, Sequence[str]]
"""Schema version -> the statements that lead from it to the next one."""


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open file, 1 or higher."""
    return max(1, connection.execute("PRAGMA user_version").fetchone()[0])


def upgrade(connection: sqlite3.Connection, path: Path, current: int, steps: Steps) -> bool:
    """Bring a file whose version is at most `current` up to it; return whether its tables were changed.

    Raises
    ------
    sqlite3.Error : it cannot be written. OpsinError : the copy beforehand cannot be written. Either leaves it as it was.
    """
    found = version_of(connection)
    if any(number in steps for number in range(found, current)):
        back_up(path)
    elif connection.execute("PRAGMA user_version").fetchone()[0] == current:
        return False
    changed = False
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version_of(connection), current):  # another process may have been faster
            for statement in steps.get(number, ()):
                connection.execute(statement)
                changed = True
        connection.execute(f"PRAGMA user_version = {current:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return changed
