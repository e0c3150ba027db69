"""The review state of a slide: to do, marked, reviewed; and how a later edit of its labels is noticed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final, Literal

from .labels.journal import UNDONE

Review = Literal["to do", "marked", "reviewed"]
REVIEW_WORDS: Final[dict[Review, frozenset[str]]] = {
    "to do": frozenset(("to do", "todo", "open", "new")),
    "marked": frozenset(("marked", "annotated", "in progress")),
    "reviewed": frozenset(("reviewed", "done", "accepted", "approved", "validated")),
}
"""What a word of a table says of a slide's review, in small letters."""


def label_signature(path: Path) -> str:
    """Return a text that changes when a slide's labels are edited and comes back when that is undone; "" without labels.

    Parameters
    ----------
    path : of the label file, which another process may be writing.
    """
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=10)) as connection:
            connection.execute("PRAGMA query_only = ON")
            count, ids, times = connection.execute(
                "SELECT count(*), total(id), total(time) FROM op WHERE state <> ?", (UNDONE,)
            ).fetchone()
    except sqlite3.Error:  # damaged: said where it is opened
        return "unreadable"
    return f"{count}/{ids:.0f}/{times:.3f}" if count else ""
