"""The slides of a workspace and what is known of each: read, change, undo. `workspace.Workspace` is built on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal
from pydantic import BaseModel

from .database import Database
from .edits import FIELDS, EditStack
from .errors import WorkspaceError
from .labels.readers import COUNTING, counting_of, label_file
from .patients import kept_together
from .reviews import Review, label_signature
from .slide_table import SlideLabel, Split

CHANGEABLE = ("label", "split", "patient", "outlined", "review", "mpp", "name", "marked")
WORDS = {"label": "slide label", "split": "split", "patient": "patient", "review": "review"}


class Item(BaseModel):
    """One slide of a workspace.

    Attributes
    ----------
    path : relative to the workspace's folder where that is possible without leaving its parent, else absolute.
    label : slide label; None = unknown.
    outlined : all tumour is outlined, so unlabelled pixels count as negative.
    mpp : µm per pixel as the user said; None: what the slide says (`slide_mpp`).
    marked : share of the slide's pixels that carry a label, 0..1.
    added : Unix time, None in workspaces of older versions.
    review, reviewer, reviewed : its state, and while that is "reviewed" by whom and when (Unix time).
    review_labels : `reviews.label_signature` of the labels as they were reviewed.
    """

    id: str
    path: str
    name: str
    label: SlideLabel | None = None
    split: Split | None = None
    patient: str | None = None
    outlined: bool = False
    mpp: float | None = None
    width: int
    height: int
    slide_mpp: float | None = None
    fingerprint: str
    marked: float = 0.0
    added: float | None = None
    review: Review = "to do"
    reviewer: str | None = None
    reviewed: float | None = None
    review_labels: str | None = None


COLUMNS = ", ".join(Item.model_fields)


class SlideRecords:
    """What a workspace says of its slides. May be used from several threads."""

    changed = Signal(str)
    """What changed: "items", "classes", "scores", "settings"."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder = Path(folder)
        self.reviewer: str | None = None
        """Who a review that is made here is put down to."""
        self._database = database
        self.edits = EditStack(database)

    def items(self) -> list[Item]:
        """Return all slides in the order in which they were added."""
        rows = self._select(f"SELECT {COLUMNS} FROM item ORDER BY position, name")
        with self._database.understood("the list of slides"):
            return [item_of(row) for row in rows]

    def item(self, id: str) -> Item:
        rows = self._select(f"SELECT {COLUMNS} FROM item WHERE id = ?", (id,))
        if not rows:
            raise WorkspaceError(f"There is no slide '{id}' in {self.folder}.")
        with self._database.understood("the list of slides"):
            return item_of(rows[0])

    def find(self, path: Path) -> Item | None:
        """Return the slide that lies at `path`."""
        wanted = Path(path).resolve()
        return next((item for item in self.items() if self.slide_path(item) == wanted), None)

    def slide_path(self, item: Item) -> Path:
        """Return where the slide file lies (it may be missing)."""
        return (self.folder / item.path).resolve()

    def label_path(self, id: str, reader: str | None = None) -> Path:
        """Return where the pixel labels of a slide lie, or would lie: a reader's, or those that count."""
        return self.folder / "labels" / label_file(id, self.counting if reader is None else reader)

    @property
    def counting(self) -> str:
        """Id of the reader whose labels count (see `labels.readers`): in training, evaluation, review, marked share."""
        rows = self._select("SELECT value FROM setting WHERE key = ?", (f"user.{COUNTING}",))
        with self._database.understood("whose labels count"):
            return counting_of(rows)

    # ---- changing ---------------------------------------------------------------------------------------------------

    def update(self, id: str, **changes: Any) -> Item:
        """Change fields of an item (`CHANGEABLE`); other slides of its patient follow a new split. See `edit`."""
        self.edit({id: changes})
        return self.item(id)

    def edit(self, changes: Mapping[str, Mapping[str, Any]], text: str = "") -> list[str]:
        """Change fields of slides in one step, which `undo_edit` takes back (but for "mpp", "name" and "marked").

        Slides of one patient stay in one split (`patients.kept_together`).

        Parameters
        ----------
        changes : slide id -> field -> value; "reviewer" may come with "review", else it is `self.reviewer`.
        text : what the menu says of it; made from the fields when empty.

        Returns
        -------
        The ids of slides that are not in `changes` and moved to another split with their patient.
        """
        for fields in changes.values():
            if not fields or not fields.keys() <= {*CHANGEABLE, "reviewer", "reviewed"}:
                raise WorkspaceError(
                    f"Of a slide only {', '.join(sorted(CHANGEABLE))} can be changed, not {', '.join(fields)}."
                )
        if not changes:
            return []
        with self._database.lock, self._database.transaction():
            items = {item.id: item for item in self.items()}
            for id in changes:
                if id not in items:
                    raise WorkspaceError(f"There is no slide '{id}' in {self.folder}.")
            wanted = {id: self._complete(items[id], fields) for id, fields in changes.items()}
            if any({"split", "patient"} & fields.keys() for fields in wanted.values()):
                wanted = kept_together(list(items.values()), wanted)
            undoable: dict[str, dict[str, tuple[Any, Any]]] = {}
            for id, fields in wanted.items():
                old = items[id].model_dump()
                new = Item(**{**old, **fields}).model_dump()
                different = [name for name in fields if new[name] != old[name]]
                for name in different:
                    self._execute(f"UPDATE item SET {name} = ? WHERE id = ?", (new[name], id))
                    if name in FIELDS:
                        undoable.setdefault(id, {})[name] = (old[name], new[name])
                if "review" in different or ("review" in fields and "reviewed" in different):
                    self._log_review(id, new["review"], new["reviewer"])
            if undoable:
                self.edits.add(undoable, text or _described(undoable, items))
        self.changed.emit("items")
        return [id for id in wanted if id not in changes]

    def _complete(self, item: Item, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Add to a review who made it, when, and of which labels; end one whose slide gets another label."""
        result = dict(fields)
        other = any(name in result and result[name] != getattr(item, name) for name in ("label", "outlined"))
        if item.review == "reviewed" and other and "review" not in result:
            result["review"] = "marked"
        if isinstance(result.get("patient"), str):
            result["patient"] = result["patient"].strip() or None
        if "review" in result:
            done = result["review"] == "reviewed"
            result["reviewer"] = (result.get("reviewer") or self.reviewer) if done else None
            result["reviewed"] = (result.get("reviewed") or time.time()) if done else None
            result["review_labels"] = label_signature(self.label_path(item.id)) if done else None
        return result

    def undo_edit(self) -> str:
        """Take the last edit back; return what it was, "" when there is none."""
        return self._move(self.edits.undo)

    def redo_edit(self) -> str:
        """Make the edit again that was taken back last; return what it was, "" when there is none."""
        return self._move(self.edits.redo)

    def _move(self, move: Any) -> str:
        with self._database.transaction():
            text = str(move())
        if text:
            self.changed.emit("items")
        return text

    # ---- review -----------------------------------------------------------------------------------------------------

    def review_history(self, id: str) -> list[tuple[float, str, str | None]]:
        """Return (Unix time, state, who) of a slide's review, the oldest first; who is None where labels changed it."""
        query = "SELECT time, state, who FROM review_log WHERE item = ? ORDER BY rowid"
        return [(when, state, who) for when, state, who in self._select(query, (id,))]

    def follow_labels(self, item: Item, emptied: bool = False) -> bool:
        """Let the review follow an edit of the slide's labels; return whether it changed.

        "reviewed" becomes "marked" when the labels are no longer those that were reviewed, "to do" becomes "marked" when
        there are some, and "marked" becomes "to do" when the last was taken away (`emptied`). Not an edit of its own: undo
        of the labels is in their file.
        """
        signature = label_signature(self.label_path(item.id))
        if item.review == "reviewed":
            stale = signature != (item.review_labels or "")
        else:
            stale = emptied if item.review == "marked" else item.marked > 0
        if not stale:
            return False
        state = "to do" if item.review == "marked" else "marked"
        with self._database.transaction():
            self._execute(
                "UPDATE item SET review = ?, reviewer = NULL, reviewed = NULL, review_labels = NULL WHERE id = ?",
                (state, item.id),
            )
            self._log_review(item.id, state, None)
        return True

    def _log_review(self, id: str, state: str, who: str | None) -> None:
        self._execute("INSERT INTO review_log VALUES(?, ?, ?, ?)", (id, time.time(), state, who))

    # ---- database ---------------------------------------------------------------------------------------------------

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._database.select(statement, values)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        self._database.execute(statement, values)


def item_of(row: Iterable[Any]) -> Item:
    """Return the item of a row of `COLUMNS`."""
    return Item(**dict(zip(Item.model_fields, row)))


def _described(values: Mapping[str, Mapping[str, tuple[Any, Any]]], items: Mapping[str, Item]) -> str:
    """Return an edit in a few words, for the menu: "split test of 3 slides"."""
    fields = {name for changed in values.values() for name in changed}
    who = items[next(iter(values))].name if len(values) == 1 else f"{len(values)} slides"
    if len(who) > 40:
        who = f"{who[:18]}…{who[-18:]}"
    if "outlined" in fields:
        what = "outlined completely"
    else:
        name = next((name for name in ("label", "patient", "split", "review") if name in fields), "")
        new = {repr(changed[name][1]): changed[name][1] for changed in values.values() if name in changed}
        only = next(iter(new.values())) if len(new) == 1 else None
        what = WORDS.get(name, "change") + (f" {only}" if only else "")
    return f"{what} of {who}"
