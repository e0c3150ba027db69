"""What goes on beside a workspace that is open in a window: changes by other processes are noticed, backups are made.

Each is a thread of its own that sleeps most of the time; neither holds up the window.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING

from .backups import back_up, is_due
from .errors import Cancelled, OpsinError
from .labels.store import LabelStore

if TYPE_CHECKING:
    from .workspace import Workspace

EVERY = 0.8  # seconds: what another window does is to be seen within two
BACKUPS_EVERY = 60.0
log = logging.getLogger(__name__)


class Watcher:
    """Emits `changed` of a workspace when another process has changed it, and of a label store that is only read.

    Parameters
    ----------
    workspace : watched until `stop`. every : seconds between looks.
    """

    def __init__(self, workspace: Workspace, every: float = EVERY) -> None:
        self._workspace = workspace
        self._every = every
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._seen = workspace.version()
        self._store: LabelStore | None = None
        self._store_seen = 0
        self._thread = threading.Thread(target=self._work, name="watcher", daemon=True)
        self._thread.start()

    def follow(self, store: LabelStore | None) -> None:
        """Watch this store too, in place of the last one; one that is written here needs no watching."""
        with self._lock:
            self._store = store if store is not None and store.readonly else None
            if self._store is not None:
                self._store_seen = self._store.written()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self._look()
            except (OpsinError, sqlite3.Error) as error:  # a share that is away for a moment, a store just closed
                log.info("watching: %s", error)

    def _look(self) -> None:
        seen = self._workspace.version()
        if seen != self._seen:
            self._seen = seen
            for what in ("items", "classes", "scores", "settings"):
                self._workspace.changed.emit(what)
        with self._lock:
            store = self._store
            if store is None or store.written() == self._store_seen:
                return
            self._store_seen = store.written()
            store.refresh()
        store.changed.emit((0, 0, store.width, store.height))
        store.marks_changed.emit()


class BackupKeeper:
    """Makes backups of a workspace's database and of the label files that are open for writing, as they become due.

    A file is copied when it was written since its newest copy, and that is an hour old or more: so the first look of a session
    keeps the state before it.
    """

    def __init__(self, workspace: Workspace, every: float = BACKUPS_EVERY) -> None:
        self._workspace = workspace
        self._every = every
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self.looked = threading.Event()
        """Set when all files were looked at for the first time."""
        self._thread = threading.Thread(target=self._work, name="backups", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look now: a label file was opened."""
        self._wake.set()

    def stop(self) -> None:
        """Give up a copy under way and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            for path in self._workspace.files():
                if self._stopping.is_set():
                    return
                with contextlib.suppress(Cancelled):
                    try:
                        if is_due(path):
                            back_up(path, self._stopping.is_set)
                    except (OpsinError, OSError) as error:
                        log.warning("%s", error)
            self.looked.set()
            self._wake.wait(self._every)
