"""Workspace: a folder a user works in. It names slides, holds their labels and runs, and never copies or changes a slide.

::

    opsin.sqlite     items, class table, settings, slide scores (SQLite, WAL)
    labels/          <item>.labels: the pixel labels of a slide; removed/ keeps those of slides taken out
    thumbnails/      <item>.png         runs/  one folder a run         heatmaps/<run>/<item>.heat
"""

from __future__ import annotations

import csv
import json
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from psygnal import Signal
from pydantic import BaseModel

from .data.slides import Slide, is_slide, open_slide
from .errors import OpsinError, WorkspaceError
from .files import replacing
from .labels.classes import DEFAULT_CLASSES, LabelClass, locked_values
from .labels.store import LabelStore
from .runs import FINAL, new_folder

SCHEMA_VERSION = 1
DATABASE = "opsin.sqlite"
SlideLabel = Literal["positive", "negative"]
Split = Literal["train", "val", "test"]
SCHEMA = """
CREATE TABLE IF NOT EXISTS item(id TEXT PRIMARY KEY, position INTEGER, path TEXT NOT NULL, name TEXT NOT NULL, label TEXT,
    split TEXT, patient TEXT, outlined INTEGER NOT NULL DEFAULT 0, mpp REAL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    slide_mpp REAL, fingerprint TEXT NOT NULL, marked REAL NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS class(value INTEGER PRIMARY KEY, position INTEGER, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS setting(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS score(run TEXT, item TEXT, score REAL, json TEXT NOT NULL, time REAL, PRIMARY KEY(run, item));
"""
COLUMNS = "id, path, name, label, split, patient, outlined, mpp, width, height, slide_mpp, fingerprint, marked"
POSITIVE_WORDS = {
    "1",
    "positive",
    "pos",
    "tumor",
    "tumour",
    "true",
    "yes",
    "itc",
    "micro",
    "macro",
    "malignant",
}
NEGATIVE_WORDS = {"0", "negative", "neg", "normal", "false", "no", "benign"}


class Item(BaseModel):
    """One slide of a workspace.

    Attributes
    ----------
    path : relative to the workspace's folder where that is possible without leaving its parent, else absolute.
    label : slide label; None = unknown.
    outlined : all tumour is outlined, so unlabelled pixels count as negative.
    mpp : µm per pixel as the user said; None: what the slide says (`slide_mpp`).
    marked : share of the slide's pixels that carry a label, 0..1.
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


class Workspace:
    """An open workspace. May be used from several threads; every change is durable when the call returns."""

    changed = Signal(str)
    """What changed: "items", "classes", "scores", "settings"."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = Path(folder)
        self.rejected: list[tuple[str, str]] = []
        """(path, sentence) of what the last `add` could not take."""
        self._connection = connection
        self._lock = threading.RLock()
        self._stores: dict[str, LabelStore] = {}

    # ---- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path) -> Workspace:
        """Make a workspace in `folder`, which may exist; a workspace already there is an error."""
        folder = Path(folder).resolve()
        if (folder / DATABASE).exists():
            raise WorkspaceError(f"{folder} already is a workspace; open it instead.")
        try:
            for name in ("labels", "runs", "thumbnails", "heatmaps"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            connection = _connect(folder / DATABASE)
            connection.executescript(SCHEMA)
            connection.execute("INSERT INTO setting VALUES('schema', ?)", (json.dumps(SCHEMA_VERSION),))
        except (OSError, sqlite3.Error) as error:
            raise WorkspaceError(
                f"A workspace cannot be made in {folder}: {error}; choose a folder you may write to."
            ) from None
        workspace = cls(folder, connection)
        workspace.set_classes(DEFAULT_CLASSES)
        return workspace

    @classmethod
    def open(cls, folder: Path) -> Workspace:
        """Open a workspace; `WorkspaceError` when the folder is none, is damaged or was made by a newer Opsin."""
        folder = Path(folder).resolve()
        if not (folder / DATABASE).exists():
            raise WorkspaceError(f"{folder} is no Opsin workspace (it has no {DATABASE}).")
        connection = None
        try:
            connection = _connect(folder / DATABASE)
            row = connection.execute("SELECT value FROM setting WHERE key = 'schema'").fetchone()
            version = json.loads(row[0])
        except (sqlite3.Error, TypeError, ValueError) as error:
            if connection is not None:
                connection.close()
            raise WorkspaceError(f"{folder / DATABASE} cannot be read ({error}); restore it from a backup.") from None
        if version > SCHEMA_VERSION:
            connection.close()
            raise WorkspaceError(f"{folder} was made by a newer Opsin (version {version}); update Opsin to open it.")
        return cls(folder, connection)

    @classmethod
    def open_or_create(cls, folder: Path) -> Workspace:
        """Open the workspace in `folder`, or make one there."""
        return cls.open(folder) if (Path(folder) / DATABASE).exists() else cls.create(folder)

    @staticmethod
    def is_workspace(folder: Path) -> bool:
        return (Path(folder) / DATABASE).is_file()

    def close(self) -> None:
        """Write what is queued in open label stores and close everything."""
        problem = None
        for store in list(self._stores.values()):
            try:
                store.close()
            except OpsinError as error:
                problem = error
        self._stores.clear()
        with self._lock:
            self._connection.close()
        if problem is not None:
            raise problem

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- items ------------------------------------------------------------------------------------------------------

    def items(self) -> list[Item]:
        """Return all slides in the order in which they were added."""
        rows = self._select(f"SELECT {COLUMNS} FROM item ORDER BY position, name")
        return [_item(row) for row in rows]

    def item(self, id: str) -> Item:
        rows = self._select(f"SELECT {COLUMNS} FROM item WHERE id = ?", (id,))
        if not rows:
            raise WorkspaceError(f"There is no slide '{id}' in {self.folder}.")
        return _item(rows[0])

    def find(self, path: Path) -> Item | None:
        """Return the slide that lies at `path`."""
        wanted = Path(path).resolve()
        return next((item for item in self.items() if self.slide_path(item) == wanted), None)

    def add(self, paths: Iterable[Path]) -> list[Item]:
        """Add slide files, and all slides directly in folders; return the items, old or new, in that order.

        What cannot be opened is left out and listed with a sentence in `rejected`. A slide that is there already (the same
        content, wherever it lies) is not added again; its path is brought up to date when the old one is gone.
        """
        self.rejected = []
        found: list[Item] = []
        for path in _slide_files(paths):
            try:
                with open_slide(path) as slide:
                    found.append(self._add(path.resolve(), slide))
            except (OpsinError, OSError) as error:
                self.rejected.append((str(path), str(error)))
        if found:
            self.changed.emit("items")
        return found

    def _add(self, path: Path, slide: Slide) -> Item:
        fingerprint = slide.fingerprint()
        with self._lock:
            rows = self._select(f"SELECT {COLUMNS} FROM item WHERE fingerprint = ?", (fingerprint,))
            if rows:
                item = _item(rows[0])
                if not self.slide_path(item).exists():
                    self._execute("UPDATE item SET path = ? WHERE id = ?", (self._relative(path), item.id))
                return self.item(item.id)
            item = Item(
                id=uuid.uuid4().hex[:12],
                path=self._relative(path),
                name=path.stem,
                width=slide.width,
                height=slide.height,
                slide_mpp=slide.mpp,
                fingerprint=fingerprint,
            )
            position = self._select("SELECT COALESCE(MAX(position), 0) + 1 FROM item")[0][0]
            values = item.model_dump()
            names = ["position", *values]
            self._execute(
                f"INSERT INTO item({', '.join(names)}) VALUES({', '.join('?' * len(names))})",
                (position, *values.values()),
            )
            return item

    def remove(self, ids: Sequence[str]) -> None:
        """Take slides out of the list. Slide files are not touched; label files move to ``labels/removed``."""
        for id in ids:
            item = self.item(id)
            store = self._stores.pop(id, None)
            if store is not None:
                store.close()
            source = self._label_path(id)
            if source.exists():
                target = (
                    self.folder / "labels" / "removed" / f"{item.name}-{time.strftime('%Y%m%d-%H%M%S')}-{id}.labels"
                )
                target.parent.mkdir(exist_ok=True)
                for end in ("-wal", "-shm", ""):
                    part = source.with_name(source.name + end)
                    if part.exists():
                        part.rename(target.with_name(target.name + end))
            self._execute("DELETE FROM item WHERE id = ?", (id,))
        self.changed.emit("items")

    def update(self, id: str, **changes: Any) -> Item:
        """Change fields of an item ("label", "split", "patient", "outlined", "mpp", "name", "marked")."""
        allowed = {"label", "split", "patient", "outlined", "mpp", "name", "marked"}
        if not changes or not changes.keys() <= allowed:
            raise WorkspaceError(
                f"Of a slide only {', '.join(sorted(allowed))} can be changed, not {', '.join(changes)}."
            )
        item = Item(**{**self.item(id).model_dump(), **changes})
        values = item.model_dump()
        assignments = ", ".join(f"{name} = ?" for name in changes)
        self._execute(f"UPDATE item SET {assignments} WHERE id = ?", (*(values[name] for name in changes), id))
        self.changed.emit("items")
        return item

    def slide_path(self, item: Item) -> Path:
        """Return where the slide file lies (it may be missing)."""
        return (self.folder / item.path).resolve()

    def open_slide(self, item: Item) -> Slide:
        """Open the slide, with the user's µm per pixel where one was set; `SlideError` when it cannot be read."""
        return open_slide(self.slide_path(item), mpp=item.mpp)

    def import_labels_csv(self, path: Path) -> tuple[int, list[str]]:
        """Read slide labels from a table; return how many slides were found and the rows that fit none.

        The first column names the slide (file name or stem); the others are found by their header: ``label`` (or class,
        stage, type; without a header the second column), ``split``, ``patient``.
        """
        try:
            with Path(path).open(newline="", encoding="utf-8-sig") as file:
                rows = [row for row in csv.reader(file) if row]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise WorkspaceError(f"{path} cannot be read as a table ({error}).") from None
        if not rows or len(rows[0]) < 2:
            raise WorkspaceError(f"{path} needs at least two columns: the slide's name and its label.")
        head = [cell.strip().lower() for cell in rows[0]]
        columns = {"label": 1}
        if _slide_label(head[1]) is None and any(h in ("label", "class", "stage", "type") for h in head):
            for field, names in {
                "label": ("label", "class", "stage", "type"),
                "split": ("split",),
                "patient": ("patient",),
            }.items():
                place = next((i for i, cell in enumerate(head) if i and cell in names), None)
                if place is not None:
                    columns[field] = place
            rows = rows[1:]
        by_name: dict[str, Item] = {}
        for item in self.items():
            by_name[item.name.lower()] = by_name[Path(item.path).name.lower()] = item
        count, unknown = 0, []
        for row in rows:
            found = by_name.get(row[0].strip().lower()) or by_name.get(Path(row[0].strip()).stem.lower())
            cells = {field: row[place].strip() for field, place in columns.items() if place < len(row)}
            changes: dict[str, Any] = {}
            label = _slide_label(cells.get("label", ""))
            if label is not None:
                changes["label"] = label
            if cells.get("split", "").lower() in ("train", "val", "test"):
                changes["split"] = cells["split"].lower()
            if cells.get("patient"):
                changes["patient"] = cells["patient"]
            if found is None or not changes:
                unknown.append(", ".join(row))
                continue
            self.update(found.id, **changes)
            count += 1
        return count, unknown

    def assign_splits(self, seed: int = 0, val: float = 0.2, test: float = 0.0) -> None:
        """Share slides out to train, val and test at random, keeping all slides of a patient together."""
        groups: dict[str, list[Item]] = {}
        for item in self.items():
            groups.setdefault(item.patient or f"slide {item.name} {item.id}", []).append(item)
        generator = random.Random(seed)
        for label in ("positive", "negative", None):
            # stratified: a patient counts as positive when one of the slides is
            names = sorted(n for n, items in groups.items() if _group_label(items) == label)
            generator.shuffle(names)
            for number, name in enumerate(names):
                place = (number + 0.5) / len(names)
                split = "val" if place < val else "test" if place < val + test else "train"
                for item in groups[name]:
                    self._execute("UPDATE item SET split = ? WHERE id = ?", (split, item.id))
        self.changed.emit("items")

    # ---- labels and classes -----------------------------------------------------------------------------------------

    def _label_path(self, id: str) -> Path:
        return self.folder / "labels" / f"{id}.labels"

    def has_labels(self, item: Item) -> bool:
        return self._label_path(item.id).exists()

    def labels(self, item: Item) -> LabelStore:
        """Return the slide's label store, open for writing; one per item and process, closed with the workspace."""
        with self._lock:
            store = self._stores.get(item.id)
            if store is None:
                store = LabelStore.open_or_create(self._label_path(item.id), item.width, item.height)
                store.protected = locked_values(self.classes)
                self._stores[item.id] = store
            return store

    def flush(self) -> None:
        """Wait until all that was painted is on disk: another process is about to read it."""
        for store in list(self._stores.values()):
            store.flush()

    def update_marked(self, id: str) -> float:
        """Count how much of a slide is labelled and keep it with the item; call it from a background thread."""
        item = self.item(id)
        if not self.has_labels(item):
            share = 0.0
        else:
            share = sum(self.labels(item).areas().values()) / (item.width * item.height)
        if share != item.marked:
            self.update(id, marked=share)
        return share

    @property
    def classes(self) -> list[LabelClass]:
        rows = self._select("SELECT json FROM class ORDER BY position")
        return [LabelClass.model_validate_json(text) for (text,) in rows]

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Replace the class table; values and names must be unique."""
        for field in ("value", "name"):
            if len({getattr(item, field) for item in classes}) != len(classes):
                raise WorkspaceError(f"Two classes have the same {field}.")
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.execute("DELETE FROM class")
                self._connection.executemany(
                    "INSERT INTO class VALUES(?, ?, ?)",
                    [(item.value, place, item.model_dump_json()) for place, item in enumerate(classes)],
                )
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._connection.execute("ROLLBACK")
                raise WorkspaceError(f"The classes cannot be saved in {self.folder}: {error}.") from None
            for store in self._stores.values():
                store.protected = locked_values(classes)
        self.changed.emit("classes")

    # ---- pictures, runs, scores, settings ---------------------------------------------------------------------------

    def thumbnail(self, item: Item, size: int = 256) -> Path:
        """Return a PNG of the slide (never its label or macro image), made when there is none: for a background thread."""
        path = self.folder / "thumbnails" / f"{item.id}.png"
        if not path.exists():
            from PIL import Image

            with self.open_slide(item) as slide:
                pixels = slide.thumbnail(size)
            with replacing(path) as temporary:
                Image.fromarray(pixels).save(temporary, format="png")
        return path

    def new_run_folder(self, method: str) -> Path:
        return new_folder(self.folder / "runs", method)

    def runs(self) -> list[dict[str, Any]]:
        """Return ``run.json`` of every run, newest first, each with "folder"; unreadable ones say so in "state"."""
        from .verbs import alive

        found = []
        for path in sorted((self.folder / "runs").glob("*/run.json"), reverse=True):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                record = {"state": "unreadable"}
            if record.get("state") not in (*FINAL, "unreadable") and not alive(record):
                record["state"] = "interrupted"
            found.append({**record, "folder": str(path.parent)})
        return found

    def heatmap_path(self, run: str, item_id: str) -> Path:
        """Return where a run's heat map of a slide lies."""
        return self.folder / "heatmaps" / run / f"{item_id}.heat"

    def heatmaps(self, item: Item) -> list[Path]:
        """Return the heat maps of a slide, newest first."""
        found = (self.folder / "heatmaps").glob(f"*/{item.id}.heat")
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def set_score(self, item_id: str, run: str, values: dict[str, Any]) -> None:
        """Keep a slide's score (`SlideScore.plain()`) as given by a run."""
        self._execute(
            "INSERT OR REPLACE INTO score VALUES(?, ?, ?, ?, ?)",
            (run, item_id, float(values["score"]), json.dumps(values), time.time()),
        )
        self.changed.emit("scores")

    def scores(self, run: str | None = None) -> list[dict[str, Any]]:
        """Return the slides' scores, highest first: of `run`, or (None) the latest of each slide."""
        rows = self._select("SELECT run, item, score, json, time FROM score ORDER BY time")
        latest: dict[str, dict[str, Any]] = {}
        for name, item, score, text, when in rows:
            if run is None or name == run:
                latest[item] = {**json.loads(text), "run": name, "item": item, "score": score, "time": when}
        return sorted(latest.values(), key=lambda entry: -entry["score"])

    def setting(self, key: str, default: Any = None) -> Any:
        rows = self._select("SELECT value FROM setting WHERE key = ?", (f"user.{key}",))
        return json.loads(rows[0][0]) if rows else default

    def set_setting(self, key: str, value: Any) -> None:
        self._execute("INSERT OR REPLACE INTO setting VALUES(?, ?)", (f"user.{key}", json.dumps(value)))
        self.changed.emit("settings")

    # ---- database ---------------------------------------------------------------------------------------------------

    def _relative(self, path: Path) -> str:
        """Return `path` relative to the folder when it lies below it or below its parent (both move together)."""
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).as_posix()
        if path.is_relative_to(self.folder.parent):
            return (Path("..") / path.relative_to(self.folder.parent)).as_posix()
        return str(path)

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise WorkspaceError(f"{self.folder / DATABASE} cannot be read: {error}.") from None

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        with self._lock:
            try:
                self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise WorkspaceError(f"{self.folder / DATABASE} cannot be written: {error}.") from None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _item(row: Sequence[Any]) -> Item:
    return Item(**dict(zip(COLUMNS.split(", "), row)))


def _slide_files(paths: Iterable[Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(p for p in path.iterdir() if p.is_file() and is_slide(p)) if path.is_dir() else [path]
    return files


def _slide_label(text: str) -> SlideLabel | None:
    word = text.strip().lower()
    return "positive" if word in POSITIVE_WORDS else "negative" if word in NEGATIVE_WORDS else None


def _group_label(items: Sequence[Item]) -> SlideLabel | None:
    labels = {item.label for item in items}
    return "positive" if "positive" in labels else "negative" if "negative" in labels else None
