"""Writing files so that a kill or a full disk never leaves half a file under the final name."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import OpsinError


def is_full(error: BaseException) -> bool:
    """Tell whether `error` says, in the words of the system or of a library, that a disk is full."""
    text = str(error)
    words = ("No space left on device", "disk is full", "StorageFull", "Disk quota exceeded")
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or any(word in text for word in words)


def reason(error: OSError) -> str:
    """Return in a few words why a file cannot be written, with the cure where there is one."""
    return "the disk is full; make room there" if is_full(error) else str(error.strerror or error)


def from_json(text: str | bytes) -> Any:
    """Return what a JSON text holds; `ValueError` for whatever keeps it from being read, brackets without end among it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is flushed to disk and renamed to `path`.

    On any error the temporary file is removed and what was at `path` stays. A full disk or a missing permission is
    raised as `OpsinError` that names the file.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix + ".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise OpsinError(f"{path} cannot be written: {reason(error)}.") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OpsinError(f"{path} cannot be written: {reason(error)}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_companions(path: Path) -> None:
    """Remove what SQLite left beside a database file of that name that is gone.

    SQLite would play a log that an earlier file left behind into a new file that is renamed to its name.
    """
    for end in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
