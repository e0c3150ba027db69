"""Backups of the SQLite files of a workspace: three generations each, and the way back to one of them.

They lie in a folder ``backups`` beside the file: ``opsin.sqlite.1`` is the newest, ``.3`` the oldest; what a restore put
aside is kept there as ``opsin.sqlite.kept-<date>-<time>``, the last three of them. A backup is made by SQLite's backup
interface from one moment of the file, under a temporary name, and is renamed when it is whole and on disk: a kill at any
moment leaves a whole backup or none. Disk: of each file at most six copies; a copy is not made where it would leave less
than its own size free.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .errors import Cancelled, LabelError, OpsinError
from .files import reason, remove_companions, replacing
from .labels.lock import WriterLock

FOLDER = "backups"
GENERATIONS = 3
HOUR = 3600.0
_PAGES = 2048  # copied at a time: 8 MB
_STALE = 3600.0  # seconds after which a temporary file is one that a killed process left


@dataclass(frozen=True)
class Backup:
    """One copy of a file.

    Attributes
    ----------
    path : of the copy. source : the file that it is a copy of. time : Unix time of the copied state. size : bytes.
    kept : it was put aside by a restore, rather than made in the rhythm of the generations.
    """

    path: Path
    source: Path
    time: float
    size: int
    kept: bool


def backups(path: Path) -> list[Backup]:
    """Return the copies of a file, the newest first."""
    path = Path(path)
    return _copies(path.parent, f"{_plain(path.name)}.*").get(path, [])


def all_backups(folder: Path) -> dict[Path, list[Backup]]:
    """Return the copies of all files in a folder, the newest first, by file."""
    return _copies(Path(folder), "*")


def _copies(folder: Path, pattern: str) -> dict[Path, list[Backup]]:
    found: dict[Path, list[Backup]] = {}
    for copy in (folder / FOLDER).glob(pattern):
        match = re.fullmatch(r"(.+)\.(?:([1-9])|(kept-\d{8}-\d{6}(?:-\d+)?))", copy.name)
        if match and (match[3] or int(match[2]) <= GENERATIONS):
            with contextlib.suppress(OSError):
                state, path = copy.stat(), folder / match[1]
                found.setdefault(path, []).append(Backup(copy, path, state.st_mtime, state.st_size, bool(match[3])))
    return {path: sorted(copies, key=lambda b: (-b.time, b.path.name)) for path, copies in found.items()}


def is_due(path: Path, every: float = HOUR) -> bool:
    """Tell whether a file was written since its newest generation was made, and that is `every` seconds ago or more."""
    try:
        written = max(_written(Path(path)))
    except (OSError, ValueError):
        return False
    newest = next((backup for backup in backups(path) if not backup.kept), None)
    return newest is None or (written > newest.time and time.time() - newest.time >= every)


def back_up(path: Path, stopping: Callable[[], bool] = lambda: False) -> bool:
    """Make a copy the newest generation; the oldest of three goes. For a background thread.

    Returns
    -------
    False when there was nothing to do: the file is the same as the newest copy, or another process is copying it.

    Raises
    ------
    OpsinError : the file cannot be read or the copy not be written. Cancelled : `stopping` said so. Copies stay as they are.
    """
    path = Path(path)
    folder = path.parent / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = WriterLock(folder / path.name)
    except LabelError:
        return False
    except OSError as error:
        raise OpsinError(f"{folder} cannot be made: {reason(error)}.") from None
    try:
        _remove_stale(folder, path.name)
        newest = _generation(path, 1)
        with contextlib.suppress(_Same), replacing(newest) as temporary:
            _copy(path, temporary, stopping)
            if newest.exists() and filecmp.cmp(temporary, newest, shallow=False):
                os.utime(newest)
                raise _Same
            for number in range(GENERATIONS - 1, 0, -1):
                if _generation(path, number).exists():
                    _generation(path, number).replace(_generation(path, number + 1))
            return True
        return False
    finally:
        lock.release()


def restore(backup: Backup) -> Path:
    """Put a copy in the place of its file, which nobody may have open; return where the present state was put aside.

    Raises
    ------
    OpsinError : the copy is damaged, the file is in use, or it cannot be written. The file then stays as it is.
    """
    path = backup.source
    _check(backup.path)
    try:
        lock = WriterLock(path)
    except LabelError as error:
        raise OpsinError(str(error)) from None
    try:
        _nobody_else(path)
        # read whole before the present state is put aside: that may be what pushes this copy out
        with replacing(path) as temporary:
            _copy(backup.path, temporary, lambda: False)
            kept = _put_aside(path)
            remove_companions(path)
        return kept
    except OSError as error:
        raise OpsinError(f"{path} cannot be restored: {reason(error)}.") from None
    finally:
        lock.release()


def move_backups(path: Path, target: Path) -> None:
    """Let the copies of a file follow it to its new place and name."""
    for backup in backups(path):
        (target.parent / FOLDER).mkdir(exist_ok=True)
        backup.path.rename(target.parent / FOLDER / (target.name + backup.path.name[len(path.name) :]))


class _Same(Exception):
    """The file has not changed since the newest copy."""


def _generation(path: Path, number: int) -> Path:
    return path.parent / FOLDER / f"{path.name}.{number}"


def _plain(name: str) -> str:
    """Return a name for `glob` in which no character means another."""
    return "".join(f"[{letter}]" if letter in "[*?" else letter for letter in name)


def _written(path: Path) -> Iterator[float]:
    yield path.stat().st_mtime
    with contextlib.suppress(OSError):
        log = path.with_name(path.name + "-wal").stat()
        if log.st_size:
            yield log.st_mtime


def _copy(path: Path, target: Path, stopping: Callable[[], bool]) -> None:
    """Copy one moment of a SQLite file, log included, into a file that needs no log; what is damaged is not copied."""
    free = shutil.disk_usage(target.parent).free
    if free < 2 * path.stat().st_size:
        raise OpsinError(f"No backup of {path} was made: the disk is almost full; make room there.")

    def went_on(_status: int, _left: int, _total: int) -> None:
        if stopping():
            raise Cancelled

    try:
        with closing(_connect(path)) as source, closing(sqlite3.connect(target, isolation_level=None)) as copy:
            source.execute("BEGIN")  # one moment, whatever is written meanwhile
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(copy, pages=_PAGES, progress=went_on, sleep=0)
            copy.execute("PRAGMA journal_mode = DELETE")
            fault = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise OpsinError(f"No backup of {path} was made: {error}.") from None
    finally:
        remove_companions(target)
    if fault != "ok":
        raise OpsinError(f"No backup of {path} was made: it is damaged ({fault}).")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=10)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        fault = str(error)
    if fault != "ok":
        raise OpsinError(f"The backup {path} is damaged itself ({fault}); choose another one.")


def _nobody_else(path: Path) -> None:
    """Raise `OpsinError` while another process has a (sound) file open: only the last one may leave the log behind."""
    if not path.exists():
        return
    try:
        uri = f"{path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise OpsinError(
                f"{path} is open in another Opsin window or used by a training; close that first."
            ) from None
    except sqlite3.Error:
        pass  # damaged: that is why it is restored


def _put_aside(path: Path) -> Path:
    """Keep the present state, be it damaged; of these the last three stay."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = path.parent / FOLDER
    kept = folder / f"{path.name}.kept-{stamp}"
    number = 2
    while kept.exists():
        kept = folder / f"{path.name}.kept-{stamp}-{number}"
        number += 1
    if path.exists():
        for end in ("-wal", ""):
            part = path.with_name(path.name + end)
            if part.exists():
                with replacing(kept.with_name(kept.name + end)) as temporary:
                    shutil.copyfile(part, temporary)
        for backup in [backup for backup in backups(path) if backup.kept][GENERATIONS:]:
            remove_companions(backup.path)
            backup.path.unlink(missing_ok=True)
    return kept


def _remove_stale(folder: Path, name: str) -> None:
    """Remove what processes that were killed while they copied left behind."""
    for part in folder.glob(f".{_plain(name)}-*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE:
                part.unlink()
