"""What can go wrong, each with one sentence that a user can act on: what, which file, what to do."""

from __future__ import annotations

from pathlib import Path


class OpsinError(Exception):
    """Base of all errors whose message is meant for the user; the window and the command line show it as it is."""


class UsageError(OpsinError):
    """The words of a command are wrong: nothing was tried."""


class SlideError(OpsinError):
    """A slide or picture cannot be opened or read."""


class AnnotationError(OpsinError):
    """An annotation file is malformed or cannot be written."""


class LabelError(OpsinError):
    """The label store cannot be opened or written."""


class WorkspaceError(OpsinError):
    """A workspace folder cannot be opened or changed."""


class DamagedError(WorkspaceError, LabelError):
    """A file of a workspace is damaged; the message says so.

    Attributes
    ----------
    path : the file, which `backups.restore` may bring back.
    """

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class RecipeError(OpsinError):
    """A recipe or option is unknown, out of range or of the wrong type."""


class RunError(OpsinError):
    """A run folder cannot be used as asked."""


class Ended(RunError):
    """Another process of the same training has ended, so this one cannot go on."""


class CheckpointError(OpsinError):
    """A checkpoint is unreadable, unsafe or belongs to something else."""


class DeviceError(OpsinError):
    """A device does not exist or has no room."""


class Cancelled(Exception):
    """Raised inside a method at a batch boundary when the user chose cancel-and-discard."""
