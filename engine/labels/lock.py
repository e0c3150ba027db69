"""One writer per label file: a lock that ends with the process that holds it, however that process ends."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import LabelError


class WriterLock:
    """Held from construction until `release`; `LabelError` when another process or store holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        while True:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise LabelError(f"{path} cannot be opened for writing: {error.strerror}.") from None
            if not _take(handle):
                os.close(handle)
                raise LabelError(
                    f"The labels in {path} are open in another Opsin window; close it there to edit them here."
                )
            if self._is_current(handle):
                self._handle: int | None = handle
                return
            os.close(handle)  # locked just as its last holder removed it: another may hold a new one of that name

    def _is_current(self, handle: int) -> bool:
        try:
            return os.path.samestat(self._path.stat(), os.fstat(handle))
        except OSError:
            return False

    def release(self) -> None:
        """Let others write; harmless when called twice."""
        if self._handle is None:
            return
        if os.name == "nt":
            os.close(self._handle)  # an open file cannot be removed there, and a closed one is no longer ours
        else:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
        self._handle = None


def _take(handle: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
