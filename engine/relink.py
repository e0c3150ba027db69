"""Slide files that are not where the workspace says: why, where else they lie, and setting all of them right at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .data.slides import file_fingerprint, is_slide, open_slide, sampled_fingerprint
from .errors import OpsinError

if TYPE_CHECKING:
    from .workspace import Item, Workspace


@dataclass(frozen=True)
class Missing:
    """A slide whose file is not where it was: the path that was, and one sentence about it."""

    item: Item
    path: Path
    reason: str


@dataclass(frozen=True)
class Found:
    """A file that may be a missing slide.

    Attributes
    ----------
    id : of the slide. path : of the file.
    how : "name" (same name, same content), "content" (another name, same content) or "other" (same name, other content: not
        the slide that was labelled).
    """

    id: str
    path: Path
    how: str


@dataclass(frozen=True)
class Progress:
    """How far a search is: what it does, files looked at, of how many (0 = not known yet)."""

    text: str
    done: int = 0
    total: int = 0


def why_missing(path: Path) -> str:
    """Return one sentence about why there is no slide file, "" when there is one."""
    try:
        if path.exists():
            return ""
        if path.parent.is_dir():
            return f"There is no {path.name} in {path.parent} any more: it was moved, renamed or deleted."
        return f"The folder {path.parent} is not there: it was moved or renamed, or its disk is not connected."
    except OSError as error:
        return f"{path} cannot be reached: {error.strerror or error}."


def missing(workspace: Workspace) -> list[Missing]:
    """Return the slides whose files are not there; asks the file system, so call it from a background thread."""
    found = []
    for item in workspace.items():
        path = workspace.slide_path(item)
        reason = why_missing(path)
        if reason:
            found.append(Missing(item, path, reason))
    return found


def search(folder: Path, wanted: Iterable[Missing]) -> Iterator[Progress | Found]:
    """Look for missing slides in a folder and all below it: by file name first, then the rest by content.

    A generator for a background thread: it yields often, so that it can be given up, and each slide at most once as "name"
    or "content".
    """
    open_ = {entry.item.id: entry for entry in wanted}
    files: list[Path] = []
    for here, folders, names in os.walk(folder):
        inside = [Path(here, name) for name in sorted(folders)]
        whole = [path for path in inside if _is_slide(path)]  # formats that are folders
        folders[:] = sorted(path.name for path in inside if path not in whole)
        files += [path for path in (*whole, *(Path(here, name) for name in sorted(names))) if _is_slide(path)]
        yield Progress("Looking for slides", len(files))
    by_name: dict[str, list[Path]] = {}
    for path in files:
        by_name.setdefault(path.name.lower(), []).append(path)
    for number, (id, entry) in enumerate(list(open_.items())):
        yield Progress("Comparing files of the same name", number, len(open_))
        same_name = by_name.get(entry.path.name.lower(), [])
        for path in same_name:
            if _fits(entry.item, path):
                yield Found(id, path, "name")
                del open_[id]
                break
    for entry in open_.values():
        for path in by_name.get(entry.path.name.lower(), []):
            yield Found(entry.item.id, path, "other")
    # a file of the same name may still be another slide that is missing
    by_print = {entry.item.fingerprint: id for id, entry in open_.items()}
    for number, path in enumerate(files):
        if not by_print:
            break
        yield Progress("Comparing contents", number, len(files))
        for print_ in _prints(path):
            id_ = by_print.pop(print_, None)
            if id_ is not None:
                yield Found(id_, path, "content")
                break
    yield Progress("Done", len(files), len(files))


def relink(workspace: Workspace, found: Mapping[str, Path]) -> int:
    """Let the workspace look for slides where they were found, all in one step; return how many."""
    workspace.set_places(found)
    return len(found)


def _is_slide(path: Path) -> bool:
    try:
        return is_slide(path)
    except OSError:
        return False


def _fits(item: Item, path: Path) -> bool:
    return any(print_ == item.fingerprint for print_ in _prints(path))


def _prints(path: Path) -> Iterator[str]:
    """Yield what a file may be known by: its content, and as older workspaces know it, samples of that."""
    try:
        if path.is_dir():
            with open_slide(path) as slide:
                yield slide.fingerprint()
            return
        yield file_fingerprint(path)
        yield sampled_fingerprint(path)
    except (OSError, OpsinError):
        return
