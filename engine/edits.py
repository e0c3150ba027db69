"""Undo of what is said of slides: label, split, patient, review, "outlined completely". One stack for a workspace.

It lies in the workspace's database, so it survives a restart, has no limit, and is the same in all windows. An edit keeps
the old and the new value of every field it changed; undo and redo write them back in one transaction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from .database import Database
from .files import from_json

FIELDS = frozenset(
    ("label", "split", "patient", "outlined", "review", "reviewer", "reviewed", "review_labels")
)  # those that undo brings back
REVIEW = ("review", "reviewer", "reviewed", "review_labels")
Values = Mapping[str, Mapping[str, tuple[Any, Any]]]
"""Slide id -> field -> (old, new)."""


class EditStack:
    """The edits of one workspace.

    Parameters
    ----------
    database : holds them. The methods that change something are to be called inside `Database.transaction`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, values: Values, text: str) -> None:
        """Remember an edit that was just made; what was undone before it can no longer be redone."""
        execute = self._database.execute
        execute("DELETE FROM edit_value WHERE edit IN (SELECT id FROM edit WHERE undone)")
        execute("DELETE FROM edit WHERE undone")
        execute("INSERT INTO edit(text, time) VALUES(?, ?)", (text, time.time()))
        number = self._database.select("SELECT max(id) FROM edit")[0][0]
        for id, fields in values.items():
            for field, (old, new) in fields.items():
                row = (number, id, field, json.dumps(old), json.dumps(new))
                execute("INSERT INTO edit_value VALUES(?, ?, ?, ?, ?)", row)

    @property
    def undo_text(self) -> str:
        """What undo takes back; "" when there is nothing."""
        return self._text("SELECT text FROM edit WHERE NOT undone ORDER BY id DESC LIMIT 1")

    @property
    def redo_text(self) -> str:
        """What redo does again; "" when there is nothing."""
        return self._text("SELECT text FROM edit WHERE undone ORDER BY id LIMIT 1")

    @property
    def undo_time(self) -> float | None:
        """When the edit was made that undo takes back (Unix time); None when there is none."""
        return self._time("SELECT time FROM edit WHERE NOT undone ORDER BY id DESC LIMIT 1")

    @property
    def redo_time(self) -> float | None:
        """When the edit was made first that redo makes again (Unix time); None when there is none."""
        return self._time("SELECT time FROM edit WHERE undone ORDER BY id LIMIT 1")

    def _time(self, query: str) -> float | None:
        rows = self._database.select(query)
        with self._database.understood("an earlier edit"):
            return float(rows[0][0]) if rows else None

    def _text(self, query: str) -> str:
        rows = self._database.select(query)
        return str(rows[0][0]) if rows else ""

    def undo(self) -> str:
        """Take the last edit back; return what it was, "" when there is none."""
        return self._move("SELECT id, text FROM edit WHERE NOT undone ORDER BY id DESC LIMIT 1", undo=True)

    def redo(self) -> str:
        """Make the last edit that was taken back again; return what it was, "" when there is none."""
        return self._move("SELECT id, text FROM edit WHERE undone ORDER BY id LIMIT 1", undo=False)

    def _move(self, query: str, undo: bool) -> str:
        rows = self._database.select(query)
        if not rows:
            return ""
        number, text = rows[0]
        slides: dict[str, dict[str, tuple[Any, Any]]] = {}
        for id, field, old, new in self._database.select(
            "SELECT item, field, old, new FROM edit_value WHERE edit = ?", (number,)
        ):
            if field in FIELDS:  # a name of a column, from a file
                with self._database.understood("an earlier edit"):
                    pair = (from_json(new), from_json(old)) if undo else (from_json(old), from_json(new))
                slides.setdefault(id, {})[field] = pair
        for id, fields in slides.items():
            self._write(id, fields)
        self._database.execute("UPDATE edit SET undone = ? WHERE id = ?", (int(undo), number))
        return str(text)

    def _write(self, id: str, fields: Mapping[str, tuple[Any, Any]]) -> None:
        """Write (expected, wanted) values of a slide; a review that labels took back meanwhile stays taken back."""
        rows = self._database.select(f"SELECT {', '.join(REVIEW)} FROM item WHERE id = ?", (id,))
        if not rows:
            return
        now = dict(zip(REVIEW, rows[0]))
        if any(now[name] != fields[name][0] for name in REVIEW if name in fields):
            fields = {name: pair for name, pair in fields.items() if name not in REVIEW}
        for name, (_, wanted) in fields.items():
            self._database.execute(f"UPDATE item SET {name} = ? WHERE id = ?", (wanted, id))
        if "review" in fields:
            self._database.execute(
                "INSERT INTO review_log VALUES(?, ?, ?, (SELECT reviewer FROM item WHERE id = ?))",
                (id, time.time(), fields["review"][1], id),
            )

    def forget(self, id: str) -> None:
        """A slide was taken out of the workspace: its part of all edits goes, and edits of which nothing is left."""
        self._database.execute("DELETE FROM edit_value WHERE item = ?", (id,))
        self._database.execute("DELETE FROM edit WHERE id NOT IN (SELECT edit FROM edit_value)")
