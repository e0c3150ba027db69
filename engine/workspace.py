"""Workspace: a folder a user works in. It names slides, holds their labels and runs, and never copies or changes a slide.

::

    opsin.sqlite     items, their edits, class table, settings, slide scores (SQLite, WAL); backups/ beside it
    labels/          <item>.labels: the pixel labels of a slide, <item>.<reader>.labels: those of another reader than the
                     first; backups/; removed/ keeps those of slides taken out
    thumbnails/      <item>.png         runs/  one folder a run         heatmaps/<run>/<item>.heat
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from .backups import move_backups
from .data.sets import slide_files
from .data.slides import Slide, file_fingerprint, open_slide, sampled_fingerprint
from .database import DATABASE, Database
from .errors import LabelError, OpsinError, RunError, WorkspaceError
from .files import from_json, replacing
from .labels.classes import DEFAULT_CLASSES, LabelClass, locked_values
from .labels.readers import label_files
from .labels.roi import counted_areas
from .labels.store import LabelStore
from .runs import FINAL, new_folder, read_record
from .workspace_items import COLUMNS, Item, item_of
from .workspace_tables import SlideTables

__all__ = ["DATABASE", "Item", "Workspace"]


class Workspace(SlideTables):
    """An open workspace. May be used from several threads; every change is durable when the call returns."""

    def __init__(self, folder: Path, database: Database) -> None:
        super().__init__(folder, database)
        self.rejected: list[tuple[str, str]] = []
        """(path, sentence) of what the last `add` could not take."""
        self.reader: str | None = None
        """Id of the reader whose labels `labels` gives out (see `labels.readers`); None: of the one whose labels count."""
        self._stores: dict[str, LabelStore] = {}  # by name of the file

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
            database = Database.create(folder)
        except (OSError, sqlite3.Error) as error:
            raise WorkspaceError(
                f"A workspace cannot be made in {folder}: {error}; choose a folder you may write to."
            ) from None
        workspace = cls(folder, database)
        workspace.set_classes(DEFAULT_CLASSES)
        return workspace

    @classmethod
    def open(cls, folder: Path) -> Workspace:
        """Open a workspace; `WorkspaceError` when the folder is none, is damaged or was made by a newer Opsin."""
        folder = Path(folder).resolve()
        return cls(folder, Database.open(folder))

    @classmethod
    def open_or_create(cls, folder: Path) -> Workspace:
        """Open the workspace in `folder`, or make one there."""
        return cls.open(folder) if (Path(folder) / DATABASE).exists() else cls.create(folder)

    @staticmethod
    def is_workspace(folder: Path) -> bool:
        return (Path(folder) / DATABASE).is_file()

    def close(self, discard: bool = False) -> None:
        """Write what is queued in open label stores and close everything.

        When labels cannot be written, `LabelError` is raised and the workspace stays open with them, so that closing can
        be tried again; with `discard` it is closed all the same, and edits that are not on disk are lost.
        """
        problem = None
        for id, store in list(self._stores.items()):
            try:
                store.close(discard)
                del self._stores[id]
            except LabelError as error:
                problem = error
        if problem is not None:
            raise problem
        self._database.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except LabelError:
            self.close(discard=True)
            raise

    # ---- items ------------------------------------------------------------------------------------------------------

    def add(self, paths: Iterable[Path]) -> list[Item]:
        """Add slide files, and all slides directly in folders; return the items, old or new, in that order.

        What cannot be opened is left out and listed with a sentence in `rejected`. A slide that is there already (the same
        content, wherever it lies) is not added again; its path is brought up to date when the old one is gone.
        """
        self.rejected = []
        found: list[Item] = []
        for path in slide_files(paths):
            try:
                with open_slide(path) as slide:
                    found.append(self._add(path.resolve(), slide))
            except (OpsinError, OSError) as error:
                self.rejected.append((str(path), str(error)))
            except Exception as error:  # a reader that stumbles over one file must not keep out the others
                self.rejected.append((str(path), f"{path.name} cannot be read ({type(error).__name__}: {error})."))
        if found:
            self.changed.emit("items")
        return found

    def _add(self, path: Path, slide: Slide) -> Item:
        fingerprint = slide.fingerprint()
        with self._database.lock:
            known = self._known(path, fingerprint)
            if known is not None:
                place = known.path if self.slide_path(known).exists() else self._relative(path)
                self._execute("UPDATE item SET path = ?, fingerprint = ? WHERE id = ?", (place, fingerprint, known.id))
                return self.item(known.id)
            item = Item(
                id=uuid.uuid4().hex[:12],
                path=self._relative(path),
                name=path.stem,
                width=slide.width,
                height=slide.height,
                slide_mpp=slide.mpp,
                fingerprint=fingerprint,
                added=time.time(),
            )
            position = self._select("SELECT COALESCE(MAX(position), 0) + 1 FROM item")[0][0]
            values = item.model_dump()
            names = ["position", *values]
            self._execute(
                f"INSERT INTO item({', '.join(names)}) VALUES({', '.join('?' * len(names))})",
                (position, *values.values()),
            )
            return item

    def _known(self, path: Path, fingerprint: str) -> Item | None:
        """Return the item whose slide this is, wherever it lies."""
        search = f"SELECT {COLUMNS} FROM item WHERE fingerprint = ?"
        if rows := self._select(search, (fingerprint,)):
            return item_of(rows[0])
        # Older workspaces hold hashes of samples, which different pictures may share.
        for row in self._select(search, (sampled_fingerprint(path),)):
            item = item_of(row)
            place = self.slide_path(item)
            if place == path or not place.exists() or file_fingerprint(place) == fingerprint:
                return item
        return None

    def set_places(self, paths: Mapping[str, Path]) -> None:
        """Say where slide files lie now (id -> path); files that cannot be read are an error, and nothing is changed."""
        places = {}
        for id, path in paths.items():
            with open_slide(path) as slide:
                places[id] = (self._relative(Path(path).resolve()), slide.fingerprint())
        with self._database.transaction():
            for id, (place, fingerprint) in places.items():
                self._execute("UPDATE item SET path = ?, fingerprint = ? WHERE id = ?", (place, fingerprint, id))
        self.changed.emit("items")

    def remove(self, ids: Sequence[str]) -> None:
        """Take slides out of the list. Slide files are not touched; label files move to ``labels/removed``."""
        for id in ids:
            item = self.item(id)
            for reader, source in label_files(self.folder / "labels", id).items():
                if source.name in self._stores:
                    self._stores[source.name].close()
                    del self._stores[source.name]
                whose = f"{id}.{reader}" if reader else id
                target = (
                    self.folder / "labels" / "removed" / f"{item.name}-{time.strftime('%Y%m%d-%H%M%S')}-{whose}.labels"
                )
                target.parent.mkdir(exist_ok=True)
                for end in ("-wal", "-shm", ""):
                    part = source.with_name(source.name + end)
                    if part.exists():
                        part.rename(target.with_name(target.name + end))
                move_backups(source, target)
            with self._database.transaction():
                self._execute("DELETE FROM item WHERE id = ?", (id,))
                self.edits.forget(id)
        self.changed.emit("items")

    def open_slide(self, item: Item) -> Slide:
        """Open the slide, with the user's µm per pixel where one was set; `SlideError` when it cannot be read."""
        return open_slide(self.slide_path(item), mpp=item.mpp)

    # ---- labels and classes -----------------------------------------------------------------------------------------

    def has_labels(self, item: Item, reader: str | None = None) -> bool:
        return self._whose(item, reader).exists()

    def labels(self, item: Item, reader: str | None = None) -> LabelStore:
        """Return a slide's label store, open for writing; one per slide, reader and process, closed with the workspace.

        reader : None for the one that is `reader` of this workspace.
        """
        with self._database.lock:
            path = self._whose(item, reader)
            store = self._stores.get(path.name)
            if store is None:
                store = LabelStore.open_or_create(path, item.width, item.height)
                store.protected = locked_values(self.classes)
                self._stores[path.name] = store
            return store

    def labels_to_read(self, item: Item, reader: str | None = None) -> LabelStore:
        """Return the slide's labels for reading alone (another window writes them); whoever asks closes them."""
        return LabelStore.open(self._whose(item, reader), readonly=True)

    def _whose(self, item: Item, reader: str | None) -> Path:
        return self.label_path(item.id, self.reader if reader is None else reader)

    def flush(self) -> None:
        """Wait until all that was painted is on disk: another process is about to read it."""
        for store in list(self._stores.values()):
            store.flush()

    def unsaved(self) -> dict[str, str | None]:
        """Return the ids of slides whose labels still have to be written, with the sentence why where it fails."""
        waiting = [
            (name.partition(".")[0], store.problem) for name, store in list(self._stores.items()) if store.waiting
        ]
        return dict(sorted(waiting, key=lambda pair: pair[1] is not None))  # of two readers the one with a problem

    def retry(self) -> None:
        """Try again to write labels that could not be written."""
        for store in list(self._stores.values()):
            store.retry()

    def update_marked(self, id: str) -> float:
        """Count how much of a slide is labelled and keep it with the item; call it from a background thread."""
        item, counting = self.item(id), self.counting
        share, marks = 0.0, False
        if not self.has_labels(item, counting):
            pass
        elif self.reader in (None, counting):
            share, marks = _share(self.labels(item), item)
        else:  # another reader is at work: nobody writes these here
            with closing(self.labels_to_read(item, counting)) as store:
                share, marks = _share(store, item)
        changed = share != item.marked
        if changed:
            self.update(id, marked=share)
        emptied = item.marked > 0 and not share and not marks
        if self.follow_labels(item.model_copy(update={"marked": share}), emptied):
            self.changed.emit("items")
        return share

    @property
    def classes(self) -> list[LabelClass]:
        rows = self._select("SELECT json FROM class ORDER BY position")
        with self._database.understood("the class table"):
            return [LabelClass.model_validate_json(text) for (text,) in rows]

    def set_classes(self, classes: Sequence[LabelClass]) -> None:
        """Replace the class table; values and names must be unique."""
        for field in ("value", "name"):
            if len({getattr(item, field) for item in classes}) != len(classes):
                raise WorkspaceError(f"Two classes have the same {field}.")
        with self._database.lock:
            with self._database.transaction():
                self._execute("DELETE FROM class")
                for place, item in enumerate(classes):
                    self._execute("INSERT INTO class VALUES(?, ?, ?)", (item.value, place, item.model_dump_json()))
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
        """Return ``run.json`` of every run, newest first, each with "folder".

        A run whose ``run.json`` is damaged or of another kind has the state "unreadable" and an "error": one sentence.
        """
        from .verbs import alive

        found = []
        for path in sorted((self.folder / "runs").glob("*/run.json"), reverse=True):
            record: dict[str, Any]
            try:
                record = read_record(path.parent)
                if record.get("state") not in FINAL:
                    record["state"] = record.get("state", "starting") if alive(record) else "interrupted"
            except RunError as error:
                record = {"state": "unreadable", "error": str(error)}
            found.append({**record, "folder": str(path.parent)})
        return found

    def heatmap_path(self, run: str, item_id: str) -> Path:
        """Return where a run's heat map of a slide lies."""
        return self.folder / "heatmaps" / run / f"{item_id}.heat"

    def heatmaps(self, item: Item) -> list[Path]:
        """Return the heat maps of a slide, newest first."""
        found = (self.folder / "heatmaps").glob(f"*/{item.id}.heat")
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def setting(self, key: str, default: Any = None) -> Any:
        rows = self._select("SELECT value FROM setting WHERE key = ?", (f"user.{key}",))
        with self._database.understood(f"the setting '{key}'"):
            return from_json(rows[0][0]) if rows else default

    def set_setting(self, key: str, value: Any) -> None:
        self._execute("INSERT OR REPLACE INTO setting VALUES(?, ?)", (f"user.{key}", json.dumps(value)))
        self.changed.emit("settings")

    # ---- database ---------------------------------------------------------------------------------------------------

    def version(self) -> int:
        """Return a number that changes when another process (or another `Workspace`) has changed something."""
        return self._database.version()

    def files(self) -> list[Path]:
        """Return the files that are to be backed up: the database, and the label files that are written here."""
        return [self._database.path, *(store.path for store in list(self._stores.values()))]

    def _relative(self, path: Path) -> str:
        """Return `path` relative to the folder when it lies below it or below its parent (both move together)."""
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).as_posix()
        if path.is_relative_to(self.folder.parent):
            return (Path("..") / path.relative_to(self.folder.parent)).as_posix()
        return str(path)


def _share(store: LabelStore, item: Item) -> tuple[float, bool]:
    """Return which share of a slide is labelled, and whether there are markers, rulers, areas or regions of interest."""
    return sum(counted_areas(store).values()) / (item.width * item.height), bool(store.marks())
